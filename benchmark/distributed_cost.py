"""Claim: with 2 processes and 256 images, gathering features, logits and labels, with gradients, takes less than 5 % of
a training step. (The loss is that of one process, and so is its memory: loss_speed.py.)

    python benchmark/distributed_cost.py

Measures the pieces of a step in two processes on this machine, medians in turns, and predicts from them a step of 1 to
64 processes (`predict_step`), each of them a machine or a GPU like those measured. On CUDA, give --nproc_per_node GPUs.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from loss_speed import batch, step
from measure import ROOT, medians, write_result

from loss import R4CLoss
from model import build_model
from utils import distributed
from utils.engine import train_one_epoch
from utils.errors import exit_cleanly
from utils.options import Parser, batch_size, image_size, number, select_device

LABELS, FEATURES = 17, 2048
LOSS_SIZES = (16, 32, 64, 128, 256, 512, 1024)


def gather(size: int, device: torch.device) -> None:
    """Forward and backward, with the loss's sum as a stand-in."""
    features, logits, labels = (column[distributed.slice_of(size)] for column in batch(size, device))
    columns = distributed.gather_batch(size, features, logits, labels)
    sum(column.sum() for column in columns).backward()


class Batches(list):
    """A loader of one batch, of which this process has its slice, for `train_one_epoch`."""

    def __init__(self, size: int, pixels: int):
        rows = distributed.size_of_slice(size)
        super().__init__([(torch.rand(rows, 3, pixels, pixels), batch(rows, torch.device("cpu"))[2])])
        self.dataset, self.batch_sampler = range(size), torch.utils.data.BatchSampler(range(size), size, False)


@distributed.in_every_process
def measure(args) -> dict[str, Any]:
    """In milliseconds."""
    device, processes = select_device(args.device), distributed.world_size()
    model = build_model("Resnet-50", LABELS).to(device, memory_format=torch.channels_last)
    network = distributed.distribute(model, device)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    gradients = torch.zeros(sum(weight.numel() for weight in model.parameters()), device=device)

    def train(size: int) -> None:
        loader = Batches(size, args.image_size)
        train_one_epoch(network, loader, R4CLoss(), optimizer, lambda images: images, device, "step")

    turns = {"meet": distributed.meet, "gradients": lambda: dist.all_reduce(gradients),
             "step of 256": lambda: train(256), "step of 16 each": lambda: train(16 * processes),
             **{f"gather {size}": lambda size=size: gather(size, device) for size in (16, 256, 1024)},
             **{f"loss {size}": lambda size=size: step(R4CLoss(), *batch(size, device)) for size in LOSS_SIZES}}
    milliseconds = {name: 1000 * seconds for name, seconds in medians(turns, args.repeats, device).items()}
    mib = 4 * len(gradients) / 2**20
    return {"processes": processes, "image_size": args.image_size, "milliseconds": milliseconds,
            "gather_share_of_a_step_of_256": milliseconds["gather 256"] / milliseconds["step of 256"],
            "loss_share_of_a_step_of_256": milliseconds["loss 256"] / milliseconds["step of 256"],
            "gradients_mib": mib, "gathered_mib_of_1024_images": 1024 * 4 * (FEATURES + 2 * LABELS) / 2**20}


def predict_step(pieces: dict[str, Any], processes: int, per_process: int = 16) -> dict[str, float]:
    """The milliseconds of a step of `processes` x `per_process` images, from the measured pieces.

    network: one process's share of a step, from the step of 16 images each, less its other pieces; it does not depend
    on the number. gradients: a ring moves 2 (N - 1) / N of their bytes through each process, so the time of 2
    processes, which moves all of them once, x 2 (N - 1) / N. gather: each process receives the rows of all others, so
    in proportion to the images, from the times of 16 and 1024 images. loss: measured at this number of images. meet: a
    tree, so x log2(N).
    """
    milliseconds, images = pieces["milliseconds"], processes * per_process
    slope = (milliseconds["gather 1024"] - milliseconds["gather 16"]) / (1024 - 16)

    def gathering(count: int) -> float:
        return milliseconds["gather 16"] + slope * max(0, count - 16)

    loss = {size: milliseconds[f"loss {size}"] for size in LOSS_SIZES}
    rest = milliseconds["gradients"] + gathering(32) + loss[32] + milliseconds["meet"]
    pieces_of_step = {"network": milliseconds["step of 16 each"] - rest,
                      "gradients": milliseconds["gradients"] * 2 * (processes - 1) / processes,
                      "gather": gathering(images) if processes > 1 else 0.0, "loss": loss[images],
                      "meet": milliseconds["meet"] * (processes - 1).bit_length()}
    total = sum(pieces_of_step.values())
    return {**pieces_of_step, "step": total, "efficiency": (pieces_of_step["network"] + loss[per_process]) / total}


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--nproc_per_node", type=number(int, 2), default=2)
    parser.add_argument("--image_size", type=image_size, default=96)
    parser.add_argument("--repeats", type=batch_size, default=5)
    parser.add_argument("--into", type=Path, help="of a process that measures: its result file")
    args = parser.parse_args()
    if args.into:
        pieces = measure(args)
        if os.environ["RANK"] == "0":
            args.into.write_text(json.dumps(pieces))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pieces.json")
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(args.nproc_per_node)]
        subprocess.run([*launcher, __file__, *sys.argv[1:], "--into", str(file)], cwd=ROOT, check=True)
        pieces = json.loads(file.read_text())
    pieces["predicted"] = {f"{processes} processes": predict_step(pieces, processes)
                           for processes in (1, 2, 4, 8, 16, 32, 64)}
    write_result("distributed_cost", select_device(args.device), pieces)


if __name__ == "__main__":
    exit_cleanly(main)
