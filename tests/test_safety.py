"""Files from elsewhere run no code, fill no memory, lead to no other files, and are no formulas in a spreadsheet."""

import csv
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from conftest import random_labels, unicode_names, write_image, write_table
from dataset import cached_images, images_at, load_data, load_image, read_image_list, read_label_table
from programs import evaluate, fails, train, train_ucm
from utils.errors import InputError
from utils.run.atomic import write_csv


class Malicious:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_file_runs_code(ucm, tmp_path, capsys):
    """Each way of writing the trap, and a reading that would spring it."""
    folder, images = train_ucm(ucm), sorted(ucm.rglob("*.tif"))[:3]
    bad, trap, cache = tmp_path / "bad.pth", tmp_path / "trap", tmp_path / "cache"
    cached_images(images, 64, cache)
    file, = cache.glob("*.cache")
    for write, spring in [
            (lambda value: torch.save(value, bad), lambda: torch.load(bad, weights_only=False)),
            (lambda value: torch.save({"state_dict": {}, "label_names": ["a"], "args": value}, bad),
             lambda: torch.load(bad, weights_only=False)),
            (lambda value: torch.save(value, bad, _use_new_zipfile_serialization=False),
             lambda: torch.load(bad, weights_only=False)),
            (lambda value: bad.write_bytes(pickle.dumps(value)), lambda: pickle.loads(bad.read_bytes())),
            (lambda value: np.array([value], dtype=object).dump(bad), lambda: np.load(bad, allow_pickle=True))]:
        write(Malicious(trap))
        assert str(bad) in fails(capsys, evaluate, "--weights_path", bad)
        assert str(bad) in fails(capsys, train_ucm, ucm, "--pretrained", "imagenet", "--pretrained_path", bad)
        (folder / "last.pth").write_bytes(bad.read_bytes())
        assert "last.pth is not a readable" in fails(capsys, train, "--resume", folder)
        file.write_bytes(bad.read_bytes())
        assert cached_images(images, 64, cache)(images[0]).shape == (64, 64, 3)  # is written anew
        assert not trap.exists()
        spring()
        trap.rmdir()


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that says so, and a few of its rows."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b""))


def test_decompression_bombs_are_refused(ucm, tmp_path, capsys):
    bmp = b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
    for name, content in (("wide.png", png_header(60000, 60000)), ("wide.bmp", bmp)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} cannot be decoded .*decompression bomb"):
            load_image(tmp_path / name)
        with pytest.raises(InputError, match=name):
            cached_images([tmp_path / name], 64, tmp_path / "cache")
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 10**8, zip=True)
    Image.new("L", (8, 8)).save(tmp_path / "text.png", pnginfo=text)
    assert (tmp_path / "text.png").stat().st_size < 10**6
    with pytest.raises(InputError, match="text.png cannot be decoded"):
        load_image(tmp_path / "text.png")
    for path in ucm.rglob("river*.tif"):
        path.write_bytes(png_header(60000, 60000))
    assert "decompression bomb" in fails(capsys, train_ucm, ucm)


def test_no_other_program_is_started_for_an_image(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")  # Pillow would give it to Ghostscript
    with pytest.raises(InputError, match="unknown image format"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("line", ["../secret.png", "a/../../secret.png", "images/../../secret.png x", "..//secret.png"])
def test_lists_do_not_lead_out_of_their_folder(tmp_path, line):
    root = tmp_path / "root"
    write_image(tmp_path / "secret.png", 1)
    write_image(root / "images" / "b.png", 2)
    (root / "l.txt").write_text(f"images/b.png\n{line}\n")
    with pytest.raises(InputError, match="l.txt, line 2: .* leaves the folder"):
        load_data("Custom", root, {"test": root / "l.txt"})
    (root / "l.txt").write_text(f"images/b.png\n{root / '..' / 'secret.png'}\n")  # openly
    assert len(load_data("Custom", root, {"test": root / "l.txt"}).splits["test"].images) == 2


NASTY = ["=1+1", "@x", "../../evil", "+a/b", "-2+3", "<script>alert(1)</script>"]


@pytest.mark.parametrize("single_label", [False, True])
def test_names_that_are_paths_and_formulas(tmp_path, single_label):
    """Through training and all that a test writes."""
    root = tmp_path / "images"
    keys = [f"{'=' * (number % 2)}b{number:02d}" for number in range(36)]
    for seed, key in enumerate(keys):
        write_image(root / f"{key}.png", seed)
    if single_label:
        (root / "labels.csv").write_text("image,label\n" + "".join(
            f"{key},{NASTY[number % 6]}\n" for number, key in enumerate(keys)))
    else:
        labels = np.hstack([random_labels(36), np.eye(36, 2, dtype=int)])
        write_table(root / "labels.csv", keys, labels)
        header, *rows = (root / "labels.csv").read_text(encoding="utf-8").splitlines()
        (root / "labels.csv").write_text("\n".join([",".join(["image", *NASTY]), *rows]))
    folder = train("--dataset", "Custom", "--data_root", root, "--work-dir", tmp_path / "deep" / "runs", "--max_epoch",
                   1)
    evaluate("--weights_path", folder / "best.pth", "--report", 2, "--show_gradcam", 1, "--show_predictions", 1,
             "--formats", "png")
    evaluate("--weights_path", folder / "best.pth", "--images", root)
    assert {path.name for path in tmp_path.iterdir()} == {"images", "deep"}
    assert {path.name for path in (tmp_path / "deep").rglob("*")} & {"evil", "b"} == set()
    tables = list(folder.rglob("*.csv"))
    assert len(tables) == 4 + single_label
    for table in tables:
        with open(table, newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+")) or cell == "-2+3"], table
        assert any("=1+1" in cell for cell in cells) or table.name == "log.csv"
    assert "<script>alert" not in next(folder.rglob("report.html")).read_text(encoding="utf-8")


def test_formulas_are_text_and_numbers_are_numbers(tmp_path):
    rows = [["=a", "+1+1", "-x", "@b", "\tc", "'d", "e=f", ""], [-0.5, "-0.5", "1e-3", 3, None, "nan", "+5", "- 5"]]
    write_csv(tmp_path / "t.csv", rows)
    with open(tmp_path / "t.csv", newline="") as file:
        assert list(csv.reader(file)) == [["'=a", "'+1+1", "'-x", "'@b", "'\tc", "'d", "e=f", ""],
                                          ["-0.5", "-0.5", "1e-3", "3", "", "nan", "+5", "'- 5"]]


@unicode_names
@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31m.png", os.fsdecode(b"a\xff.png"), "a\u2028b.png"])
def test_file_names_that_lists_and_terminals_would_not_survive(tmp_path, name):
    for number in range(3):
        write_image(tmp_path / "Custom" / "sea" / f"{number}.png", number)
        write_image(tmp_path / "Custom" / "sand" / f"{number}.png", number + 3)
    (tmp_path / "Custom" / "sea" / "0.png").rename(tmp_path / "Custom" / "sea" / name)
    with pytest.raises(InputError, match=r"the file name '.*' has a line break or another control character") as error:
        load_data("Custom", tmp_path)
    assert str(error.value).isascii() and "\n" not in str(error.value)


    with pytest.raises(InputError, match="the file name"):
        images_at([tmp_path / name])


@pytest.mark.parametrize("table, message", [
    ('image,"a\nb"\nx,1\n', "line 2: the cell 'a.nb' has a line break"),
    ("image,a\nx\x1b,1\n", "line 2: the cell"), ("image,labels\nx,a\x00b\n", "line 2: the cell"),
    ("image,a\nx,1\n,0\n", "line 3 .*: the first cell names no image")])
def test_tables_with_names_that_are_none(tmp_path, table, message):
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        read_label_table(tmp_path / "t.csv")


def test_a_list_with_a_class_that_is_no_name(tmp_path):
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "l.txt").write_text("a.png se\x1ba\n")
    with pytest.raises(InputError, match="line 1: the name 'se.x1ba' has a line break or another control"):
        read_image_list(tmp_path / "l.txt", [tmp_path])


def test_a_table_with_tabs_below_an_empty_line(tmp_path):
    (tmp_path / "t.tsv").write_text("\nimage\ta\tb\nx\t0\t1\n")
    assert read_label_table(tmp_path / "t.tsv").names == ["a", "b"]


def test_two_images_of_one_name_are_no_coin_toss(ucm, capsys):
    images = ucm / "UCM_Multilabel" / "UCMerced_LandUse" / "Images"
    write_image(images / "forest" / "river00.tif", 77)
    error = fails(capsys, train_ucm, ucm)
    assert str(images / "forest" / "river00.tif") in error and str(images / "river" / "river00.tif") in error


def test_a_change_that_keeps_size_and_time_is_noticed_by_the_cache(tmp_path):
    image = tmp_path / "a.bmp"
    write_image(image, 1)
    before = image.stat()
    first = np.array(cached_images([image], 64, tmp_path / "cache")(image))
    write_image(image, 2)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert image.stat().st_size == before.st_size and image.stat().st_mtime_ns == before.st_mtime_ns
    assert not np.array_equal(cached_images([image], 64, tmp_path / "cache")(image), first)
