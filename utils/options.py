"""Command-line options: their types, those that programs share, which of them change a run, and titles made of them."""

import argparse
import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from utils.acceleration import cores
from utils.distributed import local_device, local_world_size
from utils.errors import InputError

# How and where a run is computed: options that may always differ.
RUNTIME_OPTIONS = {"work_dir", "device", "num_workers", "val_batch_size", "cache", "compile", "resume"}
# Where the data lie. A resumed run may find them elsewhere, but their content must be the same.
DATA_PATH_OPTIONS = ("data_root", "train_dir", "val_dir", "test_dir", "label_path")
# What may change when a run is resumed.
RESUME_OPTIONS = RUNTIME_OPTIONS | {"max_epoch", "label_num", *DATA_PATH_OPTIONS}
# What does not change a run's results, except by rounding.
NEUTRAL_OPTIONS = RUNTIME_OPTIONS | {"save_path", "not_save", "data_root", "deterministic", "label_num"}

_TITLE_OPTIONS = ("dataset", "model", "image_size")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the description's lines, and show each option's default unless it is None or False."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Takes options with `-` for `_` and the reverse; for an unknown option, names those that resemble it. An empty
    value and a list that is given twice, of which argparse would take the last, are refused."""

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **settings)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        spellings = {option.replace("-", "_"): option for option in self._option_string_actions}
        words = [word.partition("=") for word in (sys.argv[1:] if args is None else args)]
        words = [(spellings.get(name.replace("-", "_"), name) if name.startswith("--") else name) + equals + value
                 for name, equals, value in words]
        option = ""
        for word in words:
            option = word.partition("=")[0] if word.startswith("--") else option
            if word in ("", f"{option}="):
                self.error(f"{option or 'an argument'} has an empty value, as of a variable that is not set: correct "
                           "it, or leave the option out")
            if re.search(r"[\r\n]", word):
                self.error(f"{word!r} has a line break, as of a script with Windows line ends: correct it")
        for action in self._actions:
            if action.nargs == "+" and sum(word.partition("=")[0] in action.option_strings for word in words) > 1:
                name = action.option_strings[0]
                self.error(f"{name} is given twice, but only the last would count: give all its values after one of "
                           "them")
        parsed, unknown = super().parse_known_args(words, namespace)
        if unknown:
            first = next((word for word in unknown if word.startswith("-")), "").partition("=")[0]
            self.error(f"unrecognized arguments: {' '.join(unknown)}{did_you_mean(first, self._option_string_actions)}")
        return parsed, unknown


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """" (did you mean ...?)" with up to three of `names` that resemble `name`; "" if none does."""
    similar = {}
    for known in names:
        a, b = sorted((_letters(name), _letters(known)), key=len)
        similarity = difflib.SequenceMatcher(None, a, b).ratio()
        if similarity > 0.65 or (len(a) > 1 and a in b):
            similar[known] = similarity
    closest = sorted(similar, key=similar.get, reverse=True)[:3]
    return f" (did you mean {' or '.join(closest)}?)" if closest else ""


def find_name(name: str, names: Collection[str], what: str, aliases: Mapping[str, str] | None = None) -> str:
    """The one of `names` that has the letters and digits of `name`, in any case and with any signs between them.

    Args:
        what: is named, for the message.
        aliases: further spellings -> one of `names`.
    Raises:
        InputError: if there is none.
    """
    spellings = {_letters(spelling): known for spelling, known in [*(aliases or {}).items(), *zip(names, names)]}
    if _letters(name) not in spellings:
        raise InputError(f"unknown {what} '{name}': choose from {', '.join(names)}{did_you_mean(name, names)}")
    return spellings[_letters(name)]


def choice(names: Collection[str]) -> Callable[[str], str]:
    """An argparse type: one of `names`, as `find_name`."""

    def parse(text: str) -> str:
        try:
            return find_name(text, names, "choice")
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def file_option(advice: str, inside: str | None = None) -> Callable[[str], str]:
    """An argparse type: a file; a folder means the file `inside` it, and is refused with `advice` if it has none."""

    def parse(text: str) -> str:
        if not os.path.isdir(text):
            return text
        if inside and os.path.isfile(os.path.join(text, inside)):
            return os.path.join(text, inside)
        raise argparse.ArgumentTypeError(f"{text} is a folder{f' without {inside}' if inside else ''}: {advice}")

    return parse


def list_file(split: str) -> Callable[[str], str]:
    """An argparse type: a list file, or a folder with the list <split>.txt, such as a run's."""
    return file_option("give a list file, or a folder of images with --data_root", f"{split}.txt")


label_table = file_option("give the label table, which is a file")


def number(kind: type, minimum: float, maximum: float = float("inf"), exclusive: bool = False):
    """An argparse type: a number of `kind` from `minimum` (above it if `exclusive`) to `maximum`."""

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
# The networks downsample images by 32, and batch normalisation needs more than one pixel per image.
image_size = number(int, 64, 10_000)


def add_data_options(parser: argparse._ActionsContainer, datasets: Iterable[str]) -> None:
    """The options that say which images a program reads, and how they are split; `datasets` are their names."""
    parser.add_argument("--dataset", default="AID_Multilabel",
                        help=f"{', '.join(datasets)}; Synthetic_Multilabel draws its images, Custom is for your own")
    parser.add_argument("--data_root", default="./data", metavar="DIR",
                        help="the folder that holds <dataset>/ as its distributor ships it; for Custom, also the "
                             "folder of the images itself")
    parser.add_argument("--train_dir", type=list_file("train"), metavar="LIST",
                        help="list file of training images, instead of the data set's own split")
    parser.add_argument("--val_dir", type=list_file("val"), metavar="LIST",
                        help="list file of validation images (default: 10 %% of the training images)")
    parser.add_argument("--test_dir", type=list_file("test"), metavar="LIST",
                        help="list file of test images; training only copies it into the run's folder")
    parser.add_argument("--label_path", type=label_table, metavar="TABLE",
                        help="label table, instead of the data set's own: a column of 0/1 per label, or the columns "
                             "image,labels with names like sea;sand, or image,label with one class")
    parser.add_argument("--train_ratio", type=number(float, 0, 0.99, exclusive=True), metavar="R",
                        help="share of each class to train on if the data have no split; the rest is for testing "
                             "(default: 0.2 for AID, 0.1 for NWPU-RESISC45, 0.8 for Custom)")
    parser.add_argument("--seed", type=number(int, 0, 2**32 - 1), default=3050, metavar="S",
                        help="seed of the initial weights, the order of the images, the augmentation, the validation "
                             "images and, if the data have no split, the test images")


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """--device, --num_workers and --amp."""
    parser.add_argument("--device", type=str.lower, default="auto", metavar="D",
                        help="auto uses CUDA if there is a GPU; or cpu, cuda, cuda:1")
    parser.add_argument("--num_workers", type=number(int, 0), metavar="N",
                        help="processes that decode images; raise it while images/s stays below the network's speed; 0 "
                             "decodes in the training process (default: up to 8 with CUDA; 0 without, where workers "
                             "would only take cores away from the network)")
    parser.add_argument("--amp", action="store_true",
                        help="mixed precision: run the network in bfloat16, about twice as fast on hardware with "
                             "support (NVIDIA since Ampere; Intel with AMX or AVX512-BF16); scores differ in the third "
                             "digit, losses stay float32")


def list_files(args: argparse.Namespace) -> dict[str, str]:
    """Split name ("train", "val", "test") -> the list file given by --train_dir, --val_dir, --test_dir."""
    lists = {split: getattr(args, f"{split}_dir") for split in ("train", "val", "test")}
    return {split: path for split, path in lists.items() if path}


def check_effect(given: Mapping[str, Any], defaults: Mapping[str, Any], without_effect: Mapping[str, str]) -> None:
    """Refuse options that were given and would be ignored.

    Args:
        given, defaults: the options' values.
        without_effect: option -> why it has no effect, such as "with --loss bce".
    Raises:
        InputError: for the first of them that differs from its default.
    """
    for name, reason in without_effect.items():
        if option_value(given, name) != option_value(defaults, name):
            raise InputError(f"--{name} has no effect {reason}: correct or leave out one of them")


def check_training(given: Mapping[str, Any], defaults: Mapping[str, Any], without_effect: Mapping[str, str]) -> None:
    """`check_effect` for the options of a training; `without_effect` are those of the loss."""
    without_effect = dict(without_effect)
    if given["pretrained"] == "none":
        without_effect["pretrained_path"] = "with --pretrained none"
    if given["not_save"]:
        without_effect["save_path"] = "with --not-save"
    check_effect(given, defaults, without_effect)


def with_absolute_paths(args: argparse.Namespace) -> dict[str, Any]:
    """The options for a checkpoint, which may be used from another working directory."""
    paths = {option: os.path.abspath(getattr(args, option)) for option in DATA_PATH_OPTIONS if getattr(args, option)}
    return {**vars(args), **paths}


def select_device(name: str) -> torch.device:
    """The torch device for `--device`.

    Raises:
        InputError: if torch does not know the device or this machine does not have it.
    """
    name = local_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
        if device.index is not None and device.type == "cuda":
            torch.cuda.set_device(device)  # for code that names no device, such as the thread that pins memory
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used here: {str(error).splitlines()[0].split('. ')[0]}") from error
    return device


def resolve_num_workers(num_workers: int | None, device: torch.device) -> int:
    """`--num_workers`, or its default on this machine."""
    default = min(8, max(1, cores() // local_world_size())) if device.type == "cuda" else 0
    return default if num_workers is None else num_workers


def options_of(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The options of runs, complete: one that did not exist when a run was started has its default.

    Args:
        records: of each run, the content of its args.json or checkpoint: "args" and, in newer ones, "defaults"; empty
            if its options are not known.
    """
    records = list(records)
    defaults = {option: value for record in records for option, value in record.get("defaults", {}).items()}
    runs = [{**defaults, **record["args"]} if record.get("args") else {} for record in records]
    return [{**run, "pretrained": Path(run["pretrained_path"]).name} if run.get("pretrained_path") else run
            for run in runs]


def option_value(options: dict[str, Any], name: str) -> Any:
    """An option's value, for comparison: paths are absolute, and False is None, because old records lack options that
    are off."""
    value = options.get(name)
    value = None if value is False else value
    return os.path.abspath(value) if value and name.endswith(("_dir", "_path", "_root")) else value


def differing_options(a: dict[str, Any], b: dict[str, Any], ignore: Iterable[str]) -> list[str]:
    """The names of options, except those to `ignore`, that differ between two runs."""
    return sorted(name for name in (a.keys() | b.keys()).difference(ignore)
                  if option_value(a, name) != option_value(b, name))


def run_titles(records: list[dict[str, Any]], ignore: Iterable[str] = ()) -> list[str]:
    """Short titles of runs for figures and tables: the loss; data, network and image size where they differ; and as
    many other options as distinguish the runs of a loss.

    Args:
        records: as for `options_of`; "loss_title" is the title of the run's loss.
        ignore: options that should not distinguish runs, besides those that do not change results.
    """
    runs = options_of(records)
    losses = [run.get("loss", "") for run in runs]
    titles = [record.get("loss_title") or (loss.upper() if len(loss) < 5 else loss.capitalize())  # of older versions
              for record, loss in zip(records, losses)]
    names = {name for run in runs for name in run} - {"loss", *NEUTRAL_OPTIONS, *_TITLE_OPTIONS, *ignore}
    paths = {name for name in names if name.endswith(("_dir", "_path"))}  # the least telling: last
    for name in [*_TITLE_OPTIONS, *sorted(names - paths), *sorted(paths)]:
        before = list(titles)
        for index, run in enumerate(runs):
            values = {str(option_value(compared, name)) for compared, title in zip(runs, before)
                      if compared and (title == before[index] or name in _TITLE_OPTIONS)}
            value = option_value(run, name)
            if value is not None and len(values) > 1:
                shown = " ".join(map(str, value)) if isinstance(value, list) else Path(str(value)).name
                titles[index] += f", {name}" if value is True else f", {name} {shown}"
    return titles


def distinct_titles(titles: list[str], files: list[Path]) -> list[str]:
    """The titles of checkpoints, with as much of their paths as distinguishes them."""
    options = titles
    for paths in ([f"{file.parent.name}/{file.stem}" for file in files], map(str, files)):
        titles = [title if title and titles.count(title) == 1 else f"{option} {path}".strip()
                  for title, option, path in zip(titles, options, paths)]
    return titles
