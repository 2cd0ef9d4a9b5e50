"""Claim: a complete training step with --cache (loading, augmentation, forward, R4C, backward, Adam, progress, log)
takes at most 1.05 times as long as the bare step of the network on a CPU, at 224 px in batches of 16; on CUDA with
--amp at most 1.10 times as long, in batches of 16 and 64, at 224 and 512 px.

    python benchmark/step_speed.py --dataset UCM_Multilabel

The bare step uses the same network and optimizer on one random batch on the device, with binary cross-entropy. Medians
of short epochs taken in turns. `decoded` is the complete step without a cache, with every image decoded and resized.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import medians, write_result
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dataset import (
    AugmentAndNormalize,
    ImageDataset,
    Split,
    build_loader,
    cached_images,
    load_data,
    load_image,
    train_transform,
)
from loss import R4CLoss
from model import build_model
from utils.acceleration import autocast
from utils.engine import train_one_epoch
from utils.errors import exit_cleanly
from utils.options import Parser, resolve_num_workers, select_device
from utils.run.run_folder import write_log


def bare_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor,
               steps: int, device: torch.device) -> Callable[[], None]:
    def epoch() -> None:
        model.train()
        for _ in range(steps):
            with autocast(device, device.type == "cuda"):
                _, logits = model(images)
            loss = binary_cross_entropy_with_logits(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return epoch


def measure(name: str, image_size: int, batch: int, split: Split, steps: int, repeats: int,
            device: torch.device) -> dict[str, float]:
    """Milliseconds of a step, and the ratios."""
    model = build_model(name, split.labels.shape[1]).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    indices = np.resize(np.arange(len(split.images)), steps * batch)  # repeated if there are too few
    split = Split([split.images[index] for index in indices], split.labels[indices])
    preprocess, workers = AugmentAndNormalize().to(device), resolve_num_workers(None, device)
    with tempfile.TemporaryDirectory() as folder:
        def full_epoch(load) -> Callable[[], None]:
            dataset = ImageDataset(split, train_transform(image_size), load)
            loader = build_loader(dataset, batch, workers, device, shuffle=True)

            def epoch() -> None:
                trained = train_one_epoch(model, loader, R4CLoss(), optimizer, preprocess, device, "epoch",
                                          amp=device.type == "cuda")
                write_log(Path(folder) / "log.csv", [trained])
            return epoch

        images = torch.randn(batch, 3, image_size, image_size, device=device)
        bare = bare_epoch(model, optimizer, images.to(memory_format=torch.channels_last),
                          torch.from_numpy(split.labels[:batch]).float().to(device), steps, device)
        load = cached_images(split.images, image_size, Path(folder))
        seconds = medians({"bare": bare, "cached": full_epoch(load), "decoded": full_epoch(load_image)}, repeats,
                          device)
    return {**{f"{name}_ms": 1000 * value / steps for name, value in seconds.items()},
            "cached_to_bare": seconds["cached"] / seconds["bare"],
            "decoded_to_bare": seconds["decoded"] / seconds["bare"]}


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--dataset", default="Synthetic_Multilabel")
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", nargs="+", default=["MobileNet-V2", "Resnet-50"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = select_device(options.device)
    split = load_data(options.dataset, options.data_root).splits["train"]
    sizes, batches, steps = ((224, 512), (16, 64), 20) if device.type == "cuda" else ((224,), (16,), 12)
    result = {f"{name}, {size} px, {batch} images": measure(name, size, batch, split, steps, options.repeats, device)
              for name in options.models for size in sizes for batch in batches}
    write_result("step", device, {"dataset": options.dataset, "amp": device.type == "cuda", "steps": steps,
                                  "repeats": options.repeats, **result})


if __name__ == "__main__":
    exit_cleanly(main)
