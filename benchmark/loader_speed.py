"""Claim: with --cache, a core hands over at least 8 times as many images as by decoding, resizing, flipping and turning
each one (`reference_way.py`), for JPEGs of 600 x 600 and a network that takes 512 x 512.

    python benchmark/loader_speed.py --dataset UCM_Multilabel

One process, one thread. The pictures are put together of the data set's, at their own scale, for AID's are 600 x 600.
`loader` ends where a core's work ends beside a GPU: a batch of bytes, which the device flips, turns and normalises.
`everything` does that on this core as well, so that both sides end with what the network reads.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import medians, write_result
from PIL import Image
from reference_way import PerImage
from torch import nn
from torch.utils.data import DataLoader

from dataset import (ImageDataset, Normalize, RandomFlipsAndRotation, Split, build_loader, cached_images, load_data,
                     load_image, train_transform)

SIZE, IMAGE_SIZE, BATCH = 600, 512, 16


def write_mosaics(images: list[Path], number: int, folder: Path) -> list[Path]:
    """JPEGs of SIZE x SIZE, each made of as many images as that takes."""
    paths, rng = [folder / f"{index}.jpg" for index in range(number)], np.random.default_rng(0)
    for path in paths:
        canvas, x, y = Image.new("RGB", (SIZE, SIZE)), 0, 0
        while y < SIZE:
            tile = load_image(images[rng.integers(len(images))])
            canvas.paste(tile, (x, y))
            x, y = (x + tile.width, y) if x + tile.width < SIZE else (0, y + tile.height)
        canvas.save(path, quality=90)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="Synthetic_Multilabel")
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    source = load_data(options.dataset, options.data_root).everything().images
    with tempfile.TemporaryDirectory() as folder:
        images = write_mosaics(source, options.images, Path(folder))
        kilobytes = sum(image.stat().st_size for image in images) / len(images) / 1000
        split = Split(images, np.zeros((len(images), 17), np.uint8))
        load = cached_images(images, IMAGE_SIZE, Path(folder) / "cache")
        cached = build_loader(ImageDataset(split, train_transform(IMAGE_SIZE), load), BATCH, 0, cpu, shuffle=True)
        per_image = DataLoader(PerImage(images, split.labels, IMAGE_SIZE), BATCH, shuffle=True)
        prepare = nn.Sequential(RandomFlipsAndRotation(), Normalize())
        seconds = medians({"per_image": lambda: [None for _ in per_image],
                           "loader": lambda: [None for _ in cached],
                           "everything": lambda: [prepare(batch).shape for batch, _ in cached]},
                          options.repeats, cpu)
    write_result("loader", cpu, {
        "dataset": options.dataset, "images": options.images, "kilobytes_per_jpeg": kilobytes,
        "repeats": options.repeats, "threads": 1,
        "images_per_second": {name: options.images / own for name, own in seconds.items()},
        "loader_times_as_fast": seconds["per_image"] / seconds["loader"],
        "everything_times_as_fast": seconds["per_image"] / seconds["everything"]})


if __name__ == "__main__":
    main()
