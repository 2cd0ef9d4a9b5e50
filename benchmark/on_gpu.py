"""Measure and check on one GPU all that GPU_TODO.md lists for one, in the order of its worth.

    python benchmark/on_gpu.py --minutes 25 --data_root data --pretrained_path weights.pth

Each item is a process with a limit of time, and writes results/gpu/<item>.json with the card's name; scripts also write
results/speed/*_cuda.json. After a failure comes the next item. What this commit has measured on this card is not
repeated, so the command can be given again. At the end comes a real training, which is resumed, and its test.
"""

import argparse
import json
import math
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from measure import ROOT
from torch import Tensor

import Train
from dataset import AugmentAndNormalize, ImageDataset, Normalize, build_loader, cached_images, train_transform
from dataset.augment import random_flips_and_rotation
from dataset.data import Split, load_data
from loss import LOSSES, R4CLoss, build_loss
from model import NETWORKS, build_model
from utils import engine
from utils.errors import InputError, exit_cleanly
from utils.evaluation.gradcam import grad_cam
from utils.metrics import multilabel_metrics
from utils.options import Parser, select_device
from utils.run.run_folder import environment

RESULTS = ROOT / "benchmark" / "results" / "gpu"
CPU = torch.device("cpu")


# Checks: each returns its figures, or raises AssertionError.

def parity(device: torch.device, options: argparse.Namespace) -> dict[str, float]:
    """Values and gradients of the losses, rotated pixels, scores, metrics and Grad-CAM maps against the CPU."""
    torch.backends.cudnn.allow_tf32 = False
    generator, differences = torch.Generator().manual_seed(0), {}
    for batch in (16, 64, 256)[:1 if options.dry else 3]:
        features, logits = (torch.randn(batch, width, generator=generator) for width in (256, 17))
        labels = (torch.rand(batch, 17, generator=generator) < 0.2).float()
        for name in LOSSES:
            target = torch.eye(17)[labels.argmax(1)] if name == "ce" else labels
            values = [_value_and_gradients(name, place, features, logits, target) for place in (CPU, device)]
            differences[f"{name}, {batch} images"] = max(map(_difference, *values))
    assert max(differences.values()) < 1e-4, differences

    size, number = (64, 4) if options.dry else (512, 64)
    images = torch.randint(0, 256, (number, size, size, 3), dtype=torch.uint8, generator=generator)
    draws = torch.rand(number, 3, dtype=torch.float64, generator=generator)
    pixels = [random_flips_and_rotation(images.to(place), draws).cpu() for place in (CPU, device)]
    assert torch.equal(*pixels), f"{(pixels[0] != pixels[1]).float().mean():.2%} of the rotated pixels differ"

    name = "Resnet-18" if options.dry else "Resnet-50"
    model, batch = build_model(name, 17), (images[:16, :224, :224], labels[:16][:number])
    maps, scores = [], []
    for place in (CPU, device):
        model = model.to(place)
        scores.append(engine.predict(model, _Batches([batch]), Normalize().to(place), place, "scores"))
        layer = model.get_submodule(NETWORKS[name].gradcam)
        maps.append(grad_cam(model, layer, Normalize().to(place)(batch[0].to(place)), range(3)).cpu())
    metrics = [multilabel_metrics(*columns) for columns in scores]
    return {"largest_relative_difference_of_losses": max(differences.values()), "pixels_that_differ": 0,
            "largest_difference_of_scores": float(np.abs(scores[0][0] - scores[1][0]).max()),
            "largest_difference_of_metrics": max(abs(metrics[0][key] - metrics[1][key]) for key in metrics[0]),
            "largest_relative_difference_of_maps": _difference(*maps)}


class _Batches(list):
    """A loader of batches on the host."""

    @property
    def dataset(self) -> Tensor:
        return torch.cat([images for images, *_ in self])


def _value_and_gradients(name: str, place: torch.device, features: Tensor, logits: Tensor,
                         labels: Tensor) -> list[Tensor]:
    inputs = [tensor.to(place).requires_grad_() for tensor in (features, logits)]
    total, _ = build_loss(name)(*inputs, labels.to(place))
    gradients = torch.autograd.grad(total, inputs, allow_unused=True)
    return [total.detach().cpu(), *(gradient.cpu() for gradient in gradients if gradient is not None)]


def _difference(expected: Tensor, found: Tensor) -> float:
    return float((expected - found).norm() / expected.norm().clamp(min=1e-12))


def synchronisation(device: torch.device, options: argparse.Namespace) -> dict[str, int]:
    """An epoch with workers and a cache, in which each synchronisation of host and device raises, but for the one at
    the epoch's end."""
    split, size = load_data(options.dataset, options.data_root).splits["train"], 64 if options.dry else 224
    split = Split(split.images[:160], split.labels[:160])
    model = build_model("Resnet-18", split.labels.shape[1]).to(device, memory_format=torch.channels_last)
    optimizer, check = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True), engine._check_finite

    def check_at_the_end(*args) -> None:
        _raise_at_synchronisation(device, "default")
        check(*args)

    with (tempfile.TemporaryDirectory() as folder, mock.patch.object(engine, "_check_finite", check_at_the_end),
          mock.patch.object(engine, "_SECONDS_BETWEEN_READINGS", float("inf"))):
        load = cached_images(split.images, size, Path(folder))
        dataset, workers = ImageDataset(split, train_transform(size), load), 0 if options.dry else 4
        loader = build_loader(dataset, 16, workers, device, shuffle=True)
        for mode in ("default", "error"):  # the first epoch compiles and allocates
            _raise_at_synchronisation(device, mode)
            engine.train_one_epoch(model, loader, R4CLoss(), optimizer, AugmentAndNormalize().to(device), device, mode)
    return {"steps_without_synchronisation": len(loader)}


def _raise_at_synchronisation(device: torch.device, mode: str) -> None:
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode(mode)


def repetition(device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """The same seed twice, with --deterministic and without, and a run that is stopped and resumed: are the weights
    equal? After the GPU, one more epoch on the CPU."""
    name, size, workers = (options.model, "64", "0") if options.dry else ("Resnet-50", "224", "8")
    argv = ["--dataset", options.dataset, "--data_root", options.data_root, "--model", name, "--pretrained", "none",
            "--image_size", size, "--max_epoch", "3", "--lr", "1e-4", "--num_workers", workers, "--device", device.type,
            "--work-dir", str(Path(options.work_dir, "repetition"))]
    result = {}
    for how, option in (("as usual", []), ("deterministic", ["--deterministic"])):
        start = time.perf_counter()
        folders = [Train.main([*argv, *option]) for _ in range(2)]
        result[f"{how}: seconds"] = (time.perf_counter() - start) / 2
        result[f"{how}: weights equal"] = _equal_weights(*folders)
    resumed = Train.main(["--resume", str(_stop_after_an_epoch([*argv, "--deterministic"]))])
    result["resumed: weights equal"] = _equal_weights(folders[0], resumed)
    Train.main(["--resume", str(resumed), "--device", "cpu", "--max_epoch", "4"])
    return result | {"resumed on the CPU": True}


def _stop_after_an_epoch(argv: list[str]) -> Path:
    """The folder of a run that is stopped in its second epoch."""
    folders, run_epoch = [], Train.train_one_epoch

    def stop_in_second(*args, **options) -> dict[str, float]:
        if args[6].startswith("epoch 2/"):
            raise KeyboardInterrupt
        return run_epoch(*args, **options)

    def note_folder(*args) -> Path:
        folders.append(start_run(*args))
        return folders[0]

    start_run = Train.start_run
    with (mock.patch.object(Train, "train_one_epoch", stop_in_second),
          mock.patch.object(Train, "start_run", note_folder), suppress(KeyboardInterrupt)):
        Train.main(argv)
    return folders[0]


def _equal_weights(*folders: Path) -> bool:
    first, second = (torch.load(folder / "last.pth", weights_only=True, map_location="cpu")["state_dict"]
                     for folder in folders)
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


CHECKS: dict[str, Callable[[torch.device, argparse.Namespace], dict[str, Any]]] = {
    "parity": parity, "synchronisation": synchronisation, "repetition": repetition}


# The items, and their processes

def items(options: argparse.Namespace) -> Iterator[tuple[str, float, list[str]]]:
    """Name, seconds and command, in the order of their worth. The training takes the time that is left."""
    data = ["--dataset", options.dataset, "--data_root", options.data_root]
    own = [str(Path(__file__).relative_to(ROOT)), *data, "--work-dir", options.work_dir, *["--dry"] * options.dry]
    yield "parity", 120, [*own, "--check", "parity"]
    if options.dry:
        yield "a failure", 60, ["-c", "raise SystemExit('this item fails')"]
        yield "out of time", 1, ["-c", "import time; time.sleep(60)"]
        return
    yield "synchronisation", 90, [*own, "--check", "synchronisation"]
    yield "loss_speed", 120, ["benchmark/loss_speed.py"]
    for model, size, batch in (("Resnet-50", 512, 16), ("Resnet-50", 224, 64), ("Swin-T", 512, 16),
                               ("VGGNet-16", 512, 16), ("Resnet-50", 512, 64), ("Resnet-50", 224, 16),
                               ("Swin-T", 224, 64), ("VGGNet-16", 224, 64)):
        compiled = [] if (model, size, batch) == ("Resnet-50", 512, 16) else ["--not_compiled"]
        yield (f"throughput {model} {size} px {batch}", 60 if compiled else 240,
               ["benchmark/throughput.py", "--model", model, "--image_size", str(size), "--batch_size", str(batch),
                *compiled])
    yield "epoch_speed", 240, ["benchmark/epoch_speed.py", *data, "--repeats", "1"]
    yield "step_speed", 240, ["benchmark/step_speed.py", *data, "--repeats", "3"]
    yield "repetition", 240, [*own, "--check", "repetition"]
    yield "checkpoint_speed", 120, ["benchmark/checkpoint_speed.py", "--model", "VGGNet-16", "--image_size", "224"]
    yield "suite", 420, ["-m", "pytest", "-n", "8", "-q", "-p", "no:cacheprovider"]
    start = ["--pretrained_path", options.pretrained_path] if options.pretrained_path else ["--pretrained", "none"]
    yield "recipe", math.inf, ["Train.py", *data, *start, "--model", options.model, "--amp", "--cache", "--work-dir",
                            str(Path(options.work_dir, "recipe")), "--resume", "auto"]
    yield "recipe_test", 60, ["Test.py", "--work-dir", str(Path(options.work_dir, "recipe"))]


def run(name: str, seconds: float, command: list[str]) -> dict[str, Any]:
    """Run one item; what it measured is the JSON in its last line, if there is one."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    try:
        output, status = process.communicate(timeout=seconds)[0], "done" if process.returncode == 0 else "failed"
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # a training finishes its step
        try:
            output = process.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0]
        status = "out of time"
    lines = output.strip().splitlines() or [""]
    try:
        measured = json.loads(lines[-1])
    except ValueError:
        measured = None
    return {"item": name, "status": status, "seconds": round(time.perf_counter() - start, 1),
            "command": " ".join(["python", *command]), "measured": measured,
            "output": [re.sub(r"/\S*/", "", line) for line in lines[-40:]]}  # without the machine's folders


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    parser = Parser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--dataset", default="UCM_Multilabel")
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--work-dir", default="runs/on_gpu")
    parser.add_argument("--model", default="Resnet-50", help="of the training at the end")
    parser.add_argument("--pretrained_path", help="its weights at the start")
    parser.add_argument("--dry", action="store_true", help="try the program on a CPU, with tiny sizes and few items")
    parser.add_argument("--check", choices=list(CHECKS), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    device = select_device("cpu" if options.dry else "auto")
    if options.check:
        print(json.dumps(CHECKS[options.check](device, options)))
        return []
    if device.type != "cuda" and not options.dry:
        raise InputError("there is no GPU here; --dry tries the program on a CPU")
    end, machine, results = time.monotonic() + 60 * options.minutes, environment(device), []
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, seconds, command in items(options):
        file = RESULTS / f"{name.replace(' ', '_')}.json"
        earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if earlier.get("status") == "done" and all(earlier[key] == machine[key] for key in ("git_commit", "device")):
            results.append(earlier)
            continue
        left = end - time.monotonic() - 60 * (name == "recipe")  # and its test
        if left < 10:
            results.append({"item": name, "status": "not started", "seconds": 0})
            continue
        print(f"{name}: at most {min(seconds, left):.0f} s", flush=True)
        results.append(run(name, min(seconds, left), command))
        file.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), **machine, **results[-1]}, indent=2) + "\n",
                        encoding="utf-8")
    for result in results:
        print(f"{result['item']:35} {result['status']:12} {result['seconds']:8.1f} s  "
              f"{json.dumps(result.get('measured') or (result.get('output') or [''])[-1])[:200]}")
    return results


if __name__ == "__main__":
    exit_cleanly(main)
