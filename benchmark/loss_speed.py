"""Claim: R4CLoss, forward and backward, is at least 6 times as fast on a CPU as the losses list by list
(`row_by_row.py`) at 16, 64 and 256 images, and on CUDA at least 15 times at 16 images. Its memory does not grow with
the cube of the batch size: 2048 images need less than 1.5 GiB.

    python benchmark/loss_speed.py

2048 features and 17 labels per image, as with Resnet-50 and AID; float32; medians taken in turns; values and gradients
are equal. The peak memory is that of a separate process, beyond its memory after a batch of 64.
"""

import argparse
import functools
import subprocess
import sys
from pathlib import Path

import torch
from measure import medians, write_result
from row_by_row import RowByRowLoss
from torch import Tensor, nn

from loss import R4CLoss
from utils.options import Parser, select_device


def batch(size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Features (size, 2048) as after ReLU and pooling, logits and labels (size, 17), 3 labels per image on average."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(size, 2048, generator=generator)
    logits = torch.randn(size, 17, generator=generator)
    labels = (torch.rand(size, 17, generator=generator) < 3 / 17).float()
    return features.to(device).requires_grad_(), logits.to(device).requires_grad_(), labels.to(device)


def step(loss: nn.Module, features: Tensor, logits: Tensor, labels: Tensor) -> list[Tensor]:
    """Value and gradients."""
    total, _ = loss(features, logits, labels)
    return [total.detach(), *torch.autograd.grad(total, [features, logits])]


def repeat(times: int, loss: nn.Module, *data: Tensor) -> None:
    for _ in range(times):
        step(loss, *data)


def peak_mib(device: torch.device) -> float:
    """The peak memory of a batch of 2048."""
    if device.type == "cuda":
        data = batch(2048, device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step(R4CLoss(), *data)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    child = subprocess.run([sys.executable, __file__, "--peak"], capture_output=True, text=True, check=True)
    return float(child.stdout)


def print_own_peak() -> None:
    def peak() -> int:  # KiB; getrusage's peak would be inherited from the parent process
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    data = batch(2048, torch.device("cpu"))
    step(R4CLoss(), *(tensor[:64] for tensor in data))
    before = peak()
    step(R4CLoss(), *data)
    print((peak() - before) / 1024)


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        return print_own_peak()
    device, result = select_device(options.device), {}
    for size in (16, 64, 256):
        data = batch(size, device)
        results = step(R4CLoss(), *data), step(RowByRowLoss(), *data)
        difference = max(float((a - b).norm() / b.norm()) for a, b in zip(*results))
        steps = 256 // size  # in a turn
        turns = {loss.__class__.__name__: functools.partial(repeat, steps, loss, *data)
                 for loss in (R4CLoss(), RowByRowLoss())}
        seconds = medians(turns, options.repeats, device)
        result[f"{size} images"] = {"r4c_loss_ms": 1000 * seconds["R4CLoss"] / steps,
                                    "row_by_row_ms": 1000 * seconds["RowByRowLoss"] / steps,
                                    "times_as_fast": seconds["RowByRowLoss"] / seconds["R4CLoss"],
                                    "largest_relative_difference": difference}
    write_result("loss", device, {"repeats": options.repeats, **result, "peak_mib_at_2048_images": peak_mib(device)})


if __name__ == "__main__":
    main()
