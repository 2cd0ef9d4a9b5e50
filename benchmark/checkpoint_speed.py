"""Claim: writing last.pth and best.pth, four times the network, costs an epoch less than 10 % of its time, even on a
disk that takes half an epoch to write them: the network trains while a thread writes.

    python benchmark/checkpoint_speed.py

Epochs with R4C on random images take turns: without checkpoints, with checkpoints written before the next epoch starts,
and in the background. The disk is as slow as `--disk` times an epoch: each write waits in fsync, as for a real one.
"""

import tempfile
import time
from pathlib import Path
from unittest import mock

import torch
from measure import medians, write_result
from torch.utils.data import DataLoader, TensorDataset

from dataset import Normalize
from loss import R4CLoss
from model import build_model
from utils.engine import train_one_epoch
from utils.errors import exit_cleanly
from utils.options import Parser, select_device
from utils.run.checkpoint import copy_to_host, in_background, save_checkpoint

LABELS = 17


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model", default="Resnet-18")
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--disk", type=float, default=0.5, help="seconds of writing per second of an epoch")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = select_device(options.device)
    model = build_model(options.model, LABELS).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    size, normalize = options.image_size, Normalize().to(device)
    images = torch.randint(0, 256, (16 * options.steps, size, size, 3), dtype=torch.uint8)
    loader = DataLoader(TensorDataset(images, (torch.rand(len(images), LABELS) < 0.2).float()), batch_size=16)

    def epoch() -> None:
        train_one_epoch(model, loader, R4CLoss(), optimizer, normalize, device, "epoch")

    epoch()
    start = time.perf_counter()
    epoch()
    seconds_of_disk = options.disk * (time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as folder, in_background() as in_thread:
        def with_checkpoints(run) -> None:
            epoch()
            checkpoint = copy_to_host({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()})
            run(lambda: [save_checkpoint(Path(folder, name), checkpoint) for name in ("last.pth", "best.pth")])

        with mock.patch("os.fsync", lambda file: time.sleep(seconds_of_disk / 2)):
            seconds = medians({"without": epoch,
                               "before the next epoch": lambda: with_checkpoints(lambda write: write()),
                               "in the background": lambda: with_checkpoints(in_thread)}, options.repeats, device)
            in_thread(lambda: None)
        megabytes = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
    write_result("checkpoint", device, {
        "model": options.model, "image_size": size, "steps": options.steps, "repeats": options.repeats,
        "megabytes_per_epoch": megabytes, "seconds_of_disk_per_epoch": seconds_of_disk, "seconds": seconds,
        "ratio_to_without": {name: value / seconds["without"] for name, value in seconds.items()}})


if __name__ == "__main__":
    exit_cleanly(main)
