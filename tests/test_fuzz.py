"""Made-up tables, lists, scores and broken images: always the right answer, or one clear sentence.

The short forms are the same every time; `pytest -m long` tries many more, and others each time.
"""

import csv
import io
import itertools
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics as sk

from dataset import ImageDataset, Split, build_loader, eval_transform, load_image
from dataset.image_list import IMAGE_SUFFIXES, read_image_list, write_image_list
from dataset.label_table import LabelTable, read_label_table
from utils.errors import InputError
from utils.metrics import image_ranking_losses, multilabel_metrics, per_label_metrics, single_label_metrics


def lengths(short: int, long: int):
    return pytest.mark.parametrize("examples", [pytest.param(short, id="short"),
                                                pytest.param(long, id="long", marks=pytest.mark.long)])


def fuzz(body: Callable, examples: int, *strategies) -> None:
    settings(max_examples=examples, derandomize=examples < 1000, deadline=None, database=None,
             suppress_health_check=list(HealthCheck))(given(*strategies)(body))()


letters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
words = st.text(letters, min_size=1, max_size=8).map(str.strip).filter(bool)


# Label tables

def spelling(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


label_names = words.filter(lambda name: not set(name) & set(";,|") and name not in ("0", "1"))
keys = words.filter(lambda key: not set(key) & set("/\\") and not key.startswith(".")
                    and not key.lower().endswith(IMAGE_SUFFIXES))


@st.composite
def tables(draw) -> tuple[list[str], list[str], np.ndarray, str]:
    """Names of labels and of images, labels (N, C), and a table's text that says so, in one of the forms."""
    names = draw(st.lists(label_names, min_size=2, max_size=5, unique_by=spelling))
    images = draw(st.lists(keys, min_size=1, max_size=6, unique_by=lambda key: unicodedata.normalize("NFC", key)))
    form = draw(st.sampled_from(["cells", "labels", "label"]))
    if form == "label":
        labels = np.eye(len(names), dtype=int)[draw(st.lists(st.integers(0, len(names) - 1), min_size=len(images),
                                                             max_size=len(images)))]
    else:
        bits = st.lists(st.integers(0, 1), min_size=len(names), max_size=len(names))
        labels = np.array(draw(st.lists(bits, min_size=len(images), max_size=len(images))))
    if form != "cells":  # only names that occur are known, sorted
        order = sorted(range(len(names)), key=lambda column: unicodedata.normalize("NFC", names[column]))
        order = [column for column in order if labels[:, column].any()]
        assume(order)
        names, labels = [names[column] for column in order], labels[:, order]
    titles = {"cells": names, "labels": ["labels"], "label": ["label"]}[form]
    glue = draw(st.sampled_from([";", "; ", " | ", "|"]))
    rows = []
    for image, row in zip(images, labels):
        present = [name for name, label in zip(names, row) if label]
        cells = list(map(str, row)) if form == "cells" else [glue.join(present)]
        rows.append([draw(st.sampled_from([image, f"{image}.jpg", f"{image}.JPG", f"dir/{image}", f" {image} "])), *cells])
    text = io.StringIO()
    csv.writer(text, delimiter=draw(st.sampled_from(",\t")), lineterminator=draw(st.sampled_from(["\n", "\r\n", "\n\n"])),
               quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
               ).writerows([[draw(st.sampled_from(["IMAGE\\LABEL", "image", "file"])), *titles], *draw(st.permutations(rows))])
    return names, images, labels, draw(st.sampled_from(["", "\ufeff"])) + text.getvalue()


@lengths(60, 3000)
def test_tables_that_are_well_formed(examples, tmp_path, record):
    def read(table):
        names, images, labels, text = table
        (tmp_path / "t.csv").write_bytes(text.encode())
        found = read_label_table(tmp_path / "t.csv")
        assert found.names == [unicodedata.normalize("NFC", name) for name in names]
        assert (found.labels_of([tmp_path / "dir" / f"{image}.jpg" for image in images]) == labels).all()

    fuzz(read, examples, tables())
    record(tables=examples)


def plainly(text: str) -> tuple[list[str], list[list[int]]]:
    """What a table of 0/1 cells without quotes says, row by row; of the other forms, nothing."""
    lines = [line for line in text.split("\n") if line.strip()]
    rows = [[cell.strip() for cell in line.split("\t" if "\t" in lines[0] else ",")] for line in lines]
    header, *rows = [row for row in rows if any(row)]
    cells = [row[1:] for row in rows]
    if header[1:] == ["label"] or header[1:] == ["labels"] and not all(row in (["0"], ["1"]) for row in cells):
        return [], []
    return header[1:], [list(map(int, row)) for row in cells]


@lengths(150, 6000)
def test_tables_of_anything(examples, tmp_path, record):
    refused = 0

    def read(content: bytes):
        nonlocal refused
        (tmp_path / "t.csv").write_bytes(content)
        try:
            table = read_label_table(tmp_path / "t.csv")
        except InputError as error:
            refused += 1
            assert str(tmp_path / "t.csv") in str(error) and "\n" not in str(error)
            return
        assert isinstance(table, LabelTable) and len(set(map(spelling, table.names))) == len(table.names) > 0
        rows = list(table.rows.values())
        assert all(row.shape == (len(table.names),) and set(row.tolist()) <= {0, 1} for row in rows)
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        names, cells = plainly(text.casefold()) if '"' not in text else ([], [])
        if names:
            assert list(map(spelling, table.names)) == list(map(spelling, names))
            assert [row.tolist() for row in rows] == cells

    header = st.sampled_from(["i,a,b\n", "i\ta\tb\n", "i,labels\n", "i,label\n", ""])
    cells = st.text(st.sampled_from(list('01,\t\n\r";ab \x00\x85\u2028=é')), max_size=30)
    fuzz(read, examples, st.one_of(st.tuples(header, cells).map(lambda parts: "".join(parts).encode()),
                                   st.binary(max_size=60),
                                   st.tuples(tables(), st.integers(0, 200), st.binary(max_size=2)).map(
                                       lambda parts: with_bytes_at(parts[0][3].encode(), parts[1], parts[2]))))
    record(tables=examples, refused=refused)


def with_bytes_at(content: bytes, place: int, new: bytes) -> bytes:
    place %= len(content)
    return content[:place] + new + content[place + 1:]
