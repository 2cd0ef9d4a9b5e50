"""Command-line options that Train.py and Test.py share, and the checks of their values."""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from utils.acceleration import cores
from utils.errors import InputError

LOSS_TITLES = {"r4c": "R4C", "bce": "BCE", "ce": "CE", "focal": "Focal", "asl": "ASL"}

_CONTEXT = ("dataset", "model", "image_size")

# Options that say where and how a run is computed.
RUNTIME_OPTIONS = {"work_dir", "device", "num_workers", "val_batch_size", "cache", "compile", "resume"}
# Options that do not change what it computes, save for rounding.
_RESULT_NEUTRAL_OPTIONS = RUNTIME_OPTIONS | {"save_path", "not_save", "data_root", "deterministic"}


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the description's lines and shows each option's default, save where it is nothing."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def number(kind: type, minimum: float, maximum: float = float("inf"), exclusive: bool = False):
    """An argparse type: a number of `kind` from `minimum` (above it, where exclusive) to `maximum`."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not {'a whole' if kind is int else 'a'} number") from None
        if not minimum <= value <= maximum or math.isinf(value) or (exclusive and value == minimum):
            bounds = f"above {minimum:g}" if exclusive else f"at least {minimum:g}"
            bounds += f" and at most {maximum}" if maximum < float("inf") else ""
            raise argparse.ArgumentTypeError(f"must be {bounds}, not {text}")
        return value

    return parse


batch_size = number(int, 1, 100_000)
# The networks shrink images by 32, and batch normalisation needs more than one pixel per image.
image_size = number(int, 64, 10_000)


def list_files(args: argparse.Namespace) -> dict[str, str]:
    """"train", "val", "test" -> the list file of `--train_dir`, `--val_dir`, `--test_dir`, of those that are given."""
    lists = {part: getattr(args, f"{part}_dir") for part in ("train", "val", "test")}
    return {part: path for part, path in lists.items() if path}


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """--device, --num_workers and --amp."""
    parser.add_argument("--device", default="auto", metavar="D",
                        help="auto takes CUDA where there is one; or cpu, cuda, cuda:1")
    parser.add_argument("--num_workers", type=number(int, 0), metavar="N",
                        help="processes that decode images; more when images/s stays below the network's pace, 0 to "
                             "decode in the training process (default: up to 8 with CUDA; 0 without, where "
                             "they would only take the cores from the network)")
    parser.add_argument("--amp", action="store_true",
                        help="run the network in bfloat16, about twice as fast where the device has it in hardware "
                             "(NVIDIA since Ampere, Intel since Cooper Lake with AMX or AVX512-BF16); scores differ "
                             "in the third digit, losses stay float32")


def select_device(name: str) -> torch.device:
    """The torch device of `--device`.

    Raises:
        InputError: for a device that torch does not know or this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
        if device.index is not None and device.type == "cuda":
            torch.cuda.set_device(device)  # for what asks for no device, as the thread that pins memory
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def resolve_num_workers(wanted: int | None, device: torch.device) -> int:
    """`--num_workers`, or its default for this machine."""
    default = min(8, cores()) if device.type == "cuda" else 0
    return default if wanted is None else wanted


def run_titles(runs: list[dict[str, Any]], ignore: Iterable[str] = ()) -> list[str]:
    """Short names of runs for figures and tables: the loss; data, network and image size, where they are not the same
    for all; and as much else as tells runs of the same loss apart.

    Args:
        runs: the options of each, as args.json holds them; nothing where they are not known.
        ignore: options that shall not tell runs apart, beside those that do not change a run.
    """
    known = [run for run in runs if run]
    titles = [LOSS_TITLES.get(run.get("loss"), run.get("loss", "")) for run in runs]
    names = {name for run in known for name in run} - {"loss", *_RESULT_NEUTRAL_OPTIONS, *_CONTEXT, *ignore}
    paths = {name for name in names if name.endswith(("_dir", "_path"))}  # which say the least
    for name in [*_CONTEXT, *sorted(names - paths), *sorted(paths)]:
        so_far = list(titles)
        for place, run in enumerate(runs):
            alike = [other for other, title in zip(runs, so_far) if other and title == so_far[place]]
            values = {str(option_value(other, name)) for other in (known if name in _CONTEXT else alike)}
            value = option_value(run, name)
            if value is not None and len(values) > 1:
                shown = " ".join(map(str, value)) if isinstance(value, list) else Path(str(value)).name
                titles[place] += f", {name}" if value is True else f", {name} {shown}"
    return titles


def differ_only_by(name: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two runs have the same options, save the one called `name` and those that do not change a run."""
    matter = (one.keys() | other.keys()) - _RESULT_NEUTRAL_OPTIONS - {name}
    return all(option_value(one, key) == option_value(other, key) for key in matter)


def option_value(run: dict[str, Any], name: str) -> Any:
    """An option's value; a run of older code lacks the newer options, which are off."""
    value = run.get(name)
    return None if value is False else value
