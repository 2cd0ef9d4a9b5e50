"""Files of tensors: checkpoints are written whole or not at all; reading a file runs no code from it."""

import random
import re
import shlex
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.errors import InputError, advice
from utils.run.atomic import atomic_write

# Each writes the tensors of one file, the first argument, to another, which torch.load(weights_only=True) reads.
_CONVERT_SAFETENSORS = ("import sys, torch, safetensors.torch; "
                        "torch.save(safetensors.torch.load_file(sys.argv[1]), sys.argv[2])")
_CONVERT_TORCHSCRIPT = "import sys, torch; torch.save(torch.jit.load(sys.argv[1], 'cpu').state_dict(), sys.argv[2])"
_CONVERT_PICKLED = ("import sys, pickle, numpy, torch; tensors = lambda x: "
                    "tensors(x.state_dict()) if hasattr(x, 'state_dict') else "
                    "{k: tensors(v) for k, v in x.items()} if isinstance(x, dict) else "
                    "torch.as_tensor(x) if isinstance(x, (torch.Tensor, numpy.ndarray)) else None; "
                    "torch.save(tensors(LOAD), sys.argv[2])")


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content`: tensors, numbers, strings, and lists and dicts of them.

    Raises:
        InputError: if it cannot be written (a full disk, say).
    """
    try:
        with atomic_write(path) as file:
            try:
                torch.save(content, file)
            except RuntimeError:  # torch's answer to a full disk: let the system describe it
                file.write(bytes(2**20))
                file.flush()
                raise
    except (OSError, RuntimeError) as error:
        unchanged = "; the previous one is unchanged" if path.exists() else ""
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"checkpoint {path} could not be written ({reason}){unchanged}{advice(error)}") from error


@contextmanager
def in_background() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Hand over a function that has another one run in a thread, which writes while the network trains. It waits for
    the one before to end, and raises its error; so does leaving the context."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        running: list[Future[None]] = []

        def wait() -> None:
            if running:
                running.pop().result()

        def start(write: Callable[[], None]) -> None:
            wait()
            running.append(thread.submit(write))

        try:
            yield start
        finally:
            wait()


def copy_to_host(content: Any) -> Any:
    """A copy of nested dicts and lists, whose tensors training will not change."""
    if isinstance(content, torch.Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, dict):
        return {name: copy_to_host(value) for name, value in content.items()}
    return [copy_to_host(value) for value in content] if isinstance(content, list) else content


def read_weight_file(path: str | Path) -> dict[str, Any]:
    """The content of a PyTorch file, on the CPU.

    Raises:
        InputError: if the file is missing, unreadable, damaged, or does not hold a dict; for a file of another type,
            with the command that converts it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weight file {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - on garbage, torch raises almost anything, even IndexError
        raise InputError(f"{path} is not a readable PyTorch weight file: {_explain(path, error)}") from error
    if damaged := _damaged_record(path):
        raise InputError(f"{path} is damaged: the checksum of {damaged} in it is wrong; download or copy it again, or "
                         "save it again if torch wrote it without checksums")
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__} instead of weights by name")
    return content


def _damaged_record(path: Path) -> str | None:
    """The first record of a file whose checksum is wrong, which torch.load does not compare."""
    if not zipfile.is_zipfile(path):  # as torch wrote files until 2020
        return None
    with zipfile.ZipFile(path) as file:
        return file.testzip()


def _explain(path: Path, error: Exception) -> str:
    """What a file is that torch.load refuses with `error`, and the command that converts it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    with open(path, "rb") as file:
        start = file.read(40)
    pickled = re.search(r"GLOBAL (\S+\.\S+) was not an allowed global|Unsupported operand 149", str(error))
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1e8:  # the header, after its length
        kind, convert = "it is a safetensors file: convert it, after pip install safetensors,", _CONVERT_SAFETENSORS
    elif "TorchScript" in str(error):
        kind, convert = "it is a TorchScript archive: if you trust it, extract its weights", _CONVERT_TORCHSCRIPT
    elif pickled:  # unlike os.system and the like, which torch blocks: no advice on how to run those
        kind = (f"it holds a pickled {pickled[1] or 'object'}, and unpickling can run code: if you trust the file, "
                "extract its tensors where its classes can be imported,")
        by_torch = start[:2] == b"PK" or torch.serialization.MAGIC_NUMBER.to_bytes(10, "little") in start
        convert = _CONVERT_PICKLED.replace("LOAD", "torch.load(sys.argv[1], 'cpu', weights_only=False)" if by_torch else
                                           "pickle.load(open(sys.argv[1], 'rb'), encoding='latin1')")
    elif start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS: fetch the file itself with git lfs pull"
    else:
        return "it is damaged or of another type; download or copy it again"
    target = path.with_name(f"{path.stem}_tensors.pth")
    return f'{kind} with: python -c "{convert}" {shlex.quote(str(path))} {shlex.quote(str(target))}'


def seed_everything(seed: int, epoch: int = 0, process: int = 0) -> None:
    """Seed Python's, NumPy's and torch's random generators as a function of (seed, epoch, process); epoch 0 is for the
    initial weights. What the network draws in an epoch, as dropout does, need not be saved to resume a run."""
    if epoch:
        seed = int(np.random.SeedSequence((seed, epoch, process)).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
