"""Check a data set: what it contains and what is wrong with it. Every image is read once.

    python -m dataset.audit --dataset UCM_Multilabel --data_root ./data

Prints a summary and writes audit.json and audit.png. The exit code is 1 if training would be wrong or impossible
(identical images in different splits, missing or unreadable images, images without labels, classes too small to
split) and 0 otherwise.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.errors import InputError, exit_cleanly
from utils.figures.confusion import draw_percent, percent_of_row_label
from utils.figures.style import name_text, new_figure, save_figure
from utils.metrics import RARE
from utils.options import Parser, add_data_options, list_files
from utils.run.atomic import write_text
from utils.run.run_folder import check_not_in_dataset, make_folder

from .data import Data, find_source, label_images, make_splits
from .image_list import relative_name
from .label_table import LabelTable, letters
from .layouts import LAYOUTS, dataset_name
from .published import LABEL_COUNTS, SPLIT_SIZES
from .transforms import load_image


@dataclass(frozen=True)
class Reading:
    """size: width x height in pixels. bytes, pixels: digests of the file and of its decoded pixels."""

    size: str
    bytes: bytes
    pixels: bytes


def read(image: Path) -> Reading | str:
    """Read an image; if it is unreadable, return the reason."""
    try:
        pixels = load_image(image)
        size = f"{pixels.width} x {pixels.height}"
        return Reading(size, hashlib.sha256(image.read_bytes()).digest(),
                       hashlib.sha256(size.encode() + pixels.tobytes()).digest())
    except InputError as error:
        return str(error)


def read_all(images: list[Path]) -> dict[Path, Reading | str]:
    """Read images on all cores: Pillow decodes without the interpreter's lock."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(images, tqdm(pool.map(read, images), "reading", len(images), unit="image", leave=False)))


def describe(data: Data, readings: dict[Path, Reading | str], absent: list[str], unlabelled: list[Path],
             published: tuple[dict[str, int], tuple[int, int]] | None) -> dict[str, Any]:
    """The content of audit.json; its "problems" make training wrong, its "notes" are good to know.

    Args:
        absent: names in the label table or lists of images that do not exist.
        unlabelled: images without a row in the label table.
        published: the distributor's counts for comparison: per label, and of training and test images.
    """
    labels = data.all_images().labels
    counts = {name: split.labels.sum(0) for name, split in data.splits.items()}
    sizes = Counter(reading.size for reading in readings.values() if isinstance(reading, Reading)).most_common()
    report = {
        "images": {name: len(split.images) for name, split in data.splits.items()},
        "labels": {label: {name: int(count[column]) for name, count in counts.items()}
                   for column, label in enumerate(data.label_names)},
        "labels_per_image": {"mean": float(labels.sum(1).mean()), "images": dict(sorted(Counter(
            labels.sum(1).tolist()).items()))},
        "co_occurrence": None if data.single_label else (labels.T.astype(int) @ labels).tolist(),
        "sizes": dict(sizes),
        "odd_sized": {relative_name(data.root, image): reading.size for image, reading in readings.items()
                      if isinstance(reading, Reading) and reading.size != sizes[0][0]},
        "identical": _identical(data, readings),
        "unreadable": [reading for reading in readings.values() if isinstance(reading, str)],
        "without_image": absent,
        "without_labels": [relative_name(data.root, image) for image in unlabelled],
        "published": published and {"labels": published[0], "train_and_test": published[1]},
    }
    return {**report, "problems": _problems(report), "notes": _notes(report)}


def _identical(data: Data, readings: dict[Path, Reading | str]) -> list[dict[str, Any]]:
    groups = defaultdict(list)
    for name, split in data.splits.items():
        for image, row in zip(split.images, split.labels):
            if isinstance(readings[image], Reading):
                groups[readings[image].pixels].append((image, name, row.tobytes()))
    return [{"images": [{"image": relative_name(data.root, image), "split": name} for image, name, _ in group],
             "same_file_bytes": len({readings[image].bytes for image, _, _ in group}) == 1,
             "same_labels": len({row for _, _, row in group}) == 1} for group in groups.values() if len(group) > 1]


def _problems(report: dict[str, Any]) -> list[str]:
    leaks = [_duplicates(group) for group in report["identical"]
             if len({duplicate["split"] for duplicate in group["images"]}) > 1]
    relabelled = [_duplicates(group) for group in report["identical"] if not group["same_labels"]]
    found = {"identical image(s) in different splits": leaks,
             "identical image(s) with different labels": relabelled,
             "missing image(s), named in the label table or a list": report["without_image"],
             "image(s) without labels": report["without_labels"],
             "unreadable image(s)": report["unreadable"]}
    problems = [f"{len(items)} {title}: {_first(items)}" for title, items in found.items() if items]
    if report["published"] and report["co_occurrence"] is None:  # class folders: nothing else tells what is missing
        fewer = [f"{name} {sum(report['labels'].get(name, {}).values())} of {count}"
                 for name, count in report["published"]["labels"].items()
                 if sum(report["labels"].get(name, {}).values()) < count]
        problems += [f"fewer images than published in {len(fewer)} class(es): {_first(fewer)}"] if fewer else []
    return problems


def _notes(report: dict[str, Any]) -> list[str]:
    identical = [_duplicates(group) + (" in every byte" if group["same_file_bytes"] else " in every pixel")
                 + ("" if group["same_labels"] else ", but with different labels") for group in report["identical"]]
    untrained = [label for label, counts in report["labels"].items() if not counts.get("train", 1)]
    rare = [f"{label} ({counts['test']})" for label, counts in report["labels"].items()
            if counts.get("test", RARE) < RARE]
    found = {"group(s) of identical images": identical,
             "image(s) of an unusual size": [f"{name} {size}" for name, size in report["odd_sized"].items()],
             "label(s) without a training image": untrained,
             f"label(s) with fewer than {RARE} test images, too rare to score": rare}
    if report["published"]:
        found["label(s) with a count that differs from the published one"] = [
            f"{label} {sum(counts.values())}, published {report['published']['labels'].get(label, 'not at all')}"
            for label, counts in report["labels"].items()
            if sum(counts.values()) != report["published"]["labels"].get(label)]
    notes = [f"{len(items)} {title}: {_first(items)}" for title, items in found.items() if items]
    sizes, usual = report["images"], report["published"] and report["published"]["train_and_test"]
    found_sizes = sizes.get("train", 0) + sizes.get("val", 0), sizes.get("test", 0)
    if usual and found_sizes != usual:
        notes.append("a split other than the usual one: {} training and validation images, {} test images; usually {}, "
                     "{}".format(*found_sizes, *usual))
    return notes


def _duplicates(group: dict[str, Any]) -> str:
    return " = ".join(f"{duplicate['image']} ({duplicate['split']})" for duplicate in group["images"])


def _first(names: list[str], number: int = 5) -> str:
    return "; ".join(names[:number] + [f"... and {len(names) - number} more in audit.json"] * (len(names) > number))


def format_audit(report: dict[str, Any]) -> str:
    """The report for the screen."""
    splits, published = list(report["images"]), report["published"] and report["published"]["labels"]
    width = max(8, *map(len, report["labels"])) + 2
    columns = [*splits, "all"] + ["published"] * bool(published)
    lines = [", ".join(f"{count} {split}" for split, count in report["images"].items())
             + f" images; {len(report['labels'])} labels; {report['labels_per_image']['mean']:.3f} labels per image ("
             + ", ".join(f"{count} with {labels}" for labels, count in report["labels_per_image"]["images"].items())
             + ")",
             "sizes: " + ", ".join(f"{count} of {size}" for size, count in list(report["sizes"].items())[:5])
             + ", ..." * (len(report["sizes"]) > 5),
             "", f"{'label':{width}}" + "".join(f"{column:>10}" for column in columns)]
    for name, counts in report["labels"].items():
        row = [*counts.values(), sum(counts.values())] + ([published.get(name, "-")] if published else [])
        lines.append(f"{name:{width}}" + "".join(f"{cell:>10}" for cell in row))
    if report["co_occurrence"]:
        names, together = list(report["labels"]), np.triu(report["co_occurrence"], 1)
        most = np.argsort(-together, axis=None, kind="stable")[:5]
        pairs = [(row, column) for row, column in zip(*np.unravel_index(most, together.shape)) if together[row, column]]
        lines += ["", "most frequent pairs: " + ", ".join(
            f"{names[row]} and {names[column]} {together[row, column]}" for row, column in pairs)]
    for title in ("problems", "notes"):
        lines += ["", f"{title}: none"] if not report[title] else ["", f"{title}:", *(f"  {x}" for x in report[title])]
    return "\n".join(lines)


def draw_audit(report: dict[str, Any]):
    """Images per label and split; next to it, unless each image has one label, which labels occur together."""
    names, splits = list(report["labels"]), list(report["images"])
    panels, text = (1 if report["co_occurrence"] is None else 2), 0.07 * max(len(name_text(name)) for name in names)
    widths = [7, min(max(7, text + 0.25 * len(names)), 40)][:panels]
    figure = new_figure(sum(widths), min(1.5 + text + 0.25 * len(names), 40))
    bars, *rest = figure.subplots(1, panels, squeeze=False, width_ratios=widths)[0]
    left = np.zeros(len(names))
    for split, colour in zip(splits, ("#0072b2", "#e69f00", "#b8b8b8")):
        counts = np.array([report["labels"][name][split] for name in names])
        bars.barh(range(len(names)), counts, left=left, color=colour, edgecolor="black", linewidth=0.4, label=split)
        left += counts
    bars.set_yticks(range(len(names)), map(name_text, names), fontsize=min(8, 1100 / len(names)))
    bars.invert_yaxis()
    bars.margins(y=0.01)
    bars.set(xlabel="images", title="images per label")
    figure.legend(loc="outside lower left", ncols=len(splits))
    for axes in rest:
        together = np.array(report["co_occurrence"])
        draw_percent(axes, percent_of_row_label(together), [name_text(name) for name in names], names)
        axes.set(title="% of the images with the row's label\nthat also have the column's")
    return figure


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m dataset.audit", description=__doc__)
    add_data_options(parser, LAYOUTS)
    parser.add_argument("--save_path", type=Path, metavar="DIR",
                        help="folder of audit.json and audit.png (default: runs/audit_<dataset>)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Audit a data set; returns the report, or exits with code 1 if it has problems."""
    args = parse_arguments(argv)
    name, lists, absent, unlabelled = dataset_name(args.dataset), list_files(args), [], []
    source = find_source(name, args.data_root, lists, args.label_path, absent=absent)
    if isinstance(source.labels, LabelTable):
        absent += [] if lists else source.labels.absent(source.all_images())
        unlabelled = [image for image in source.all_images() if source.labels.key(image) is None]
        labelled = {split: [image for image in paths if source.labels.key(image)]
                    for split, paths in source.images.items()}
        for split, paths in source.images.items():
            if paths and not labelled[split]:
                source.labels.labels_of(paths)  # raises: no row fits any of them
        source = replace(source, images=labelled, must_be_complete=False)
    data = make_splits(source, label_images(source), args.train_ratio, args.seed)
    data.check_options(label_num=None, train_ratio=args.train_ratio)
    untrainable = []
    try:
        if "train" in data.splits:
            data.check_trainable()
    except InputError as error:
        untrainable = [str(error)]
    published = None
    if name in LABEL_COUNTS and not lists:
        spellings = {letters(label): label for label in data.label_names}
        published = ({spellings.get(letters(label), label): count for label, count in LABEL_COUNTS[name].items()},
                     SPLIT_SIZES[name])
    folder = args.save_path or Path("runs") / f"audit_{name}"
    if not lists:
        check_not_in_dataset(folder, source.root)
    make_folder(folder)
    report = {"dataset": name, "root": str(source.root),
              **describe(data, read_all(data.all_images().images), absent, unlabelled, published)}
    report["problems"] += untrainable

    write_text(folder / "audit.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    save_figure(draw_audit(report), folder / "audit")
    print(f"{name} in {source.root}: {format_audit(report)}\n\nwritten: {folder / 'audit.json'}, "
          f"{folder / 'audit.png'}")
    if report["problems"]:
        sys.exit(1)
    return report


if __name__ == "__main__":
    exit_cleanly(main)
