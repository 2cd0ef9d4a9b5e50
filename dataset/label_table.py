"""Label tables, in text: a column of 0/1 cells per label, a column of label names, or one of classes.

    IMAGE\\LABEL,sea,sand,ship          image,labels              image,label
    beach_1,1,1,0                       beach_1,sea;sand          beach_1,beach
"""

import csv
import difflib
import io
import itertools
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from html.entities import html5
from pathlib import Path

import numpy as np

from utils.errors import InputError, summarize_names, warn

from .image_list import IMAGE_SUFFIXES, check_name, spelling

SPREADSHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")

# What Excel and pandas write for 0 and 1.
CELLS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}

# Their cells may all be 0.0.
_COORDINATES = ("lat", "latitude", "lon", "lng", "long", "longitude", "x", "y", "easting", "northing")

# Titles of a column that may hold the numbers of two classes, by their letters.
_CLASSES = ("class", "classes", "classid", "classname", "classlabel", "cls", "category", "categoryid", "scene",
            "sceneid", "target", "labelid", "labelname", "labels", "gt", "groundtruth", "truth", "ytrue", "lulc",
            "landcover", "annotation", "y")

# What people, spreadsheets and pandas write where there is no label, by its letters; and an error, in capitals, as #N/A
# or #BEZUG!
MISSING = ("", "nan", "none", "null", "na", "nat", "nil", "loading", "unlabeled", "unlabelled", "notlabeled",
           "notlabelled", "nolabel", "nolabels", "undefined", "todo", "tbd", "tba")
_ERROR = re.compile(r"#[^\W\da-z][^a-z]*")

# Titles of columns that describe the image and not what is on it.
_BOOKKEEPING = re.compile("(is_|in_)?(train|val|valid|validation|test)(ing)?(_set)?|split|folds?|set|f?id|objectid|"
                          "index|total|count|sum|(n|num|nb|number)_?(of_)?(labels|classes)|"
                          "(is_|needs_)?(verified|review(ed)?|(double_)?checked|approved|corrected|annotated|"
                          "labell?ed|usable|difficult|augmented|duplicate|occluded|truncated|outlier|crowd)|iscrowd|"
                          "has_labels?|done|keep|skip|ignored?|excluded?|selected|qc|"
                          "pred(icted|iction)?[ _].*|.*[ _]pred(icted|iction)?", re.IGNORECASE)

# The numbers of several labels, or a 0 or 1 for each label.
_SEVERAL_NUMBERS = re.compile(r"(?:-?\d+\.?\d*|true|false)(?:[\s,;|]+(?:-?\d+\.?\d*|true|false))+", re.IGNORECASE)

# A name with a score; but a class may be a range, such as 0-10%, or a ratio, such as 1:10.
_SCORED = re.compile(r".*[:=]\s*[01]?\.?\d+|.*\(0?\.\d+\)|.*\s0?\.\d+|.*\d\s*%\)?")
_RANGE = re.compile(r"\d\s*%?\s*(?:[-–]|to)\s*\d|\d:\d+$|[<>≤≥]")

# Names with a bracket or a quote at an end, as in the text of a Python list.
_BRACKETED = re.compile(r"""[\[{"'`“”„‘’«»].*|.*[]}"'`“”„‘’«»]|\([^()]*\)""")


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
            InputError: for images without a row or with two, and for two images that share a row.
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
        twice = next((key for image, key in zip(images, keys) if key + image.suffix.lower() in self.rows), None)
        if twice is not None:
            raise InputError(f"{self.path} has two rows for {owners[twice]}, with and without its extension; keep one")
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
    """Read a label table; the header tells whether tabs, semicolons or commas separate its cells.

    Args:
        known: the only names that a column of label names or classes may contain, in their order (those of a trained
            classifier); by default the names it contains, sorted.
    Raises:
        InputError: for a missing or empty file, or not UTF-8 text; a ragged row, a cell that is not 0 or 1, a repeated
            row or label name; a name in brackets or quotes, nan and its like, several names for one class, or an
            unknown name. The message names file and line.
    """
    path = Path(path)
    cells = _read_cells(path)
    title, *names = [unicodedata.normalize("NFC", name) for name in cells[0][1]]
    header = [name.casefold() for name in names]
    single_label = header == ["label"]
    of_two = len(header) == 1 and all(len(row) == 2 and row[1].casefold() in CELLS for _, row in cells[1:])
    if single_label or header == ["labels"] and not of_two:
        return LabelTable(path, *_rows_by_name(path, cells[1:], known, single_label), single_label)
    alike = Counter(map(spelling, names))
    numbered = len(names) > 2 and any(names == [str(start + label) for label in range(len(names))] for start in (0, 1))
    repeated = {name for name in names if alike[spelling(name)] > 1 or name.casefold() in ("", *CELLS) and not numbered
                or re.fullmatch(r"unnamed: \d+", name.casefold())}
    if not names or repeated:
        found = f"repeated, unnamed or 0/1: {sorted(repeated)}" if repeated else "it has none"
        raise InputError(f"{path}, line {cells[0][0]}: the header must be IMAGE\\LABEL followed by distinct label "
                         f"names, separated by commas, semicolons or tabs ({found}); or image,labels; or image,label; "
                         "if it is no label table, move it elsewhere")

    several = next((name for name in names if ";" in name), None)
    if several and not known:
        raise InputError(f"{path}: the column '{several}' has a semicolon, which separates labels; rename it")
    if of_two and letters(header[0]) in _CLASSES:
        raise InputError(f"{path}: is the column '{names[0]}' of 0 and 1 a class or a label? Name it label for one "
                         "class per image, else after what a 1 means")
    rows: dict[str, np.ndarray] = {}
    for number, (key, *values) in cells[1:]:
        where = f"{path}, line {number} ('{key}')"
        if len(values) != len(names):
            raise InputError(f"{where}: {len(values)} label cells, but the header names {len(names)} labels")
        wrong = next((column for column, value in enumerate(values) if value.casefold() not in CELLS
                      or "." in value and header[column] in _COORDINATES), None)
        if wrong is not None:
            raise InputError(f"{where}: a label cell must be 0 or 1, not '{values[wrong]}' (column '{names[wrong]}'); "
                             + _advice(title, header, wrong, values[wrong]))
        _add_row(rows, key, np.array([CELLS[value.casefold()] for value in values], dtype=np.uint8), where)
    everywhere = np.all(list(rows.values()), axis=0) & (len(rows) > 1)
    of_images = {name for name in names if _BOOKKEEPING.fullmatch(name)}
    of_images -= {"train"} if len(of_images) == 1 else set()  # the vehicle
    dubious = [name for name, is_constant in zip(names, everywhere) if is_constant or name in of_images
               or letters(name) in MISSING or letters(name.rpartition("_")[2]) in MISSING  # pandas' get_dummies
               or re.sub(r"\.\d+$", "", name) in set(names) - {name}]  # pandas numbers repeated titles
    if dubious and not known:
        warn(f"{path}: {summarize_names(dubious, 'column')} may be no labels, by the title or because all cells are 1; "
             "if so, remove them")
    if not known:
        _warn_of_equal_columns(path, names, np.stack(list(rows.values())), "if one is a copy of another, remove it")
        warn_of_near_names(path, names)
    return LabelTable(path, names, rows)


def _read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a text table that are not empty, with their line numbers: the header and at least one more."""
    if not path.is_file():
        raise InputError(f"label table {path} does not exist")
    try:
        start = path.read_bytes()[:4]
        if start in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0") or path.suffix.lower() in SPREADSHEETS:
            raise InputError(f"{path} is a spreadsheet; save it as CSV UTF-8")
        if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start[:2]:
            raise InputError(f"{path} is UTF-16 text; save it as CSV UTF-8")
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        text = re.sub(r"\A\"?sep=.\"?(?=\n)", "", text, flags=re.IGNORECASE)  # Excel's
        before, not_utf8, _ = text.partition("\ufffd")
        if not_utf8:
            line = before.count("\n") + 1
            raise InputError(f"{path}, line {line}: not UTF-8 (Windows-1252, perhaps); save the table as CSV UTF-8")
        header, *rows = [re.sub('"[^"]*"', "", line) for line in text.split("\n") if line.strip()][:2] or [""]
        letters = "\t" if "\t" in header else [letter for letter in header if letter in ",;"] or ","
        delimiter = max(letters, key=lambda letter: min(line.count(letter) for line in (header, *rows)))
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        cells = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a UTF-8 text table: {error}") from error
    width = max((column for _, row in cells for column, cell in enumerate(row, start=1) if cell), default=0)
    cells = [(number, row[:width]) for number, row in cells if any(row)]
    if len(cells) < 2:
        raise InputError(f"{path} is empty: expected a header with label names and at least one row")
    for number, row in cells:
        for cell in row:
            check_name(cell, f"{path}, line {number}: the cell")
    return cells


def _advice(title: str, header: list[str], column: int, cell: str) -> str:
    """What to do with a cell that does not hold 0 or 1."""
    if cell.casefold() == header[column]:
        return "remove this line if it repeats the header"
    is_index = column == 0 and re.fullmatch(r"|index|id|unnamed: \d+", title.casefold())
    if is_index or cell.lower().endswith(IMAGE_SUFFIXES):
        return "the first column must name the images: write the table without an index (in pandas, index=False)"
    if len(header) == 1 or {"label", "labels"} & set(header):
        return "a table of names has two columns, with the header image,labels, or image,label for one class per image"
    return "write 0 or 1, and remove columns that are no labels, such as coordinates"


def _rows_by_name(path: Path, cells: list[tuple[int, list[str]]], known: list[str] | None,
                  single_label: bool) -> tuple[list[str], dict[str, np.ndarray]]:
    column = [cell for _, row in cells for cell in row[1:] if cell]
    if column and all(re.fullmatch(r"(?i)(?:-?[01]\.?0*|true|false)(?:[\s,;|]*(?:-?[01]\.?0*|true|false))+", cell)
                      for cell in column):
        raise InputError(f"{path}: cells such as '{column[0]}' name no labels; give each label its column of 0 and 1")
    # Names may hold the separators that the column does not use: "Beaches, dunes, sands;Inland waters".
    separator = next((letter for letter in ";|" if any(letter in cell for cell in column)), ",")
    present: dict[str, set[str]] = {}
    spellings: dict[str, str] = {}
    for number, (key, *values) in cells:
        where = f"{path}, line {number} ('{key}')"
        if len(values) != 1:
            raise InputError(f"{where}: {1 + len(values)} cells, but the header has 2; write the labels of an image "
                             'into one cell with semicolons, "sea;sand"')
        cell = unicodedata.normalize("NFC", values[0])
        entity = re.search(r"&(#\d+|\w+;)", cell)
        if entity and (entity[1] in html5 or entity[1].startswith("#")):
            raise InputError(f"{where}: '{entity[0]}' is a sign as web pages write it; write the sign itself")
        is_name = single_label or cell in (known or ())
        labels = {name.strip() for name in ([cell] if is_name else cell.split(separator))} - {""}
        if single_label and not labels:
            raise InputError(f"{where}: no class; with the header image,label each image has exactly one")
        for name in sorted(labels):
            if name not in (known or ()):
                _check_label(name, where, single_label)
            if known and name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise InputError(f"{where}: unknown label '{name}'" + (f"; is it '{near[0]}'?" if near else "")
                                 + f"; known are {', '.join(known)}")
            first = spellings.setdefault(spelling(name), name)
            if first != name:
                raise InputError(f"{where}: label '{name}' differs from '{first}' above only in case, blanks, hyphens, "
                                 "apostrophes, invisible signs, zeros of a number or punctuation at the ends; use one "
                                 "spelling")
        _add_row(present, key, labels, where, "write all labels of an image into one row, as in sea;sand")
    names = known or sorted(spellings.values())
    if not names:
        raise InputError(f"{path} names no label in any row")
    if not known:
        warn_of_combinations(path, names)
    rows = {key: np.array([name in labels for name in names], dtype=np.uint8) for key, labels in present.items()}
    if separator == "," and not known:
        _warn_of_equal_columns(path, names, np.stack(list(rows.values())), "if they are one name that holds commas, "
                               "write a semicolon behind each name, as in \"Beaches, dunes, sands;\"")
    return names, rows


def letters(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return re.sub(r"[\W_]", "", name.casefold())


def _warn_of_equal_columns(path: Path, names: list[str], labels: np.ndarray, advice: str) -> None:
    """Warn of labels (N, C) that are only ever found together."""
    uses = Counter(column.tobytes() for column in labels.T)
    together = [name for name, column in zip(names, labels.T) if uses[column.tobytes()] > 1 and column.sum() > 1]
    if together:
        warn(f"{path}: {summarize_names(together, 'label')} are on the same images always; {advice}")


def _check_label(name: str, where: str, single_label: bool) -> None:
    if (letters(name) in MISSING or not spelling(name) or _ERROR.fullmatch(name)
            or name.lower().endswith(IMAGE_SUFFIXES)):
        advice = ("give the image a class, or rename this one" if single_label
                  else "leave the cell empty if the image has no labels")
        raise InputError(f"{where}: '{name}' is no label; {advice}")
    if re.search(r"\d", name) and _SEVERAL_NUMBERS.fullmatch(name):
        raise InputError(f"{where}: '{name}' is several numbers; separate them by semicolons, as in 3;17, under the "
                         "header image,labels")
    if not single_label and _SCORED.fullmatch(name) and not _RANGE.search(name):
        raise InputError(f"{where}: the label {name} has a score; write the names of the labels that are present alone")
    if _BRACKETED.fullmatch(name) or name.count("(") != name.count(")"):
        raise InputError(f"{where}: the label {name} has brackets or quotes; write "
                         + ("the class alone" if single_label else "sea;sand, or nothing for an image without labels"))
    if single_label and re.search("[;|]", name):
        raise InputError(f"{where}: '{name}' is not one class; several labels per image need the header image,labels")


def check_class(name: str, where: str) -> None:
    """Raise InputError for the class of a list file or folder that is several labels, nan or quoted, as a table's."""
    if _SEVERAL_NUMBERS.fullmatch(name):
        raise InputError(f"{where} is '{name}': several labels per image need a label table (--label_path)")
    _check_label(name, where, single_label=True)


def warn_of_near_names(where: Path, names: list[str]) -> None:
    """Warn of names that differ in accents alone, in number, or by one letter: ship and ships, gray and grey roof,
    center and centre."""
    plain = {name: re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", name)).casefold() for name in names}
    alike = [name for name in names if list(plain.values()).count(plain[name]) > 1]
    if alike:
        warn(f"{where}: {summarize_names(alike, 'label')} differ from each other only in accents; if one is meant, use "
             "one spelling")
    lower = {name.casefold(): name for name in names}
    pairs = dict.fromkeys(f"{lower[shorter]} / {lower[longer]}" for longer in lower for place in range(len(longer))
                          if (shorter := longer[:place] + longer[place + 1:]) in lower and longer[place].isalpha()
                          and (len(shorter) > 5 or longer == f"{shorter}s"))
    pairs |= dict.fromkeys(f"{lower[one]} / {lower[other]}" for one, other in itertools.permutations(sorted(lower), 2)
                           if other in (f"{one}es", f"{one.removesuffix('y')}ies")
                           or one < other and _is_near(one, other))
    if pairs:
        warn(f"{where}: {summarize_names(pairs, 'pair')} of labels differ by a letter or in number; if one label is "
             "meant, use one spelling")


def _is_near(one: str, other: str) -> bool:
    """Whether two long names differ by one letter inside a word, or by two letters in a row that are swapped."""
    if not len(one) == len(other) > 5:
        return False
    first, last = (place(i for i, pair in enumerate(zip(one, other)) if pair[0] != pair[1]) for place in (min, max))
    if first == last:
        return 0 < first < len(one) - 1 and one[first - 1:first + 2].isalpha()
    return last == first + 1 and one[first:].startswith(other[last] + other[first]) and other[first:last + 1].isalpha()


def warn_of_combinations(where: Path, names: list[str], of_folders: bool = False) -> None:
    """Warn of names that look like several: made of other names, or of words that recur, as those of folders may; and
    as `warn_of_near_names`."""
    warn_of_near_names(where, names)
    found = set()
    singles = {name.casefold() for name in names}
    for separator in (r"\s*[+/&]\s*|\s+[-–—]\s+", r"\s*(?:\\n|,(?!_)|[|:•،\\])\s*",
                      r"\s+(?:and|und|et|y|e)\s+", r"\s+", "_", "-"):
        words = {name: set(re.split(separator, name.casefold())) for name in names}
        uses = Counter(word for several in words.values() for word in several)
        repeated = {word for word in uses if word and uses[word] > 1}
        of_repeated = {name for name in names if len(words[name]) > 1 and words[name] <= singles | repeated}
        # Dense forest, sparse forest, dense grass and sparse grass are labels; 20 names made of 5 words are not, and
        # neither are names mostly of one, two and three words that recur.
        lengths = {len(several) for several in words.values()}
        is_sign = "/" in separator or not of_folders and len(names) > 2 * len(uses)
        if is_sign or len(lengths) > 2 and len(of_repeated) > len(names) / 2:
            found |= of_repeated
        found |= {name for name in names if len(words[name]) > 1 and (
            words[name] <= singles or "," in separator and words[name] & (singles | repeated))}
    found |= {name for name in names if re.search(r"[；，、]|^(?:and|or|und|et|&)\s", name, re.IGNORECASE)}
    if found:
        warn(f"{where}: {summarize_names(sorted(found), 'label')} may be several labels in one; if so, "
             "separate them by semicolons, in a table with the header image,labels")


def _normalized(key: str) -> str:
    """A file's name or path with slashes, none at the start, a lower-case extension, and in Unicode's NFC."""
    stem, dot, suffix = unicodedata.normalize("NFC", key.replace("\\", "/")).rpartition(".")
    is_image = (dot + suffix).lower() in IMAGE_SUFFIXES
    return (stem + dot + (suffix.lower() if is_image else suffix)).removeprefix("./").lstrip("/")


def _add_row(rows: dict, key: str, row, where: str, advice: str = "keep one of them") -> None:
    key = _normalized(key)
    if not key:
        raise InputError(f"{where}: the first cell names no image")
    if key in rows:
        raise InputError(f"{where}: this image already has a row above; {advice}")
    rows[key] = row
