"""Label tables, tab- or comma-separated: a column of 0/1 cells per label, a column of label names, or one of classes.

    IMAGE\\LABEL,sea,sand,ship          image,labels              image,label
    beach_1,1,1,0                       beach_1,sea;sand          beach_1,beach
"""

import csv
import difflib
import io
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError, summarize_names

from .image_list import IMAGE_SUFFIXES, check_name


@dataclass(frozen=True)
class LabelTable:
    """path: the file. names: C label names. rows: image key -> (C,) uint8 of 0 and 1. single_label: one 1 per row."""

    path: Path
    names: list[str]
    rows: dict[str, np.ndarray]
    single_label: bool = False

    def key(self, image: Path) -> str | None:
        """The row key of an image: its file name with or without extension, or the last few parts of its path with
        slashes; None if no row has any of these."""
        parts = _normalized(image.absolute().as_posix()).split("/")
        tails = ("/".join(parts[start:]) for start in range(len(parts)))  # the longest first: the most specific
        suffix = image.suffix.lower()
        return next((key for tail in tails for key in (tail.removesuffix(suffix), tail) if key in self.rows), None)

    def labels_of(self, images: list[Path]) -> np.ndarray:
        """The labels of N images: (N, C) uint8.

        Raises:
            InputError: for images without a row, and for two images that share a row.
        """
        keys = [self.key(image) for image in images]
        missing = [str(image) for image, key in zip(images, keys) if key is None]
        if missing:
            raise InputError(f"{self.path} has no row for {summarize_names(missing, 'image')}; a row starts with the "
                             f"file's name, with or without extension; the first one is for '{next(iter(self.rows))}'")
        owners: dict[str, Path] = {}
        for image, key in zip(images, keys):
            if owners.setdefault(key, image) != image:
                raise InputError(f"{owners[key]} and {image} share the row '{key}' of {self.path}, which could "
                                 "belong to either; rename one of them")
        return np.stack([self.rows[key] for key in keys])

    def absent(self, images: list[Path]) -> list[str]:
        """The keys of rows that have no image among `images`."""
        return sorted(self.rows.keys() - {self.key(image) for image in images})

    def check_all_present(self, images: list[Path], folder: Path) -> None:
        """Raise InputError if a row has no image among `images`, which were searched for below `folder`."""
        absent = self.absent(images)
        if absent:
            raise InputError(f"no image below {folder} for {summarize_names(absent, 'row')} of {self.path}; correct "
                             "the names, unpack the images again, or select the available images with list files")


def read_label_table(path: str | Path, known: list[str] | None = None) -> LabelTable:
    """Read a label table; a tab in its header makes it tab-separated, else it is comma-separated.

    Args:
        known: the only names that a column of label names or classes may contain, in their order (those of a trained
            classifier); by default the names it contains, sorted.
    Raises:
        InputError: for a missing or empty file, a ragged row, a cell that is not 0 or 1, a repeated row or
            label name, or an unknown name; the message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"label table {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
        header = next((line for line in text.split("\n") if line.strip()), "")
        reader = csv.reader(io.StringIO(text), delimiter="\t" if "\t" in header else ",")
        cells = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (UnicodeDecodeError, OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a UTF-8 text table: {error}") from error
    cells = [(number, row) for number, row in cells if any(row)]
    if len(cells) < 2:
        raise InputError(f"{path} is empty: expected a header with label names and at least one row")
    for number, row in cells:
        for cell in row:
            check_name(cell, f"{path}, line {number}: the cell")
    names = [unicodedata.normalize("NFC", name) for name in cells[0][1][1:]]
    header = [name.casefold() for name in names]
    single_label = header == ["label"]
    if single_label or header == ["labels"] and not all(row[1:] in (["0"], ["1"]) for _, row in cells[1:]):
        return LabelTable(path, *_rows_by_name(path, cells[1:], known, single_label), single_label)
    repeated = {name for name in names if header.count(name.casefold()) > 1 or name in ("", "0", "1")}
    if not names or repeated:
        found = f"repeated, empty or 0/1: {sorted(repeated)}" if repeated else "it has none"
        raise InputError(f"{path}, line {cells[0][0]}: the header must be IMAGE\\LABEL followed by distinct label "
                         f"names, separated by tabs or commas ({found}); or image,labels; or image,label")

    rows: dict[str, np.ndarray] = {}
    for number, (key, *values) in cells[1:]:
        where = f"{path}, line {number} ('{key}')"
        if len(values) != len(names):
            raise InputError(f"{where}: {len(values)} label cells, but the header names {len(names)} labels")
        wrong = [value for value in values if value not in ("0", "1")]
        if wrong:
            raise InputError(f"{where}: a label cell must be 0 or 1, not '{wrong[0]}'")
        _add_row(rows, key, np.array(values, dtype=np.uint8), where)
    return LabelTable(path, names, rows)


def _rows_by_name(path: Path, cells: list[tuple[int, list[str]]], known: list[str] | None,
                  single_label: bool) -> tuple[list[str], dict[str, np.ndarray]]:
    present: dict[str, set[str]] = {}
    spellings: dict[str, str] = {}
    for number, (key, *values) in cells:
        where = f"{path}, line {number} ('{key}')"
        if len(values) > 1:
            raise InputError(f"{where}: {1 + len(values)} cells, but the header has 2; write the labels of an image "
                             "into one cell, separated by semicolons")
        cell = unicodedata.normalize("NFC", "".join(values))
        labels = {name for name in ([cell] if single_label else re.split(r"\s*[;,|]\s*", cell)) if name}
        if single_label and not labels:
            raise InputError(f"{where}: no class; with the header image,label each image has exactly one")
        for name in sorted(labels):
            if known and name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise InputError(f"{where}: unknown label '{name}'" + (f"; is it '{near[0]}'?" if near else "")
                                 + f"; known are {', '.join(known)}")
            first = spellings.setdefault(name.casefold(), name)
            if first != name:
                raise InputError(f"{where}: label '{name}' differs from '{first}' above only in case; use one spelling")
        _add_row(present, key, labels, where)
    names = known or sorted(spellings.values())
    if not names:
        raise InputError(f"{path} names no label in any row")
    return names, {key: np.array([name in labels for name in names], dtype=np.uint8)
                   for key, labels in present.items()}


def _normalized(key: str) -> str:
    """A file's name or path with slashes, none at the start, a lower-case extension, and in Unicode's NFC."""
    stem, dot, suffix = unicodedata.normalize("NFC", key.replace("\\", "/")).rpartition(".")
    is_image = (dot + suffix).lower() in IMAGE_SUFFIXES
    return (stem + dot + (suffix.lower() if is_image else suffix)).removeprefix("./").lstrip("/")


def _add_row(rows: dict, key: str, row, where: str) -> None:
    key = _normalized(key)
    if not key:
        raise InputError(f"{where}: the first cell names no image")
    if key in rows:
        raise InputError(f"{where}: this image already has a row above; keep one of them")
    rows[key] = row
