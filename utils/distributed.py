"""Many processes, one for each GPU, that train as one: `torchrun --nproc_per_node N Train.py ...`.

R4C ranks within the batch, so a process cannot rank its share of the batch alone. Each process runs the network on a
contiguous slice of the batch. Then features, logits and labels are gathered with gradients, and every process computes
the loss of the whole batch. Without torchrun, everything here does nothing.
"""

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from utils.errors import InputError, Interrupted, is_of_other_process

# How long a process that fails waits for the others to be told, in seconds; they may be busy with what it has left.
_PATIENCE = 60
_SILENT = 1000  # is added to the exit code of a process that has printed nothing


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def local_world_size() -> int:
    """The number of processes on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


def local_device(name: str) -> str:
    """The device of this process for `--device`: with torchrun, each process has its GPU.

    Raises:
        InputError: for more processes than GPUs, and for one GPU for all of them.
    """
    if not dist.is_initialized() or not name.startswith(("cuda", "auto")):
        return name
    if ":" in name:
        raise InputError(f"--device {name} is one GPU, but torchrun gives each process its own: leave it out")
    if not torch.cuda.is_available():
        return name
    if local_world_size() > torch.cuda.device_count():
        raise InputError(f"{local_world_size()} processes, but this machine has {torch.cuda.device_count()} GPUs: "
                         "lower --nproc_per_node")
    return f"cuda:{os.environ['LOCAL_RANK']}"


# Starting and stopping together

def in_every_process(main: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a program's `main`: join the processes that torchrun started. Only the main process prints, and an error
    in one process ends all of them at their next `meet`, with its message alone and its exit code."""

    @functools.wraps(main)
    def joined(*args: Any) -> Any:
        if not dist.is_torchelastic_launched():  # WORLD_SIZE alone may be that of a scheduler
            return main(*args)
        _join()
        try:
            result = main(*args)
            meet()  # the main process may still write
        except SystemExit as stop:  # of argparse, which only the main process shows; or of `meet`
            if stop.code and not getattr(stop, "is_known", False):
                _exchange(2 if is_main() else 2 + _SILENT)
            raise
        except (Exception, Interrupted) as error:
            failed = _exchange(128 + error.number if isinstance(error, Interrupted) else 2)
            tells = next(iter(failed)) if failed else 0 if is_of_other_process(error) else rank()
            if rank() != tells:
                sys.exit(2)
            sys.stderr = sys.__stderr__
            raise
        dist.destroy_process_group()
        return result

    return joined


def _join() -> None:
    try:
        store, process, processes = next(rendezvous("env://"))
        if int(os.environ["LOCAL_WORLD_SIZE"]) == processes:
            # torchrun's store outlives a restart, with the addresses of the processes before (pytorch#135712). On many
            # machines, whose counts differ, the user must have it make a new store: see utils/README.md.
            store = dist.PrefixStore(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=process, world_size=processes)
        _exchange(0)  # one that ends at once, as by --help, would break the connections that others still set up
    except (RuntimeError, ValueError) as error:  # dist.DistError among them
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise InputError(f"the processes cannot meet at {where} ({str(error).splitlines()[0]}): give torchrun another "
                         "--master_port, or the --master_addr of the first machine") from error
    if not is_main():
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the program ends


def _exchange(code: int) -> dict[int, int]:
    """Tell all processes this one's exit code, 0 to go on, and return those that are not 0, by rank; nothing if they
    cannot be told."""
    codes = torch.zeros(world_size(), dtype=torch.int64)
    codes[rank()] = code
    try:
        told = dist.all_reduce(codes, async_op=True)
        told.wait(timedelta(seconds=_PATIENCE)) if code else told.wait()
    except RuntimeError:
        if not code:
            raise
        return {}
    return {process: int(codes[process]) for process in codes.nonzero().flatten().tolist()}


def meet() -> None:
    """Wait for all processes. If one has failed, exit with its code."""
    failed = _exchange(0) if world_size() > 1 else {}
    if failed:
        first, code = next(iter(failed.items()))
        if code > _SILENT and is_main():
            raise InputError(f"process {first} stopped; is its command line that of the others?")
        stop = SystemExit(code % _SILENT)
        stop.is_known = True
        raise stop


@contextmanager
def main_first() -> Iterator[None]:
    """Inside, the first process of each machine goes first: what it downloads or writes, the others find."""
    is_first = not dist.is_initialized() or os.environ["LOCAL_RANK"] == "0"
    if not is_first:
        meet()
    yield
    if is_first:
        meet()


def check_same(describe: Callable[[], dict[str, Any]]) -> None:
    """Raise InputError if what this process describes (what -> content, of which the text is compared) is not what the
    others do. One process alone describes nothing."""
    if world_size() == 1:
        return
    digests = {what: hashlib.blake2b(repr(content).encode()).hexdigest() for what, content in describe().items()}
    for process, digest in enumerate(_gather_objects(digests)):
        differ = [what for what in digests if digest[what] != digests[what]]
        if differ:
            raise InputError(f"processes {rank()} and {process} do not have the same {' and '.join(differ)}: give all "
                             "machines the same options and the same data")


def from_main(content: Any) -> Any:
    """What the main process has."""
    return _gather_objects(content)[0]


def _gather_objects(content: Any) -> list[Any]:
    """The content of every process, in the order of their ranks; it is pickled, among processes of one program."""
    if world_size() == 1:
        return [content]
    meet()
    contents = [None] * world_size()
    dist.all_gather_object(contents, content)
    return contents


# The whole batch

def slice_of(number: int, process: int | None = None) -> slice:
    """This process's contiguous slice of `number` items. Sizes differ by one at most; the first are the larger."""
    process, processes = rank() if process is None else process, world_size()
    return slice(-(-process * number // processes), -(-(process + 1) * number // processes))


def size_of_slice(number: int, process: int | None = None) -> int:
    """The number of items in `slice_of`."""
    return len(range(number)[slice_of(number, process)])


def sizes_of_step(loader: DataLoader, step: int) -> tuple[int, int]:
    """The images in a batch, and of them in this process's slice; steps count from 1."""
    size = loader.batch_sampler.batch_size
    number = min(size, len(loader.dataset) - (step - 1) * size)
    return number, size_of_slice(number)


def gather_batch(number: int, *columns: Tensor) -> tuple[Tensor, ...]:
    """The rows of all processes, in the order of the batch, in at least float32.

    Args:
        number: B, the number of images in the batch.
        columns: (b, ...) each, of the images in this process's slice.
    Returns:
        (B, ...) each. Autograd sums the gradients of all processes and returns each one those of its slice. So where
        every process computes the whole loss, the gradients of the parameters are N times too large before they are
        averaged over N processes, as DistributedDataParallel does, and exact after.
    """
    if world_size() == 1:
        return columns
    widths = [column.shape[1] for column in columns]
    rows = torch.cat([column.to(torch.promote_types(column.dtype, torch.float32)) for column in columns], dim=1)
    return _Gather.apply(rows, number).split(widths, dim=1)


def not_empty(*columns: Tensor) -> tuple[Tensor, ...]:
    """The columns, with a row of zeros, which trains nothing, in place of none: the mean of no images is NaN."""
    return columns if len(columns[0]) else tuple(F.pad(column, (0, 0, 0, 1)) for column in columns)


class _Gather(torch.autograd.Function):
    """Rows (b, D) of each process's slice -> (B, D)."""

    @staticmethod
    def forward(ctx, rows: Tensor, number: int) -> Tensor:
        ctx.slice = slice_of(number)
        sizes = [size_of_slice(number, process) for process in range(world_size())]
        # Slices may differ by one row, but all_gather needs equal shapes.
        padded = F.pad(rows, (0, 0, 0, max(sizes) - len(rows))).contiguous()
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded)
        return torch.cat([chunk[:size] for chunk, size in zip(gathered, sizes)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()  # it may be a view, and is changed in place
        dist.all_reduce(gradient)
        return gradient[ctx.slice], None


def distribute(model: nn.Module, device: torch.device) -> nn.Module:
    """The network to train with: it averages the gradients of all processes in its backward pass."""
    if world_size() == 1:
        return model
    meet()
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def share_statistics(model: nn.Module) -> None:
    """Give all processes the batch-normalisation statistics of the main one, which are those that it saves."""
    if world_size() > 1:
        meet()
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def gather_by_index(indices: list[int], *columns: Tensor) -> tuple[Tensor, ...]:
    """Put the rows of all processes in order: `indices` are those of this process's rows, each in one process only."""
    gathered = [process for process in _gather_objects((indices, columns)) if process[0]]
    order = torch.tensor([index for indices, _ in gathered for index in indices]).argsort()
    return tuple(torch.cat(column)[order] for column in zip(*(columns for _, columns in gathered)))


# Batch normalisation over the whole batch

def synchronise_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Let batch normalisation use the statistics of the whole batch; the names of the weights stay."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():  # torch has it for GPUs only
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _BatchNormOfAllProcesses
    return model


class _BatchNormOfAllProcesses(nn.BatchNorm2d):
    """In training, mean and variance are those of all processes; images (b, C, H, W)."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(images)
        values = images.to(torch.promote_types(images.dtype, torch.float32))
        count = _Sum.apply(values.new_tensor([values[:, 0].numel()]))
        mean = _Sum.apply(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * count / (count - 1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(images.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)
