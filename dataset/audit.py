"""What is in a data set, and what is wrong with it: every image is read once.

    python -m dataset.audit --dataset UCM_Multilabel --data_root ./data

Prints a summary and writes audit.json and audit.png. Exit code 1 where training would be wrong or impossible: identical
images to train and to test on, missing or unreadable images, images without labels, classes too small to split; 0
otherwise.
"""

import argparse
import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.errors import InputError, exit_cleanly
from utils.figures.confusion import draw_percent, percent_of_row_label
from utils.figures.style import name_text, new_figure, save_figure
from utils.metrics import RARE
from utils.options import HelpFormatter, list_files, number
from utils.run.run_folder import check_not_in_dataset, make_folder

from .data import Data, find_labelled_images, find_layout, split_data
from .image_list import relative_name
from .label_table import LabelTable
from .layouts import LAYOUTS, dataset_name
from .published import LABEL_COUNTS, SPLIT_SIZES
from .transforms import load_image


@dataclass(frozen=True)
class Reading:
    """size: width x height in pixels. bytes, pixels: digests of the file and of what it decodes to."""

    size: str
    bytes: bytes
    pixels: bytes


def read(image: Path) -> Reading | str:
    """Read one image; for an unreadable one, the sentence that says why."""
    try:
        pixels = load_image(image)
        size = f"{pixels.width} x {pixels.height}"
        return Reading(size, hashlib.sha256(image.read_bytes()).digest(),
                       hashlib.sha256(size.encode() + pixels.tobytes()).digest())
    except InputError as error:
        return str(error)


def read_all(images: list[Path]) -> dict[Path, Reading | str]:
    """Read images on all cores: Pillow decodes without holding Python's lock."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(images, tqdm(pool.map(read, images), "reading", len(images), unit="image", leave=False)))


def describe(data: Data, readings: dict[Path, Reading | str], absent: list[str], unlabelled: list[Path],
             published: tuple[dict[str, int], tuple[int, int]] | None) -> dict[str, Any]:
    """The report that audit.json holds; its "problems" make training wrong, its "notes" should be known.

    Args:
        absent: names of images that the labels or lists name and that are not there.
        unlabelled: images that the label table has no row for.
        published: the distributor's counts, to compare with: of each label, and to train and to test on.
    """
    labels = data.all_images().labels
    counts = {part: split.labels.sum(0) for part, split in data.splits.items()}
    sizes = Counter(reading.size for reading in readings.values() if isinstance(reading, Reading)).most_common()
    report = {
        "images": {part: len(split.images) for part, split in data.splits.items()},
        "labels": {name: {part: int(count[column]) for part, count in counts.items()}
                   for column, name in enumerate(data.label_names)},
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
    for part, split in data.splits.items():
        for image, row in zip(split.images, split.labels):
            if isinstance(readings[image], Reading):
                groups[readings[image].pixels].append((image, part, row.tobytes()))
    return [{"images": [{"image": relative_name(data.root, image), "part": part} for image, part, _ in group],
             "same_file_bytes": len({readings[image].bytes for image, _, _ in group}) == 1,
             "same_labels": len({row for _, _, row in group}) == 1} for group in groups.values() if len(group) > 1]


def _problems(report: dict[str, Any]) -> list[str]:
    parts = [{twin["part"] for twin in group["images"]} for group in report["identical"]]
    leaks = [_twins(group) for group, of in zip(report["identical"], parts) if "test" in of and len(of) > 1]
    found = {"identical image(s) both to train or validate and to test on": leaks,
             "missing image(s), named by the labels or a list": report["without_image"],
             "image(s) without labels": report["without_labels"],
             "unreadable image(s)": report["unreadable"]}
    problems = [f"{len(what)} {title}: {_first(what)}" for title, what in found.items() if what]
    if report["published"] and report["co_occurrence"] is None:  # class folders: nothing else knows what is missing
        fewer = [f"{name} {sum(report['labels'].get(name, {}).values())} of {count}"
                 for name, count in report["published"]["labels"].items()
                 if sum(report["labels"].get(name, {}).values()) < count]
        problems += [f"fewer images than published in {len(fewer)} class(es): {_first(fewer)}"] if fewer else []
    return problems


def _notes(report: dict[str, Any]) -> list[str]:
    identical = [_twins(group) + (" in every byte" if group["same_file_bytes"] else " in every pixel")
                 + ("" if group["same_labels"] else ", but with other labels") for group in report["identical"]]
    unlearnt = [name for name, parts in report["labels"].items() if not parts.get("train", 1)]
    rare = [f"{name} ({parts['test']})" for name, parts in report["labels"].items() if parts.get("test", RARE) < RARE]
    found = {"group(s) of identical images": identical,
             "image(s) of another size than most": [f"{name} {size}" for name, size in report["odd_sized"].items()],
             "label(s) without an image to train on": unlearnt,
             f"label(s) with fewer than {RARE} images to test on, too rare to score": rare}
    if report["published"]:
        found["label(s) with another count than published"] = [
            f"{name} {sum(parts.values())}, published {report['published']['labels'].get(name, 'under no such name')}"
            for name, parts in report["labels"].items()
            if sum(parts.values()) != report["published"]["labels"].get(name)]
    notes = [f"{len(what)} {title}: {_first(what)}" for title, what in found.items() if what]
    sizes, usual = report["images"], report["published"] and report["published"]["train_and_test"]
    ours = sizes.get("train", 0) + sizes.get("val", 0), sizes.get("test", 0)
    if usual and ours != usual:
        notes.append("another split than the usual one: {} to train and validate, {} to test; usually {}, {}".format(
            *ours, *usual))
    return notes


def _twins(group: dict[str, Any]) -> str:
    return " = ".join(f"{twin['image']} ({twin['part']})" for twin in group["images"])


def _first(names: list[str], number: int = 5) -> str:
    return "; ".join(names[:number] + [f"... and {len(names) - number} more in audit.json"] * (len(names) > number))


def format_audit(report: dict[str, Any]) -> str:
    """The report for the screen."""
    parts, published = list(report["images"]), report["published"] and report["published"]["labels"]
    width = max(8, *map(len, report["labels"])) + 2
    columns = [*parts, "all"] + ["published"] * bool(published)
    lines = [", ".join(f"{count} {part}" for part, count in report["images"].items())
             + f" images; {len(report['labels'])} labels; {report['labels_per_image']['mean']:.3f} labels per image ("
             + ", ".join(f"{count} with {of}" for of, count in report["labels_per_image"]["images"].items()) + ")",
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
        lines += ["", "most often together: " + ", ".join(
            f"{names[row]} and {names[column]} {together[row, column]}" for row, column in pairs)]
    for title in ("problems", "notes"):
        lines += ["", f"{title}: none"] if not report[title] else ["", f"{title}:", *(f"  {x}" for x in report[title])]
    return "\n".join(lines)


def draw_audit(report: dict[str, Any], picture: Path) -> None:
    """Images per label and part; beside it, unless each image has one label, which labels occur together."""
    names, parts = list(report["labels"]), list(report["images"])
    panels, height = (1 if report["co_occurrence"] is None else 2), min(2 + 0.25 * len(names), 40)
    figure = new_figure(7 * panels, height)
    bars, *rest = figure.subplots(1, panels, squeeze=False)[0]
    left = np.zeros(len(names))
    for part, colour in zip(parts, ("#0072b2", "#e69f00", "#b8b8b8")):
        counts = np.array([report["labels"][name][part] for name in names])
        bars.barh(range(len(names)), counts, left=left, color=colour, edgecolor="black", linewidth=0.4, label=part)
        left += counts
    bars.set_yticks(range(len(names)), map(name_text, names), fontsize=min(8, 1100 / len(names)))
    bars.invert_yaxis()
    bars.margins(y=0.01)
    bars.set(xlabel="images", title="images per label")
    figure.legend(loc="outside lower left", ncols=len(parts))
    for axes in rest:
        together = np.array(report["co_occurrence"])
        draw_percent(axes, percent_of_row_label(together), [name_text(name) for name in names], names)
        axes.set(title="percent of the row's images that also have the column's label")
    save_figure(figure, picture.with_suffix(""))


def _plain(label: str) -> str:
    return re.sub("[ _-]", "", label).lower()


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dataset.audit", description=__doc__, allow_abbrev=False,
                                     formatter_class=HelpFormatter)
    parser.add_argument("--dataset", default="AID_Multilabel", help=", ".join(LAYOUTS))
    parser.add_argument("--data_root", default="./data", metavar="DIR", help="the folder that holds <dataset>/")
    for part in ("train", "val", "test"):
        parser.add_argument(f"--{part}_dir", metavar="LIST", help=f"list file of {part} images")
    parser.add_argument("--label_path", metavar="TABLE", help="label table, in place of the data set's own")
    parser.add_argument("--train_ratio", type=number(float, 0, 0.99, exclusive=True), metavar="R",
                        help="share of each class to train on, where the data has no split")
    parser.add_argument("--seed", type=number(int, 0, 2**32 - 1), default=3050, metavar="S",
                        help="of the split, as in training")
    parser.add_argument("--save_path", type=Path, metavar="DIR",
                        help="folder of audit.json and audit.png (default: runs/audit_<dataset>)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Audit; returns the report, or exits with code 1 where it has problems."""
    args = parse_arguments(argv)
    name = dataset_name(args.dataset)
    layout, root = find_layout(name, args.data_root)
    lists = list_files(args)
    absent: list[str] = []
    images, source = find_labelled_images(layout, root, lists, args.label_path, absent=absent)
    unlabelled = []
    if isinstance(source, LabelTable):
        absent += [] if lists else source.absent([image for paths in images.values() for image in paths])
        unlabelled = [image for paths in images.values() for image in paths if source.key(image) is None]
        for part, paths in images.items():
            images[part] = [image for image in paths if source.key(image)]
            if paths and not images[part]:
                source.labels_of(paths)  # says that no row fits
    data = split_data(layout, root, images, source, args.seed, args.train_ratio)
    data.check_train_ratio(args.train_ratio)
    untrainable = []
    try:
        if "train" in data.splits:
            data.check_trainable()
    except InputError as error:
        untrainable = [str(error)]
    published = None
    if name in LABEL_COUNTS and not lists:
        own_spelling = {_plain(label): label for label in data.label_names}
        published = ({own_spelling.get(_plain(label), label): count for label, count in LABEL_COUNTS[name].items()},
                     SPLIT_SIZES[name])
    folder = args.save_path or Path("runs") / f"audit_{name}"
    if not lists:
        check_not_in_dataset(folder, root)
    make_folder(folder)
    report = {"dataset": name, "root": str(root),
              **describe(data, read_all(data.all_images().images), absent, unlabelled, published)}
    report["problems"] += untrainable

    (folder / "audit.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw_audit(report, folder / "audit.png")
    print(f"{name} in {root}: {format_audit(report)}\n\nwritten: {folder / 'audit.json'}, {folder / 'audit.png'}")
    if report["problems"]:
        sys.exit(1)
    return report


if __name__ == "__main__":
    exit_cleanly(main)
