"""Made-up tables, lists, scores and broken images: always the right answer, or one clear sentence.

The short forms are the same every time; `pytest -m long` tries many more, and others each time.
"""

import csv
import functools
import io
import itertools
import random
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics as sk

from conftest import unicode_names
from dataset import load_image
from dataset.image_list import IMAGE_SUFFIXES, read_image_list, write_image_list
from dataset.label_table import CELLS, MISSING, LabelTable, read_label_table
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
    """What names that look alike have in common."""
    visible = "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold()
                      if unicodedata.category(letter) != "Cf")
    return " ".join(visible.split())


label_names = words.filter(lambda name: not set(name) & set(""";,|()[]{}"'`“”„‘’«»\ufffd""") and spelling(name)
                           and name.casefold() not in CELLS and re.sub(r"[\W_]", "", name.casefold()) not in MISSING
                           and not set(name) <= set("01 ") and not re.fullmatch(r"\d+(\.0+)?", name))
keys = words.filter(lambda key: not set(key) & set("/\\\ufffd") and not key.startswith(".")
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
        key = draw(st.sampled_from([image, f"{image}.jpg", f"{image}.JPG", f"dir/{image}", f" {image} "]))
        rows.append([key, *cells])
    rows = [[draw(st.sampled_from(["IMAGE\\LABEL", "image", "file"])), *titles], *draw(st.permutations(rows))]
    text, quoting = io.StringIO(), draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(text, delimiter=draw(st.sampled_from(",\t")), quoting=quoting,
               lineterminator=draw(st.sampled_from(["\n", "\r\n", "\n\n"]))).writerows(rows)
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
    delimiter = "\t" if "\t" in lines[0] else next((letter for letter in lines[0] if letter in ",;"), ",")
    rows = [[cell.strip() for cell in line.split(delimiter)] for line in lines]
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


# List files

file_names = st.text(letters.filter(lambda letter: letter != "/"), min_size=1, max_size=8).filter(
    lambda name: name.strip() == name and name not in (".", ".."))


@unicode_names
@lengths(40, 2000)
def test_lists_give_back_what_was_written(examples, tmp_path_factory, record):
    refused = 0

    def write_and_read(names: list[tuple[str, str]], suffix: str, classes: list[str]):
        nonlocal refused
        root = tmp_path_factory.mktemp("root")
        images = [root / folder / (name + suffix) for folder, name in names]
        for image in images:
            image.parent.mkdir(exist_ok=True)
            image.touch()
        for row_values in (classes[:len(images)], None):
            write_image_list(root / "list", images, root, row_values)
            try:
                found, their_classes = read_image_list(root / "list", [root])
            except InputError:  # a class that ends like an image
                refused += 1
                continue
            assert found == images
            assert [their_classes[image] for image in images] == [
                unicodedata.normalize("NFC", name) for name in row_values or [folder for folder, _ in names]]

    fuzz(write_and_read, examples, st.lists(st.tuples(file_names, file_names), min_size=1, max_size=4, unique=True),
         st.sampled_from(IMAGE_SUFFIXES + (".JPG",)), st.lists(words, min_size=4, max_size=4))
    record(lists=2 * examples, refused=refused)


@lengths(150, 6000)
def test_lists_of_anything(examples, tmp_path, record):
    root = tmp_path / "root"
    inside = ["a.jpg d/e.tif", "a.jpg", "b c.png"]
    for path in (*(root / name for name in inside), tmp_path / "secret.jpg", tmp_path / "lists" / "f.bmp"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    file, refused = tmp_path / "lists" / "list", 0

    def read(lines: list[str], glue: str):
        nonlocal refused
        file.write_bytes(glue.join(lines).encode())
        try:
            images, classes = read_image_list(file, [root])
        except InputError as error:
            refused += 1
            assert str(file) in str(error) and "\n" not in str(error)
            return
        assert images and list(classes) == images
        text = glue.join(lines).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        named = []  # of each line the longest image it can start with, and what follows
        for line in filter(None, map(str.strip, text.split("\n"))):
            line = line.removeprefix("./")
            image = next((name for name in (*inside, "f.bmp", str(tmp_path / "secret.jpg"))
                          if line == name or line.startswith(name) and line[len(name)].isspace()), None)
            assert image is not None
            place = root / image if image in inside else tmp_path / "lists" / image
            named.append((place, line[len(image):].strip() or place.parent.name))
        assert dict(named) == classes

    sample = st.sampled_from([*inside, "f.bmp", str(tmp_path / "secret.jpg"), "../secret.jpg", "a.jpg/../../secret.jpg",
                            "./a.jpg", "A.JPG", "x.png", "a.jpeg", ""])
    lines = st.tuples(sample, st.sampled_from(["", " ", "\t", "  "]),
                      st.text(st.sampled_from(list("sea .jpg\x00\x85\u2028é")), max_size=5)).map("".join)
    fuzz(read, examples, st.lists(st.one_of(lines, sample), min_size=1, max_size=4),
         st.sampled_from(["\n", "\r\n", "\n\n"]))
    record(lists=examples, refused=refused)


# Metrics

@st.composite
def scored(draw, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, at and about the threshold, and labels, of which some have no or only positives."""
    shape = draw(st.integers(1, 12)), draw(st.integers(least, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.random(shape) < rng.choice([0, 0.2, 0.5, 1], shape[1])
    values = draw(st.sampled_from([[0.5], [0.0, 1.0], [0.2, 0.5, np.nextafter(np.float32(0.5), 1), 0.8], None]))
    scores = rng.random(shape) if values is None else rng.choice(values, shape)
    return scores.astype(draw(st.sampled_from([np.float32, np.float64]))), labels.astype(int)


@lengths(30, 3000)
def test_metrics_against_scikit_learn(examples, record):
    def compare(example):
        scores, labels = example
        predicted, zero = (scores > 0.5).astype(int), {"zero_division": 0}
        figures, per_label = multilabel_metrics(scores, labels), per_label_metrics(scores, labels)
        precision, recall, f1, support = sk.precision_recall_fscore_support(
            labels, predicted, labels=range(labels.shape[1]), **zero) if labels.shape[1] > 1 else [
            np.array([row_values]) for row_values in (sk.precision_score(labels, predicted, **zero),
                                        sk.recall_score(labels, predicted, **zero),
                                        sk.f1_score(labels, predicted, **zero), labels.sum())]
        ap = [sk.average_precision_score(labels[:, c], scores[:, c]) if labels[:, c].any() else np.nan
              for c in range(labels.shape[1])]
        for name, row_values in {"precision": precision, "recall": recall, "F1": f1, "support": support, "AP": ap}.items():
            np.testing.assert_allclose(per_label[name], row_values, atol=1e-12, err_msg=name)
        # An image at a time, so that one label and one image are no special case.
        scorers = sk.precision_score, sk.recall_score, sk.f1_score, functools.partial(sk.fbeta_score, beta=2)
        images = [[score(row_values, their, **zero) for row_values, their in zip(labels, predicted)] for score in scorers]
        cp, cr = np.mean(precision), np.mean(recall)

        def of_means(p, r, beta):
            return (1 + beta**2) * p * r / (beta**2 * p + r) if p + r else 0

        pairs = [[(row[a] <= row[b]) for a, b in itertools.permutations(range(len(row)), 2) if row_values[a] > row_values[b]]
                 for row, row_values in zip(scores, labels)]
        expected = {
            "mAP": np.nanmean(ap) if labels.any() else np.nan,
            "OP": sk.precision_score(labels.ravel(), predicted.ravel(), **zero),
            "OR": sk.recall_score(labels.ravel(), predicted.ravel(), **zero),
            "OF1": sk.f1_score(labels.ravel(), predicted.ravel(), **zero),
            "CP": cp, "CR": cr, "CF1": of_means(cp, cr, 1), "CF2": of_means(cp, cr, 2), "macro_F1": np.mean(f1),
            **dict(zip(["example_precision", "example_recall", "example_F1", "example_F2"], map(np.mean, images))),
            **{f"example_F{beta}_of_means": of_means(*np.mean(images[:2], axis=1), beta) for beta in (1, 2)},
            "hamming_loss": sk.zero_one_loss(labels.ravel(), predicted.ravel()),
            "ranking_loss": np.mean([np.mean(row_values) if row_values else 0 for row_values in pairs]),
            "coverage": np.mean([max([np.sum(row >= score) for score in row[row_values == 1]], default=0)
                                 for row, row_values in zip(scores, labels)]),
            "one_error": np.mean([row_values[row.argmax()] == 0 for row, row_values in zip(scores, labels)]),
            "subset_accuracy": np.mean([(row_values == their).all() for row_values, their in zip(labels, predicted)]),
        }
        assert figures.keys() == expected.keys()
        for name, value in expected.items():
            assert figures[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
        if labels.shape[1] > 1:
            assert figures["ranking_loss"] == pytest.approx(sk.label_ranking_loss(labels, scores))
            assert figures["coverage"] == pytest.approx(sk.coverage_error(labels, scores))
        assert image_ranking_losses(scores, labels).mean() == pytest.approx(figures["ranking_loss"])

    fuzz(compare, examples, scored())
    record(examples=examples)


@lengths(25, 1500)
def test_single_label_metrics_against_loops(examples, record):
    def compare(example):
        scores, labels = example
        labels = np.eye(labels.shape[1], dtype=int)[labels.argmax(1)]
        true, found = labels.argmax(1), scores.argmax(1)
        figures = single_label_metrics(scores, labels)
        classes, number = sorted(set(true)), len(true)
        hits = {c: sum(true[found == c] == c) for c in classes}
        recalls = [hits[c] / sum(true == c) for c in classes]
        precisions = [hits[c] / sum(found == c) if sum(found == c) else 0 for c in classes]
        f1 = [2 * p * r / (p + r) if p + r else 0 for p, r in zip(precisions, recalls)]
        agreed = np.mean(true == found)
        chance = sum(np.mean(true == c) * np.mean(found == c) for c in range(labels.shape[1]))
        expected = {"accuracy": agreed, "average_accuracy": np.mean(recalls), "argmax_recall": np.mean(recalls),
                    "argmax_precision": np.mean(precisions), "argmax_F1": np.mean(f1),
                    "kappa": (agreed - chance) / (1 - chance) if chance < 1 else np.nan}
        for name, value in expected.items():
            assert figures[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
        if labels.shape[1] > 5:
            assert figures["top5"] == pytest.approx(np.mean([
                sum(row > row[c]) + sum(row[:c] == row[c]) < 5 for row, c in zip(scores, true)]))
        assert len(scores) == number

    fuzz(compare, examples, scored(least=2))
    record(examples=examples)


# Images

KINDS = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp"}


def broken_image(number: int, folder: Path) -> tuple[Path, np.ndarray | None, bool]:
    """A file, the pixels it had (None where they cannot be told any more), and whether it must be refused."""
    rng = random.Random(number)
    kind, how = rng.choice(list(KINDS)), rng.choice(["truncate", "flip", "suffix", "empty", "text", "whole"])
    mode = rng.choice(["RGB", "L", "RGBA"] if kind in ("PNG", "TIFF") else ["RGB", "L"])
    size = rng.randint(8, 60), rng.randint(8, 60)
    image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (*size, 4), dtype=np.uint8)).convert(mode)
    options = {"compression": rng.choice(["raw", "tiff_lzw", "tiff_adobe_deflate"])} if kind == "TIFF" else {}
    content = io.BytesIO()
    image.save(content, kind, **options)
    whole = content.getvalue()
    pixels = np.asarray(Image.open(content).convert("RGB"))
    suffix = rng.choice(list(KINDS.values())) if how == "suffix" else KINDS[kind]
    path = folder / f"{number}_{how}{suffix}"
    if how == "truncate":
        path.write_bytes(whole[:rng.randrange(1, len(whole) - 40)])
    elif how == "flip":
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3, 20])):
            damaged[rng.randrange(len(damaged)) if rng.random() < 0.5 else rng.randrange(100)] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
    else:
        path.write_bytes({"empty": b"", "text": whole.hex().encode()}.get(how, whole))
    return path, None if how == "flip" else pixels, how in ("truncate", "empty", "text")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@lengths(60, 1000)
def test_broken_images(examples, tmp_path, record):
    refused = altered = 0
    for number in range(examples):
        path, pixels, is_broken = broken_image(number, tmp_path)
        try:
            found = np.asarray(load_image(path))
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error) and (is_broken or pixels is None), path
            refused += 1
            continue
        assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3 and not is_broken, path
        altered += pixels is None
        assert pixels is None or (found == pixels).all(), path
    assert refused > examples / 5
    record(images=examples, refused=refused, decoded_with_flipped_bits=altered)
