"""Target: training and validation, end to end, are at least as fast as by timm's train.py at its best (channels last,
1 or 2 workers) and 1.4 times as fast as by its defaults on a CPU; on a GPU at 512 px, where loading decides, 1.5 times.

    python benchmark/timm_speed.py --data_root data/AID --timm_train train.py

The same class folders, network, batch size, image size and optimizer. timm draws a crop and flips, we also rotate. The
seconds of an epoch are those from the end of the first epoch to the end of the last one; medians of runs taken in
turns. timm is installed by pip into a temporary folder; its train.py, which is not part of the package, is at
https://github.com/huggingface/pytorch-image-models.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, write_result

from dataset.image_list import find_images
from utils.errors import InputError, exit_cleanly
from utils.options import Parser, select_device

# Only timm's own; torch is the one that is installed.
PACKAGES = ["timm", "huggingface_hub", "safetensors", "pyyaml"]
TIMM_NAMES = {"MobileNet-V2": "mobilenetv2_100", "Resnet-50": "resnet50", "Resnet-18": "resnet18"}
OURS = "this project"
END_OF_EPOCH = r"epoch \d+/\d+ lr |Current checkpoints:"


def link_images(data_root: Path, folder: Path, train: int, val: int) -> int:
    """Link so many images of class folders into folder/{train,val,test}/<class>; returns the number of classes."""
    by_class = {path: find_images(path) for path in sorted(data_root.iterdir()) if path.is_dir()}
    turns = [images[turn] for turn in range(max(map(len, by_class.values()))) for images in by_class.values()
             if turn < len(images)]
    if len(turns) < train + val:
        raise InputError(f"{data_root} holds {len(turns)} images in class folders, but {train + val} are needed")
    for number, image in enumerate(turns[:train + val]):
        for split in ("train",) if number < train else ("val", "test"):
            place = folder / split / image.parent.name / image.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(image.resolve())
    return len(by_class)


def commands(options, device: str, folder: Path, classes: int) -> dict[str, list[str]]:
    """By contestant; the number of epochs comes last."""
    name, size = options.model, str(options.image_size)
    ours = ["Train.py", "--dataset", "Custom", "--data_root", str(folder), "--loss", "ce", "--model", name,
            "--pretrained", "none", "--image_size", size, "--lr", "1e-4", "--device", device,
            "--work-dir", str(folder.parent / "runs")]
    timm = [str(options.timm_train), "--data-dir", str(folder), "--train-split", "train", "--val-split", "val",
            "--model", TIMM_NAMES[name], "--num-classes", str(classes), "--input-size", "3", size, size,
            "-b", "16", "-vb", "64",
            "--opt", "adam", "--lr", "1e-4", "--weight-decay", "0", "--color-jitter", "0", "--vflip", "0.5",
            "--device", device, "--warmup-epochs", "0", "--cooldown-epochs", "0",
            "--output", str(folder.parent / "timm")]
    amp, precision = options.bfloat16, "bfloat16" if options.bfloat16 else "float32"
    return {f"{OURS}, {precision}": [*ours, *["--amp"] * amp, "--max_epoch"],
            **{f"timm, {how}, {precision}": [*timm, *more, *["--amp", "--amp-dtype", "bfloat16"] * amp, "--epochs"]
               for how, more in {"defaults": [], "channels last, 1 worker": ["--channels-last", "--workers", "1"],
                                 "channels last, 2 workers": ["--channels-last", "--workers", "2"]}.items()}}


def seconds_of_epoch(command: list[str], epochs: int, site: Path) -> float:
    """Seconds of an epoch, of `epochs` after a first one."""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, *command, str(1 + epochs)], cwd=ROOT, env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    ends, lines = [], []
    for line in process.stdout:
        lines.append(line)
        ends += [time.perf_counter()] if re.search(END_OF_EPOCH, line) else []
    if process.wait() or len(ends) != 1 + epochs:
        raise InputError(f"this failed: python {' '.join(command)} {1 + epochs}\n{''.join(lines[-30:])}")
    return (ends[-1] - ends[0]) / epochs


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--data_root", type=Path, default=Path("data/AID"), help="class folders of images")
    parser.add_argument("--timm_train", type=Path, required=True, metavar="FILE", help="timm's train.py")
    parser.add_argument("--timm_site", type=Path, metavar="DIR", help="where timm is installed (default: install it)")
    parser.add_argument("--model", choices=list(TIMM_NAMES), default="MobileNet-V2")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--images", type=int, default=480, help="of training; half as many are validated on")
    parser.add_argument("--epochs", type=int, default=2, help="that are timed, after one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bfloat16", action="store_true", help="mixed precision in place of float32")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = select_device(options.device)
    with tempfile.TemporaryDirectory() as temporary:
        folder, site = Path(temporary, "Custom"), options.timm_site or Path(temporary, "site")
        if not options.timm_site:
            subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site),
                            *PACKAGES], check=True)
        classes = link_images(options.data_root, folder, options.images, options.images // 2)
        contestants = commands(options, device.type, folder, classes)
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(options.repeats):
            for name, command in contestants.items():
                times[name].append(seconds_of_epoch(command, options.epochs, site))
        version = next(path.name.split("-")[1].removesuffix(".dist") for path in site.glob("timm-*.dist-info"))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    images = options.images + options.images // 2
    write_result(f"timm_{options.model}_{options.image_size}px{'_bfloat16' * options.bfloat16}", device, {
        "timm": version, "images_per_epoch": images, "epochs": options.epochs, "repeats": options.repeats,
        "images_per_second": {name: images / value for name, value in seconds.items()},
        "times_as_fast_as": {name: value / seconds[f"{OURS}, {name.split(', ')[-1]}"] for name, value in seconds.items()
                             if not name.startswith(OURS)}})


if __name__ == "__main__":
    exit_cleanly(main)
