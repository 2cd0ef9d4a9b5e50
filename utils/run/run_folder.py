"""A run's folder: what was run (args.json) and what came out of each epoch (log.csv)."""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import sklearn
import torch
import torchvision

from utils.errors import InputError
from utils.run.atomic import lock, unlock, write_csv, write_text

_LOCK_PATIENCE = 15  # s



def make_folder(path: str | Path) -> Path:
    """Make a folder for results where there is none yet.

    Raises:
        InputError: where it cannot be made or written to, which is better known before the work than after.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"folder {path} cannot be made ({error.strerror}); choose another --save_path") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"folder {path} cannot be written to; choose another --save_path")
    return path


def check_not_in_dataset(folder: str | Path, images: Path) -> None:
    """Raise InputError where a folder for results lies in the folder of a data set."""
    if Path(folder).resolve().is_relative_to(images.resolve()):
        raise InputError(f"{folder} lies among the images in {images}, where the next run would take its pictures for "
                         "images; choose another --work-dir, --save_path or --cache folder")


def create_run_folder(work_dir: str | Path, name: str) -> Path:
    """Make <work_dir>/<name>_<time>/.

    Raises:
        InputError: where it cannot be made.
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


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from going on with the run in `folder`.

    Raises:
        InputError: where another one does not let go of it; workers of one that was killed end after some seconds.
    """
    with open(folder / ".lock", "wb") as file:
        for _ in range(_LOCK_PATIENCE):
            if lock(file):
                break
            time.sleep(1)
        else:
            raise InputError(f"the run in {folder} is being trained by another process; wait for its end, or stop it")
        try:
            yield
        finally:
            unlock(file)


def write_args(folder: Path, args: dict[str, Any], device: torch.device, epochs_before: int | None = None) -> None:
    """Write args.json: the options, the command and the environment. A run that goes on after `epochs_before` epochs
    keeps those of its start, save for its length, and lists the new command and environment below "resumed"."""
    file, now = folder / "args.json", {"command": shlex.join(["python", *sys.argv]), **environment(device)}
    about = {"args": args, **now}
    if epochs_before is not None:
        started = read_args(folder)
        again = {"after_epoch": epochs_before, **now}
        about = {**started, "args": {**started["args"], "max_epoch": args["max_epoch"]},
                 "resumed": [*started.get("resumed", []), again]}
    write_text(file, json.dumps(about, indent=2) + "\n")


def read_args(folder: Path) -> dict[str, Any]:
    """What `write_args` wrote.

    Raises:
        InputError: where it is not there, or something else.
    """
    try:
        about = json.loads((folder / "args.json").read_text(encoding="utf-8"))
        about["args"].keys()
        return about
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} is no folder of a run, as Train.py makes them in --work-dir: its args.json cannot "
                         f"be read ({error})") from error


def environment(device: torch.device) -> dict[str, Any]:
    """Package versions, the device and the git commit."""
    return {
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "torchvision": torchvision.__version__, "numpy": np.__version__, "pillow": PIL.__version__,
                     "scikit-learn": sklearn.__version__},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda"
        else f"{device.type} ({torch.get_num_threads()} threads, {platform.machine()})",
        "git_commit": _git_commit(),
    }


def write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write log.csv whole: a header, and a row for each of at least one epoch. Raises OSError as `atomic_write`."""
    write_csv(path, [list(rows[0]),
                     *([f"{value:.6g}" if isinstance(value, float) else value for value in row.values()]
                       for row in rows)])


def _git_commit() -> str | None:
    """The commit of this code; "-dirty" says that files differ from it. None outside a git checkout."""
    try:
        git = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=Path(__file__).parent,
                             capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return git.stdout.strip()
