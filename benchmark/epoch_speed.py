"""Claim: on CUDA (--amp --cache), an epoch of UCM_Multilabel at 512 px takes at most a tenth of the time of a
straightforward implementation (`reference_way.py`). On a CPU the network takes most of the time either way, and much of
the difference is due to channels-last memory: so the straightforward way is also measured with it.

    python benchmark/epoch_speed.py

All train the same network on the same images with Adam, in batches of 16; medians of whole epochs taken in turns, after
one warm-up. The cache is written before; its time is reported separately.
"""

import functools
import tempfile
import time
from pathlib import Path

import torch
from measure import medians, write_result
from reference_way import PerImage, train_one_epoch_plainly

from dataset import (
    AugmentAndNormalize,
    ImageDataset,
    build_loader,
    cached_images,
    load_data,
    train_transform,
)
from loss import R4CLoss
from model import build_model
from utils.engine import train_one_epoch
from utils.errors import exit_cleanly
from utils.options import Parser, resolve_num_workers, select_device

AID_IMAGES = 2160  # the 2400 training images less a tenth for validation


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--dataset", default="UCM_Multilabel")
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", help="(default: Resnet-50 on CUDA, else MobileNet-V2)")
    parser.add_argument("--image_size", type=int, help="(default: 512 on CUDA, else 128)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = select_device(options.device)
    cuda = device.type == "cuda"
    name = options.model or ("Resnet-50" if cuda else "MobileNet-V2")
    size = options.image_size or (512 if cuda else 128)
    data = load_data(options.dataset, options.data_root)
    split, num_labels = data.splits["train"], len(data.label_names)

    model = build_model(name, num_labels).to(device, memory_format=torch.channels_last)
    preprocess = AugmentAndNormalize().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    plain_models = {suffix: build_model(name, num_labels).to(device, memory_format=memory) for suffix, memory in
              (("", torch.contiguous_format), ("_channels_last", torch.channels_last))}
    per_image = PerImage(split.images, split.labels, size)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        load = cached_images(split.images, size, Path(folder))
        cache_seconds = time.perf_counter() - start
        loader = build_loader(ImageDataset(split, train_transform(size), load), 16, resolve_num_workers(None, device),
                              device, shuffle=True)
        seconds = medians({
            "this_project": lambda: train_one_epoch(model, loader, R4CLoss(), optimizer, preprocess, device, "epoch",
                                                    amp=cuda),
            **{f"reference_way{suffix}": functools.partial(
                train_one_epoch_plainly, network, per_image, torch.optim.Adam(network.parameters(), lr=1e-5), device)
               for suffix, network in plain_models.items()},
        }, options.repeats, device)
    write_result("epoch", device, {
        "dataset": options.dataset, "model": name, "image_size": size, "images": len(split.images), "amp": cuda,
        "repeats": options.repeats, "seconds": seconds, "cache_seconds_once": cache_seconds,
        "times_as_fast": {side: value / seconds["this_project"] for side, value in seconds.items()},
        "hours_of_training_on_as_many_images_as_400_epochs_of_AID_Multilabel": {
            side: 400 * AID_IMAGES * value / len(split.images) / 3600 for side, value in seconds.items()}})


if __name__ == "__main__":
    exit_cleanly(main)
