"""Going on with a run that was interrupted, as if nothing had happened."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils.engine import Progress
from utils.errors import InputError, summarize_names
from utils.options import RUNTIME_OPTIONS, option_value
from utils.run.checkpoint import random_states, restore_random_states
from utils.run.run_folder import read_args

# Where the data lie: on going on, it is their content that must be the same.
DATA_PATH_OPTIONS = ("data_root", "train_dir", "val_dir", "test_dir", "label_path")
# With what a run may be gone on with otherwise than it was started.
_MAY_CHANGE_ON_RESUME = RUNTIME_OPTIONS | {"max_epoch", "label_num", *DATA_PATH_OPTIONS}


@dataclass
class TrainingState:
    """All that changes in a training: last.pth holds it, and a training that takes it up goes on bit by bit as it
    would have.

    sampler, augmentation: what draws the order and the seeds of the images, and their flips and rotations. epoch: how
    many are finished, with a row in `log` each. best_score: the highest validation figure so far, of `best_epoch`.
    progress: of the epoch after them.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    sampler: Any
    augmentation: torch.Generator
    epoch: int = 0
    best_score: float = -1.0
    best_epoch: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    _order: list[torch.Tensor] = field(default_factory=list)

    def begin_epoch(self, lr: float, batch_size: int) -> None:
        """Set the learning rate, and the order of the images: that of an epoch that was interrupted once more, without
        the images that are done."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self._order = self.sampler.get_state()
        self.sampler.start = self.progress.steps * batch_size

    def finish_epoch(self, row: dict[str, Any], score: float) -> None:
        """Take in an epoch's row of the log and its validation figure; of equal ones, the later epoch is the best."""
        self.epoch += 1
        self.log.append(row)
        self._order, self.progress = self.sampler.get_state(), Progress()
        if score >= self.best_score:
            self.best_score, self.best_epoch = score, self.epoch

    @property
    def is_best(self) -> bool:
        """Whether the network is that of the best epoch."""
        return 0 < self.epoch == self.best_epoch and not self.progress.steps

    def result(self) -> dict[str, Any]:
        """What it takes to use the network."""
        return {"state_dict": self.model.state_dict(), "epoch": self.epoch, "best_score": self.best_score}

    def state_dict(self) -> dict[str, Any]:
        """All of it, as types that load without running code."""
        return {**self.result(), "optimizer": self.optimizer.state_dict(), "best_epoch": self.best_epoch,
                "order": self._order or self.sampler.get_state(), "augmentation": self.augmentation.get_state(),
                "log": self.log, "progress": vars(self.progress), **random_states()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state_dict`. Raises LookupError, TypeError, ValueError or RuntimeError where it does not fit."""
        self.model.load_state_dict(state["state_dict"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.sampler.set_state(state["order"])
        self.augmentation.set_state(state["augmentation"])
        self.epoch, self.best_score, self.best_epoch = state["epoch"], state["best_score"], state["best_epoch"]
        self.log = state["log"]
        device = next(self.model.parameters()).device
        sums = {name: value.to(device) for name, value in state["progress"]["sums"].items()}
        self.progress = Progress(**{**state["progress"], "sums": sums})
        restore_random_states(state)


def restore(state: TrainingState, last: dict[str, Any], folder: Path) -> None:
    """`state.load_state_dict`, with InputError where the file of the run in `folder` is damaged."""
    try:
        state.load_state_dict(last)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(f"{folder} cannot be gone on with, for its last.pth does not fit this version of Train.py "
                         f"({error}); start again without --resume") from error


def find_run(resume: str, options: dict[str, Any], argv: list[str]) -> Path | None:
    """The folder of the run that `--resume` means.

    Args:
        resume: a run's folder; or "auto": the newest run in --work-dir with these options, so that the same command can
            be given again and again, or where no option was typed, simply the newest. None is returned where there is
            none.
        options: of the command line.
        argv: what was typed.
    """
    if resume != "auto":
        last_checkpoint(Path(resume))
        return Path(resume)
    typed = {word.split("=")[0].lstrip("-").replace("-", "_") for word in argv if word.startswith("--")}
    runs = []
    for file in Path(options["work_dir"]).glob("*/args.json"):
        try:
            last, started = last_checkpoint(file.parent), read_args(file.parent)["args"]
        except InputError:  # not begun, or with --not-save
            continue
        if typed <= RUNTIME_OPTIONS or not _differences(started, options, RUNTIME_OPTIONS):
            runs.append((last.stat().st_mtime_ns, file.parent))
    return max(runs)[1] if runs else None


def last_checkpoint(folder: Path) -> Path:
    """The last.pth of a run.

    Raises:
        InputError: where it has none.
    """
    file = Path(str(read_args(folder)["args"].get("save_path") or folder)) / "last.pth"
    if not file.is_file():
        raise InputError(f"{folder} cannot be gone on with: there is no {file}; a run with --not-save has none. Start "
                         "again without --resume")
    return file


def check_same_options(folder: Path, started: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise InputError, with their names, for options that would make another run of it."""
    names = _differences(started, given, _MAY_CHANGE_ON_RESUME)
    if names:
        differ = ", ".join(f"--{name} {started.get(name)}, not {given.get(name)}" for name in names)
        differ = differ.replace("--not_save", "--not-save")
        raise InputError(f"{folder} was started with {differ}: leave that out, or start a new run without --resume")


def _differences(one: dict[str, Any], other: dict[str, Any], free: set[str]) -> list[str]:
    """The names of options, save those that are `free`, that have two values."""
    def value(options: dict[str, Any], name: str) -> Any:
        own = option_value(options, name)
        return os.path.abspath(own) if own and name.endswith(("_dir", "_path", "_root")) else own

    return sorted(name for name in (one.keys() | other.keys()) - free if value(one, name) != value(other, name))


def check_same_data(folder: Path, before: dict[str, Any], now: dict[str, Any], images: list[Path]) -> None:
    """Raise InputError where the data are not those that a run was started with.

    Args:
        before, now: "label_names", "trained_on", the images' fingerprints, and "labels", by part of the split.
        images: those of "trained_on" now, for the message.
    """
    if before["label_names"] != now["label_names"]:
        raise InputError(f"{folder} was started with other labels: {', '.join(before['label_names'])}, and the data "
                         f"have {', '.join(now['label_names'])}; bring back the data, or start a new run")
    sizes = [" and ".join(f"{len(labels)} {part}" for part, labels in own["labels"].items()) for own in (before, now)]
    if sizes[0] != sizes[1]:
        raise InputError(f"{folder} was started with another split: {sizes[0]} images, and now there are {sizes[1]}; "
                         "bring back the data, or start a new run")
    changed = [str(image) for image, old, new in zip(images, before["trained_on"], now["trained_on"]) if old != new]
    if changed:
        raise InputError(f"{folder} was started with other images than {summarize_names(changed, 'image')}; bring back the data, "
                         "or start a new run")
    labels = [torch.cat(list(own["labels"].values())) for own in (before, now)]
    relabelled = [str(images[row]) for row in (labels[0] != labels[1]).any(1).nonzero().flatten().tolist()]
    if relabelled:
        raise InputError(f"{folder} was started with other labels of {summarize_names(relabelled, 'image')}; bring back the label "
                         "table, or start a new run")
