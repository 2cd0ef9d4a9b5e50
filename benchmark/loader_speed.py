"""Claim: with --cache, a core delivers at least 8 times as many images as without, for JPEGs of 600 x 600 and a network
with 512 x 512 inputs; likewise compared with decoding, resizing, flipping, rotating and normalising each image
(`reference_way.py`), although flips and the rest are the device's work in this project.

    python benchmark/loader_speed.py --dataset UCM_Multilabel

One process, one thread. `cached` and `decoded` end with a batch of bytes, as for a GPU. `cached, prepared` continues on
this core to the network's input, where `per image` ends. The images are mosaics of the data set's images at their
original scale, in the size of AID's.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import medians, write_result
from PIL import Image
from reference_way import PerImage
from torch.utils.data import DataLoader

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
from utils.errors import exit_cleanly
from utils.options import Parser

SIZE, IMAGE_SIZE, BATCH = 600, 512, 16


def write_mosaics(images: list[Path], number: int, folder: Path) -> list[Path]:
    """JPEGs of SIZE x SIZE, each made of as many images as needed."""
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
    parser = Parser(description=__doc__)
    parser.add_argument("--dataset", default="Synthetic_Multilabel")
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    source = load_data(options.dataset, options.data_root).all_images().images
    with tempfile.TemporaryDirectory() as folder:
        images = write_mosaics(source, options.images, Path(folder))
        kilobytes = sum(image.stat().st_size for image in images) / len(images) / 1000
        split = Split(images, np.zeros((len(images), 17), np.uint8))
        load = cached_images(images, IMAGE_SIZE, Path(folder) / "cache")
        cached, decoded = (build_loader(ImageDataset(split, train_transform(IMAGE_SIZE), read), BATCH, 0, cpu, True)
                           for read in (load, load_image))
        per_image = DataLoader(PerImage(images, split.labels, IMAGE_SIZE), BATCH, shuffle=True)
        preprocess = AugmentAndNormalize()
        seconds = medians({"per image": lambda: [None for _ in per_image],
                           "decoded": lambda: [None for _ in decoded],
                           "cached": lambda: [None for _ in cached],
                           "cached, prepared": lambda: [preprocess(images, draws) for images, _, draws in cached]},
                          options.repeats, cpu)
    write_result("loader", cpu, {
        "dataset": options.dataset, "images": options.images, "kilobytes_per_jpeg": kilobytes,
        "repeats": options.repeats, "threads": 1,
        "images_per_second": {name: options.images / value for name, value in seconds.items()},
        "cached_to_decoded": seconds["decoded"] / seconds["cached"],
        "cached_to_per_image": seconds["per image"] / seconds["cached"],
        "cached_and_prepared_to_per_image": seconds["per image"] / seconds["cached, prepared"]})


if __name__ == "__main__":
    exit_cleanly(main)
