"""Label tables: a header of label names, then a row of 0/1 cells per image; tab- or comma-separated."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError


@dataclass(frozen=True)
class LabelTable:
    """path: the file. names: C label names, in its order. rows: image key -> (C,) uint8 of 0 and 1."""

    path: Path
    names: list[str]
    rows: dict[str, np.ndarray]

    def key(self, image: Path) -> str | None:
        """The row key of an image: its file name without extension, or with it; None where no row has either."""
        return next((key for key in (image.stem, image.name) if key in self.rows), None)

    def labels_of(self, images: list[Path]) -> np.ndarray:
        """The labels of N images: (N, C) uint8.

        Raises:
            InputError: for images without a row, and for two images that share one.
        """
        keys = [self.key(image) for image in images]
        missing = [str(image) for image, key in zip(images, keys) if key is None]
        if missing:
            raise InputError(f"{self.path} has no row for {_some(missing, 'image')}; "
                             "a row starts with the file name without extension")
        owners: dict[str, Path] = {}
        for image, key in zip(images, keys):
            if owners.setdefault(key, image) != image:
                raise InputError(f"{owners[key]} and {image} have the same name, so the row '{key}' of {self.path} "
                                 "could belong to either; rename one of them")
        return np.stack([self.rows[key] for key in keys])

    def check_all_present(self, images: list[Path], folder: Path) -> None:
        """Raise InputError where a row has no image among `images`, which were looked for below `folder`."""
        absent = sorted(self.rows.keys() - {self.key(image) for image in images})
        if absent:
            raise InputError(f"no image below {folder} for {_some(absent, 'row')} of {self.path}; "
                             "unpack the images again, or use a part of them by list files")


def read_label_table(path: str | Path) -> LabelTable:
    """Read a label table; a tab in its header makes it tab-separated, else it is comma-separated.

    Raises:
        InputError: for a missing or empty file, a ragged row, a cell that is not 0 or 1, a repeated row or
            label name; the message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"label table {path} does not exist")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        delimiter = "\t" if lines and "\t" in lines[0] else ","
        cells = [(number, [cell.strip() for cell in row])
                 for number, row in enumerate(csv.reader(lines, delimiter=delimiter), start=1)]
    except (UnicodeDecodeError, OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a UTF-8 text table: {error}") from error
    cells = [(number, row) for number, row in cells if any(row)]
    if len(cells) < 2:
        raise InputError(f"{path} is empty: a header with label names and at least one row are wanted")
    names = cells[0][1][1:]
    repeated = {name for name in names if names.count(name) > 1 or name in ("", "0", "1")}
    if not names or repeated:
        found = f"repeated, empty or 0/1: {sorted(repeated)}" if repeated else "there are none"
        raise InputError(f"{path}, line {cells[0][0]}: the header must be IMAGE\\LABEL and then distinct label "
                         f"names, with tabs or commas between them ({found})")

    rows: dict[str, np.ndarray] = {}
    for number, (key, *values) in cells[1:]:
        where = f"{path}, line {number} ('{key}')"
        if len(values) != len(names):
            raise InputError(f"{where}: {len(values)} label cells, but the header names {len(names)} labels")
        wrong = [value for value in values if value not in ("0", "1")]
        if wrong:
            raise InputError(f"{where}: a label cell must be 0 or 1, not '{wrong[0]}'")
        if key in rows:
            raise InputError(f"{where}: this image has a row above already; keep one of them")
        rows[key] = np.array(values, dtype=np.uint8)
    return LabelTable(path, names, rows)


def _some(names: Iterable[str], what: str) -> str:
    """'3 images (a, b, ...)'"""
    names = list(names)
    examples = ", ".join(names[:2] + ["..."] * (len(names) > 2))
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({examples})"
