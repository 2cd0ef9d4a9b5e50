"""A run's folder: its lock, what was run (args.json) and what each epoch gave (log.csv)."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision

from utils.distributed import world_size
from utils.errors import InputError, summarize_names, warn
from utils.options import file_option
from utils.run.atomic import lock, unlock, write_csv, write_text
from utils.run.checkpoint import read_weight_file

_LOCK_PATIENCE = 15  # s


def make_folder(path: str | Path) -> Path:
    """Make a folder for results if it does not exist.

    Raises:
        InputError: if it cannot be made or written to, so that the program fails early.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"folder {path} cannot be made ({error.strerror}); choose another --save_path") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"folder {path} cannot be written to; choose another --save_path")
    return path


def check_not_in_dataset(folder: str | Path, dataset: Path) -> None:
    """Raise InputError if a folder for results lies inside the folder of a data set."""
    if Path(folder).resolve().is_relative_to(dataset.resolve()):
        raise InputError(f"{folder} lies inside the data set {dataset}, where the next run would read its figures as "
                         "images; choose another --work-dir, --save_path or --cache folder")


def check_without_checkpoints(save_path: str | None) -> None:
    """Raise InputError if a folder for checkpoints is that of another run, or has its checkpoints."""
    files = [Path(save_path or "", name) for name in ("best.pth", "last.pth", "args.json")]
    found = [file for file in files if save_path and file.exists()]
    if found:
        raise InputError(f"{found[0]} belongs to another run, which would be replaced; choose another --save_path, or "
                         "resume that run with --resume RUN_FOLDER")


def create_run_folder(work_dir: str | Path, name: str) -> Path:
    """Make <work_dir>/<name>_<time>/.

    Raises:
        InputError: if it cannot be made.
    """
    stem = Path(work_dir) / f"{name}_{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in ["", *(f"-{number}" for number in range(2, 100))]:
        folder = stem.with_name(stem.name + suffix)
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:  # another run started in the same second
            continue
        except OSError as error:
            raise InputError(f"the run folder {folder} cannot be made ({error.strerror}); "
                             "choose another --work-dir") from error
    raise InputError(f"{stem} and 98 more folders of that name exist; choose another --work-dir")


def lists_of_split(folder: Path | None) -> dict[str, str]:
    """The list files of the training and validation images of the run in `folder`, by the name of the split; empty for
    a new run, and if one is missing, because one alone is another split."""
    lists = {split: str(folder / f"{split}.txt") for split in ("train", "val")} if folder else {}
    return lists if all(Path(path).exists() for path in lists.values()) else {}


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from training the run in `folder`.

    Raises:
        InputError: if another process holds the lock; the workers of one that was killed hold it some seconds longer.
    """
    with open(folder / ".lock", "wb") as file:
        for _ in range(_LOCK_PATIENCE):
            if lock(file):
                break
            time.sleep(1)
        else:
            raise InputError(f"another process is training the run in {folder}; stop it or wait until it has finished")
        try:
            yield
        finally:
            unlock(file)


@contextmanager
def lock_new_run(folder: Path, save_path: str | None) -> Iterator[None]:
    """`run_lock` for a run that starts, and for its --save_path, which another one may have chosen at the same time.

    Raises:
        InputError: as `run_lock` and `check_without_checkpoints`.
    """
    with run_lock(folder), run_lock(Path(save_path)) if save_path else nullcontext():
        check_without_checkpoints(save_path)
        yield


def write_args(folder: Path, args: dict[str, Any], device: torch.device, **details: Any) -> None:
    """Write args.json: the options, `details` of the run, the command and the environment."""
    record = {"args": args, **details, **_command(device)}
    write_text(folder / "args.json", json.dumps(record, indent=2) + "\n")


def add_resumption(folder: Path, max_epoch: int, device: torch.device, after_epoch: int) -> None:
    """Add to args.json the command and environment of a run that is resumed, and its new length."""
    record = read_args(folder)
    record["args"]["max_epoch"] = max_epoch
    record.setdefault("resumed", []).append({"after_epoch": after_epoch, **_command(device)})
    write_text(folder / "args.json", json.dumps(record, indent=2) + "\n")


def read_args(folder: Path) -> dict[str, Any]:
    """The content of args.json.

    Raises:
        InputError: if it is missing or something else.
    """
    try:
        record = json.loads((folder / "args.json").read_text(encoding="utf-8"))
        record["args"].keys()
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} is not a run folder, which Train.py makes in --work-dir: its args.json cannot be "
                         f"read ({error})") from error


def name_of_run(folder: Path) -> str:
    """The name of the run's folder when it was made; it may be renamed."""
    return read_args(folder).get("run", folder.resolve().name)


def weight_file(text: str) -> str:
    """An argparse type: a weight file; for a run's folder, its best.pth, if that is not of another run with the same
    --save_path."""
    save_path = run = None
    with suppress(InputError):  # no run's folder
        save_path = read_args(Path(text))["args"].get("save_path")
    file = file_option("give a weight file", "best.pth")(str(save_path or text))
    with suppress(InputError):  # who loads it will say so
        run = save_path and read_weight_file(file).get("run")
    if run and run != name_of_run(Path(text)):
        raise ArgumentTypeError(f"{file} belongs to the run {run}, and not to {text}: name the weight file itself")
    return file


def newest_checkpoint(work_dir: str | Path) -> Path:
    """The best.pth that was written last below `work_dir`, or in a --save_path of its runs.

    Raises:
        InputError: if there is none.
    """
    runs = {}  # args.json -> best.pth
    for file in Path(work_dir).glob("*/args.json"):
        with suppress(InputError):  # no run
            runs[file] = Path(read_args(file.parent)["args"].get("save_path") or file.parent, "best.pth")
    found = {path for path in (*Path(work_dir).glob("**/best.pth"), *runs.values()) if path.is_file()}
    if not found:
        raise InputError(f"there is no run with a best.pth below {work_dir}: train one first, or give --weights_path")
    newest = max(found, key=lambda path: path.stat().st_mtime)
    without = [str(file.parent) for file, weights in runs.items()
               if weights not in found and file.stat().st_mtime > newest.stat().st_mtime]
    if without:
        warn(f"{summarize_names(without, 'newer run')} without a best.pth; testing {newest}")
    return newest


def environment(device: torch.device) -> dict[str, Any]:
    """Package versions, the device and the git commit."""
    return {
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "torchvision": torchvision.__version__, "numpy": np.__version__, "pillow": PIL.__version__,
                     "scikit-learn": importlib.metadata.version("scikit-learn")},  # whose import takes a second
        "device": torch.cuda.get_device_name(device) if device.type == "cuda"
        else f"{device.type} ({torch.get_num_threads()} threads, {platform.machine()})",
        "git_commit": _git_commit(),
    }


def log_row(epoch: int, lr: float, losses: dict[str, float], metrics: dict[str, float],
            deterministic: bool) -> dict[str, Any]:
    """An epoch's row of log.csv; without the images per second, which never repeat, if it should be deterministic."""
    row = {"epoch": epoch, "lr": lr, **{f"train_{name}": value for name, value in losses.items()},
           **{f"val_{name}": value for name, value in metrics.items()}}
    if deterministic:
        del row["train_images_per_second"]
    return row


def best_epoch(log: list[dict[str, Any]]) -> tuple[int, float]:
    """The epoch that validation selects, the later one of a tie, and its score: accuracy, or micro F1 for several
    labels. (0, -1) before the first epoch."""
    scores = [(row["val_accuracy" if "val_accuracy" in row else "val_OF1"], row["epoch"]) for row in log]
    score, epoch = max(scores, default=(-1.0, 0))
    return epoch, score


def format_last_epoch(log: list[dict[str, Any]]) -> str:
    """The last epoch in one line for the screen."""
    row = log[-1]
    losses = [f"{name.removeprefix('train_')} {value:.3f}" for name, value in row.items()
              if name.startswith("train_") and name != "train_images_per_second"]
    accuracy = f"accuracy {row['val_accuracy']:.2%}  " if "val_accuracy" in row else ""
    speed = f"  {row['train_images_per_second']:.0f} images/s" if "train_images_per_second" in row else ""
    return (f"lr {row['lr']:.1e}  {' '.join(losses)}  val {accuracy}mAP {row['val_mAP']:.2%}  micro F1 "
            f"{row['val_OF1']:.2%}{speed}{'  best' if best_epoch(log)[0] == row['epoch'] else ''}")


def write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write log.csv: a header, and a row for each of at least one epoch; what the epochs of an older version lack stays
    empty. Raises OSError as `atomic_write`."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    values = ([row.get(name, "") for name in columns] for row in rows)
    digits = [9 if name.startswith("val_") else 6 for name in columns]  # those of validation select the epoch
    write_csv(path, [columns, *([f"{value:.{n}g}" if isinstance(value, float) else value
                                 for value, n in zip(row, digits)] for row in values)])


def _command(device: torch.device) -> dict[str, Any]:
    return {"command": shlex.join(["python", *sys.argv]), "processes": world_size(), **environment(device)}


def _git_commit() -> str | None:
    """The commit of this code, with "-dirty" if files differ from it; None outside a git checkout."""
    try:
        git = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=Path(__file__).parent,
                             capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return git.stdout.strip()
