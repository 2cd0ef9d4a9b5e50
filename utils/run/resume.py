"""Resume an interrupted run after its last finished epoch, as if it had never stopped."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils.distributed import is_main
from utils.errors import (
    Diverged,
    InputError,
    Interrupted,
    NonFinite,
    UnreadableImage,
    describe_error,
    summarize_names,
    warn,
)
from utils.options import RESUME_OPTIONS, RUNTIME_OPTIONS, differing_options
from utils.run import run_folder
from utils.run.checkpoint import read_weight_file
from utils.run.run_folder import read_args


def find_run(resume: str, options: dict[str, Any], defaults: dict[str, Any], argv: list[str]) -> Path | None:
    """The folder of the run that `--resume` names.

    Args:
        resume: a run's folder, or the last.pth in it; or "auto" for the newest run in --work-dir with these options, or
            the newest of all if none was typed, so that the same command can be given again after every stop. None if
            there is no such run.
        options: of the command line.
        defaults: of the options that an older run lacks.
        argv: the typed arguments.
    """
    if resume.lower() != "auto":
        folder = Path(resume).parent if Path(resume).name == "last.pth" else Path(resume)
        _last_checkpoint(folder)
        return folder
    typed = {word.split("=")[0].lstrip("-").replace("-", "_") for word in argv if word.startswith("--")}
    runs, rejected = [], []
    for file in Path(options["work_dir"]).glob("*/args.json"):
        folder = file.parent
        try:
            started = {**defaults, **read_args(folder)["args"]}
            ignore = RUNTIME_OPTIONS | {"label_num"}
            names = () if typed <= ignore else differing_options(started, options, ignore)
        except (InputError, TypeError):  # not a run
            continue
        try:
            written = _last_checkpoint(folder).stat().st_mtime_ns
        except InputError as error:
            rejected.append((len(names), -file.stat().st_mtime_ns, str(error).split(";")[0]))
            continue
        if names:
            differences = _differences(started, options, names)
            rejected.append((len(names), -written, f"{folder} was started with {differences}"))
        else:
            runs.append((written, folder))
    if not runs:
        nearest = f"; the nearest: {min(rejected)[2]}" if rejected else ""
        print(f"--resume auto: no run in {options['work_dir']} has these options, so a new one starts{nearest}")
    return max(runs)[1] if runs else None


def _last_checkpoint(folder: Path) -> Path:
    file = Path(str(read_args(folder)["args"].get("save_path") or folder)) / "last.pth"
    if not file.is_file():
        raise InputError(f"{folder} cannot be resumed: there is no {file}, as in a run with --not-save; start again "
                         "without --resume")
    return file


def read_last_checkpoint(folder: Path) -> dict[str, Any]:
    """The content of the last.pth of the run in `folder`.

    Raises:
        InputError: if it is missing, unreadable, or belongs to another run or version.
    """
    file = _last_checkpoint(folder)
    try:
        checkpoint = read_weight_file(file)
    except InputError as error:
        raise InputError(f"{error}; or start again without --resume") from error
    required = {"args", "log", "optimizer", "labels", "run", "trained_on", "label_names"}
    if not required <= checkpoint.keys() or not isinstance(checkpoint["args"], dict):
        raise InputError(f"{file} is not a last.pth of this version of Train.py, and cannot be resumed")
    may_be_renamed = "run" not in read_args(folder) and file.parent.resolve() == folder.resolve()  # of an older version
    if checkpoint["run"] != run_folder.name_of_run(folder) and not may_be_renamed:
        raise InputError(f"{file} belongs to the run {checkpoint['run']}, and not to {folder}; restore that of the "
                         "run, or start again without --resume")
    if checkpoint.get("progress", {}).get("steps"):
        raise InputError(f"{file} was saved in the middle of an epoch by an older version of Train.py: finish that "
                         "epoch with that version, or start again without --resume")
    return checkpoint


def restore(folder: Path, checkpoint: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer,
            max_epoch: int, device: torch.device) -> list[dict[str, Any]]:
    """Load weights and optimizer from the run's last checkpoint, and record in args.json that the run is resumed.

    Returns:
        The log, a row per finished epoch.
    Raises:
        InputError: if the checkpoint does not fit, or has more than `max_epoch` epochs.
    """
    try:
        model.load_state_dict(checkpoint["state_dict"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        log = [dict(row) for row in checkpoint["log"]]
        epoch, best_epoch = len(log), run_folder.best_epoch(log)[0]
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(f"{folder} cannot be resumed, because its last.pth does not fit this version of Train.py "
                         f"({error}); start again without --resume") from error
    if epoch > max_epoch:
        raise InputError(f"--max_epoch {max_epoch}, but {folder} has {epoch} finished epochs")
    print(f"resuming {folder} after {epoch} of {max_epoch} epochs"
          + "; a larger --max_epoch would continue it" * (epoch == max_epoch))
    best = Path(checkpoint["args"].get("save_path") or folder, "best.pth")
    if best_epoch < epoch and not best.exists():  # that of the last epoch is written again anyway
        warn(f"{best}, of epoch {best_epoch}, is missing; the next best epoch rewrites it")
    if is_main():
        run_folder.add_resumption(folder, max_epoch, device, after_epoch=epoch)
    return log


def check_same_options(folder: Path, started: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise InputError, naming them, for options that would make it another run."""
    names = differing_options(started, given, RESUME_OPTIONS)
    if names:
        raise InputError(f"{folder} was started with {_differences(started, given, names)}: leave that out, or start a "
                         "new run without --resume")


def _differences(started: dict[str, Any], given: dict[str, Any], names: Sequence[str]) -> str:
    differences = ", ".join(f"--{name} {started.get(name)}, not {given.get(name)}" for name in names)
    return differences.replace("--not_save", "--not-save")


def check_same_data(folder: Path, before: dict[str, Any], now: dict[str, Any], images: Sequence[Path]) -> None:
    """Raise InputError if the data are not those that the run was started with; warn of other test images.

    Args:
        before, now: "single_label"; "label_names"; "trained_on", the images' fingerprints; and "labels", by split;
            "test_images", if there is a test set.
        images: those of "trained_on" now, for the message.
    """
    restore_data = "restore the data, or start a new run"
    if before["single_label"] != now["single_label"]:
        raise InputError(f"{folder} was started with {'one class' if before['single_label'] else 'several labels'} per "
                         f"image, and the data now have {'one' if now['single_label'] else 'several'}; {restore_data}")
    if before["label_names"] != now["label_names"]:
        raise InputError(f"{folder} was started with other labels: {', '.join(before['label_names'])}; now there are "
                         f"{', '.join(now['label_names'])}; {restore_data}")
    sizes = [" and ".join(f"{len(labels)} {split}" for split, labels in data["labels"].items())
             for data in (before, now)]
    if sizes[0] != sizes[1]:
        raise InputError(f"{folder} was started with another split: {sizes[0]} images; now there are {sizes[1]}; "
                         f"{restore_data}")
    changed = [str(image) for image, old, new in zip(images, before["trained_on"], now["trained_on"]) if old != new]
    if changed and sorted(before["trained_on"]) == sorted(now["trained_on"]):
        raise InputError(f"the order or the split of the images changed since {folder} was started; {restore_data}")
    if changed:
        raise InputError(f"{summarize_names(changed, 'image')} changed since {folder} was started, or the lists name "
                         f"other images now; {restore_data}")
    labels = [torch.cat(list(data["labels"].values())) for data in (before, now)]
    relabelled = [str(images[row]) for row in (labels[0] != labels[1]).any(1).nonzero().flatten().tolist()]
    if relabelled:
        raise InputError(f"the labels of {summarize_names(relabelled, 'image')} changed since {folder} was started; "
                         "restore the label table, or start a new run")
    tests = [sorted(data.get("test_images", {}).values()) for data in (before, now)]
    if all(tests) and tests[0] != tests[1]:
        warn(f"{folder} keeps the {len(tests[0])} test images that it was started with, which are not those of the "
             "data or of --test_dir now; Test.py --test_dir tests other ones")


def explain_divergence(error: NonFinite, epoch: int, folder: Path, images: Sequence[Path]) -> Diverged:
    """The error to show, with the `images` of the step."""
    return Diverged(f"epoch {epoch}, {error}: the training of {folder} diverged; start again with a smaller --lr, or "
                    f"check the images of this step: {', '.join(map(str, images))}")


@contextmanager
def explain_how_to_resume(folder: Path, save_path: str | None) -> Iterator[None]:
    """To the message of whatever stops the training inside, add how to resume it after the last finished epoch."""
    last, log = Path(save_path or folder, "last.pth"), folder / "log.csv"

    # Before the first epoch, a last.pth in --save_path may be of another run.
    before = last.stat().st_mtime_ns if last.exists() and not log.exists() else None

    def is_saved() -> bool:
        return last.exists() and last.stat().st_mtime_ns != before

    def how() -> str:
        return (f"resume with: python Train.py --resume {shlex.quote(str(folder))}" if is_saved()
                else "start again (no epoch was saved)")

    try:
        yield
    except Interrupted as stop:
        repeated = f"{stop.message} of this epoch will be repeated; " if is_saved() else ""
        raise Interrupted(stop.number, f"{repeated}{how()}") from None
    except Diverged:
        raise
    except UnreadableImage as error:
        # With another image the run cannot be resumed; that it once had a readable one, a finished epoch shows.
        then = (f"only if it is restored as it was, {how()}" if log.exists() and is_saved()
                else "once fixed, start again")
        raise InputError(f"{error}; {then}") from error
    except (InputError, OSError, RuntimeError, MemoryError) as error:
        message = describe_error(error)
        once = "with the latter" if "--image_size" in message else "once fixed"  # another size is another run
        raise InputError(f"{message}; {once}, {how()}") from error
