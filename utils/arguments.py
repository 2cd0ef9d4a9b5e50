"""Command-line options that Train.py and Test.py share, and the checks of their values."""

import argparse
import math

import torch

from .acceleration import cores
from .errors import InputError


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


def pick_device(name: str) -> torch.device:
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


def pick_num_workers(wanted: int | None, device: torch.device) -> int:
    """`--num_workers`, or its default for this machine."""
    default = min(8, cores()) if device.type == "cuda" else 0
    return default if wanted is None else wanted
