"""The decoded-image cache: the same pixels and the same training as without it, and no stale, partial or lost ones."""

import os
import pickle
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import write_classes, write_image
from dataset import (
    ImageDataset,
    Split,
    build_loader,
    cached_images,
    eval_transform,
    fingerprints,
    load_image,
    train_transform,
)
from dataset.image_cache import ImageCache
from programs import fails, same_training, train, train_ucm
from utils.errors import InputError


@pytest.fixture
def images(tmp_path):
    """Images of different sizes, formats and modes."""
    paths = [tmp_path / "images" / name for name in ("b c.png", "a.jpg", "d.tif", os.fsdecode("é.png".encode()))]
    for seed, path in enumerate(paths):
        write_image(path, seed, (40 + 3 * seed, 33 + seed))
    Image.open(paths[3]).convert("L").save(paths[3])
    return paths


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "lock") if folder.exists() else []


@pytest.mark.parametrize("image_size", [64, None])
def test_pixels_are_those_of_the_files(images, tmp_path, image_size, capsys):
    load = cached_images([images[2], *images], image_size, tmp_path / "cache")
    printed = capsys.readouterr().out
    size = sum(3 * image_size**2 if image_size else 3 * np.prod(Image.open(path).size) for path in images)
    file, = (tmp_path / "cache").glob("*.cache")
    assert f"decoding 4 images once, {size / 1e6:.2f} MB" in printed and str(file) in printed
    assert size < file.stat().st_size < size + 1000
    for path in images:
        for transform in (eval_transform(64), train_transform(64), train_transform(64, single_label=True)):
            if image_size and transform.transforms[0].__class__.__name__ == "RandomResizedCrop":
                continue  # needs the whole image
            torch.manual_seed(0)
            expected = transform(load_image(path))
            torch.manual_seed(0)
            assert torch.equal(transform(load(path)), expected)
    written = file.read_bytes()
    cached_images(images, image_size, tmp_path / "cache")
    printed = capsys.readouterr().out
    assert "decoding" not in printed and "4 images" in printed and file.read_bytes() == written


@pytest.mark.parametrize("workers", [0, 2])
def test_every_process_maps_the_file(images, tmp_path, workers):
    load = cached_images(images, 64, tmp_path / "cache")
    split = Split(images, np.eye(4, dtype=np.uint8))
    loader = build_loader(ImageDataset(split, eval_transform(64), load), 3, workers, torch.device("cpu"))
    plain = build_loader(ImageDataset(split, eval_transform(64)), 3, 0, torch.device("cpu"))
    assert isinstance(load.__self__._pixels, np.memmap)
    for (cached, cached_labels), (decoded, labels) in zip(loader, plain, strict=True):
        assert torch.equal(cached, decoded) and torch.equal(cached_labels, labels)
    sent = pickle.dumps(load)  # as to a worker that is not forked
    assert len(sent) < 1000 and pickle.loads(sent)(images[0]).shape == (64, 64, 3)


def test_changed_images_and_other_lists_are_noticed(images, tmp_path, capsys):
    folder = tmp_path / "cache"
    cached_images(images, 64, folder)
    cached_images(images, 32, folder)
    cached_images(images[:3], 64, folder)
    cached_images(list(reversed(images)), 64, folder)  # the same
    assert len(files(folder)) == 3
    write_image(images[1], 9, (43, 34))
    capsys.readouterr()
    load = cached_images(images, 64, folder)
    assert "decoding 4 images" in capsys.readouterr().out and len(files(folder)) == 4
    assert torch.equal(eval_transform(64)(load(images[1])), eval_transform(64)(load_image(images[1])))
    os.utime(images[0], ns=(1, 1))  # another time of change, the same bytes
    cached_images(images, 64, folder)
    assert "decoding" not in capsys.readouterr().out and len(files(folder)) == 4
    write_image(images[0], 10, (44, 33))  # other bytes, the same time
    os.utime(images[0], ns=(1, 1))
    cached_images(images, 64, folder)
    assert "decoding 4 images" in capsys.readouterr().out and len(files(folder)) == 5
    copies = [Path(shutil.copy(image, tmp_path / f"copy{number}")) for number, image in enumerate(images)]
    load = cached_images(copies, 64, folder)
    assert "decoding" not in capsys.readouterr().out and len(files(folder)) == 5
    assert torch.equal(eval_transform(64)(load(copies[1])), eval_transform(64)(load_image(images[1])))
    images[2].unlink()
    with pytest.raises(InputError, match=r"image .*d\.tif cannot be read \(No such file"):
        cached_images(images, 64, folder)


@pytest.mark.parametrize("damage", [
    lambda whole: whole[:-1], lambda whole: whole + b"1", lambda whole: whole[:50], lambda whole: b"",
    lambda whole: b"{}\n" + whole, lambda whole: b"\xff" * 99,
    lambda whole: b'[["a", 1]]\n' + whole])
def test_a_damaged_file_is_written_anew(images, tmp_path, capsys, damage):
    cached_images(images, 64, tmp_path / "cache")
    file, = (tmp_path / "cache").glob("*.cache")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    load = cached_images(images, 64, tmp_path / "cache")
    assert f"image cache {file} is damaged" in capsys.readouterr().err
    assert file.read_bytes() == whole and load(images[0]).shape == (64, 64, 3)


@pytest.mark.parametrize("name, value", [("PIL.__version__", "0"), ("torchvision.__version__", "0"), ("_FORMAT", 0)])
def test_another_version_has_another_file(images, tmp_path, monkeypatch, name, value):
    cached_images(images, 64, tmp_path / "cache")
    monkeypatch.setattr(f"dataset.image_cache.{name}", value)
    cached_images(images, 64, tmp_path / "cache")
    assert len(files(tmp_path / "cache")) == 2


def test_runs_that_start_together_decode_once(images, tmp_path, capsys):
    with ThreadPoolExecutor(3) as pool:
        loads = list(pool.map(lambda _: cached_images(images, 64, tmp_path / "cache"), range(3)))
    assert capsys.readouterr().out.count("decoding") == 1 and len(files(tmp_path / "cache")) == 1
    assert all(load(images[0]).shape == (64, 64, 3) for load in loads)


def test_what_a_killed_run_leaves_is_written_over(images, tmp_path):
    cached_images(images, 64, tmp_path / "cache")
    name, = files(tmp_path / "cache")
    left = (tmp_path / "cache" / name).rename(tmp_path / "cache" / f"{name}.0.partial")
    os.utime(left, (0, 0))
    assert cached_images(images, 64, tmp_path / "cache") is not load_image and files(tmp_path / "cache") == [name]


@pytest.mark.parametrize("image_size", [64, None])
def test_order_with_more_images_than_are_decoded_at_a_time(tmp_path, monkeypatch, image_size):
    monkeypatch.setattr("dataset.image_cache.cores", lambda: 1)
    images = [tmp_path / "images" / f"{seed}.png" for seed in range(9)]
    for seed, path in enumerate(images):
        write_image(path, seed, (20 + seed, 30))
    load = cached_images(images, image_size, tmp_path / "cache")
    for path in images:
        assert torch.equal(eval_transform(64)(load(path)), eval_transform(64)(load_image(path)))


def test_an_image_that_is_replaced_meanwhile(images, tmp_path, monkeypatch):
    monkeypatch.setattr("dataset.image_cache.read_size", lambda path: (40, 33))
    with pytest.raises(InputError, match="changed while the cache was written"):
        cached_images(images, None, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_an_image_that_cannot_be_decoded_leaves_nothing_behind(images, tmp_path):
    images[1].write_bytes(images[1].read_bytes()[:200])
    for image_size in (64, None):
        with pytest.raises(InputError, match=r"a\.jpg cannot be decoded"):
            cached_images(images, image_size, tmp_path / "cache")
        assert files(tmp_path / "cache") == []


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("trouble, message", [
    (("dataset.image_cache.shutil.disk_usage", lambda folder: Usage(100, 50, 50)), "0.00 MB are free there"),
    (("dataset.image_cache._available_memory", lambda: 50), "0.00 MB of memory are available"),
    (("utils.run.atomic.os.fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device"))),
     "No space left on device"),
    (("utils.run.atomic.os.replace", lambda *paths: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))),
     "Permission denied"),
])
def test_without_room_images_are_decoded_in_every_epoch(images, tmp_path, monkeypatch, capsys, trouble, message):
    monkeypatch.setattr(*trouble)
    assert cached_images(images, 64, tmp_path / "cache") is load_image
    error = capsys.readouterr().err
    assert message in error and "images are decoded in every epoch" in error and "Traceback" not in error
    assert files(tmp_path / "cache") == []


def test_a_cache_in_a_folder_to_read_only_is_used(images, tmp_path, monkeypatch, capsys):
    cached_images(images, 64, tmp_path / "cache")

    def only_read(file, mode="r"):
        if "w" in mode:
            raise PermissionError(13, "Permission denied")
        return open(file, mode)

    for module in ("dataset.image_cache", "utils.run.atomic"):
        monkeypatch.setattr(f"{module}.open", only_read, raising=False)
    assert cached_images(images, 64, tmp_path / "cache") is not load_image
    assert cached_images(images, 32, tmp_path / "cache") is load_image
    assert "Permission denied" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(images, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(InputError, match="for the image cache cannot be made .*; choose another with --cache DIR"):
            cached_images(images, 64, folder)


def test_memory_is_what_the_system_reports(tmp_path, monkeypatch):
    from dataset.image_cache import _available_memory
    if os.path.exists("/proc/meminfo"):
        assert 0 < _available_memory() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr("dataset.image_cache.Path", lambda name: tmp_path / name.replace("/", "_"))
    assert _available_memory() == float("inf")
    (tmp_path / "_proc_meminfo").write_text("MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:  3000 kB\n")
    assert _available_memory() == 3000 * 1024


def test_training_is_the_same_with_a_cache_and_with_workers(ucm, capsys):
    plain = train_ucm(ucm)
    cached = train_ucm(ucm, "--cache")
    with_workers = train_ucm(ucm, "--cache", ucm.parent / "elsewhere", "--num_workers", "2")
    assert same_training(plain, cached) and same_training(plain, with_workers)
    different = train_ucm(ucm, "--seed", "1")
    assert not same_training(plain, different)
    assert [len(files(folder)) for folder in (ucm.parent / "runs" / "image_cache", ucm.parent / "elsewhere")] == [1, 1]
    assert "decoding 24 images once" in capsys.readouterr().out  # not those of the test


def test_single_label_training_is_the_same_with_a_cache(tmp_path):
    write_classes(tmp_path / "AID", {"Airport": 10, "Pond": 10})
    options = ("--dataset", "AID", "--data_root", tmp_path, "--work-dir", tmp_path / "runs", "--train_ratio", "0.5")
    plain, cached = train(*options), train(*options, "--cache")
    assert same_training(plain, cached)
    file, = (tmp_path / "runs" / "image_cache").glob("*.cache")
    image = tmp_path / "AID" / (cached / "train.txt").read_text().split(" ")[0]
    cache = ImageCache(file, {image: fingerprints([image])[0]})
    assert file.name.startswith("original_") and cache.load(image).size == (56, 48)


def test_a_cache_among_the_images_is_refused(ucm, capsys):
    error = fails(capsys, train, "--dataset", "UCM_Multilabel", "--data_root", ucm, "--work-dir", ucm.parent / "runs",
                  "--cache", ucm / "UCM_Multilabel" / "cache")
    assert "lies inside the data set" in error and "--cache folder" in error


def test_with_list_files_nothing_is_searched_and_a_cache_may_lie_anywhere(ucm):
    run = train_ucm(ucm)
    train_ucm(ucm, "--train_dir", run / "train.txt", "--val_dir", run / "val.txt",
              "--cache", ucm / "UCM_Multilabel" / "cache")
    assert len(files(ucm / "UCM_Multilabel" / "cache")) == 1
