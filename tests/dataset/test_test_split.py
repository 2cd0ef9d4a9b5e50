"""Which images a checkpoint is tested on: those of its run, and never those that it was trained on."""

import numpy as np
import pytest
from PIL import Image

from conftest import write_classes, write_image
from dataset import fingerprints
from programs import evaluate, fails, train, train_ucm

CLASSES = {"sea": 12, "sand": 12, "ship": 12}


def images_of_test(folder) -> set[str]:
    rows = (folder / "test_best" / "scores.csv").read_text().splitlines()[1:]
    return {row.split(",")[0].rsplit("/", 1)[-1].split(".")[0] for row in rows}


@pytest.fixture
def run(tmp_path):
    """A run on class folders whose test images the checkpoint alone knows: no split is on the disk."""
    write_classes(tmp_path / "images", CLASSES)
    folder = train("--dataset", "Custom", "--data_root", tmp_path / "images", "--work-dir", tmp_path / "runs",
                   "--max_epoch", 1, "--train_ratio", 0.5)
    evaluate("--weights_path", folder / "best.pth")
    return folder


def test_images_that_end_alike_differ(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    for row in range(2):
        pixels[0] = row
        Image.fromarray(pixels).save(tmp_path / f"{row}.tif")
    Image.fromarray(pixels).save(tmp_path / "again.tif")
    files = [tmp_path / name for name in ("0.tif", "1.tif", "again.tif")]
    digests = fingerprints(files)
    assert digests[0] != digests[1] == digests[2]
    assert len(set(fingerprints(files, like=["49292-0a1b2c3d"]))) == 1  # as older checkpoints recorded them


def test_tiles_without_data_do_not_block_a_test(tmp_path, capsys):
    """Two thirds of the images are black: in training, validation and test."""
    for name in CLASSES:
        for number in range(12):
            write_image(tmp_path / "images" / name / f"{name}_{number}.png", number)
            if number % 3:
                Image.new("RGB", (64, 72)).save(tmp_path / "images" / name / f"{name}_{number}.png")
    folder = train("--dataset", "Custom", "--data_root", tmp_path / "images", "--work-dir", tmp_path / "runs",
                   "--max_epoch", 1, "--train_ratio", 0.5)
    assert evaluate("--weights_path", folder / "best.pth")["images"] == 18
    assert "of the 18 test images, or duplicates of them, were trained or validated on" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["more", "another format", "some in another format", "fewer trained", "moved",
                                    "some in another format, moved"])
def test_the_test_images_are_those_of_the_run(run, tmp_path, capsys, change):
    before, images = images_of_test(run), tmp_path / "images"
    where = []
    if change == "more":
        write_classes(images, {**dict.fromkeys(CLASSES, 20), "another": 3})
    elif "another format" in change:
        for file in sorted(images.rglob("*.jpg"))[::2 if "some" in change else 1]:
            Image.open(file).save(file.with_suffix(".png"))
            file.unlink()
    elif change == "fewer trained":
        for line in (run / "train.txt").read_text().splitlines()[::2]:
            (images / line.rsplit(" ", 1)[0]).unlink()
    if "moved" in change:
        where = ["--data_root", images.rename(tmp_path / "elsewhere")]
    capsys.readouterr()
    evaluate("--weights_path", run / "best.pth", *where)
    assert images_of_test(run) == before
    warnings = capsys.readouterr().err
    assert ("the content of 18 test images" in warnings) == (change == "another format")
    assert ("test images" in warnings) == ("another format" in change)


def test_converted_images_in_other_folders_are_warned_of(run, tmp_path, capsys):
    for file in (tmp_path / "images").rglob("*.jpg"):
        (tmp_path / "deeper" / "v2" / file.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(file).save(tmp_path / "deeper" / "v2" / file.parent.name / f"{file.stem}.png")
    evaluate("--weights_path", run / "best.pth", "--data_root", tmp_path / "deeper")
    error = capsys.readouterr().err
    assert "though some file names are the same" in error and "If these were converted, name the images" in error


def test_missing_test_images_are_named(run, tmp_path, capsys):
    names = sorted(images_of_test(run))[:2]
    for name in names:
        next((tmp_path / "images").rglob(f"{name}.jpg")).unlink()
    error = fails(capsys, evaluate, "--weights_path", run / "best.pth")
    assert "2 test images (" in error and all(name in error for name in names) and "--test_dir" in error


def test_a_copy_that_is_not_whole_is_other_data(run, tmp_path, capsys):
    name = min(images_of_test(run))
    next((tmp_path / "images").rglob(f"{name}.jpg")).unlink()
    capsys.readouterr()
    assert evaluate("--weights_path", run / "best.pth", "--data_root", (tmp_path / "images").rename(tmp_path / "copy"))
    assert name not in images_of_test(run)
    assert f"1 test image (sand/{name}.jpg) of this checkpoint's run cannot be found" in capsys.readouterr().err


def test_a_training_image_of_a_test_images_name_is_not_tested(run, tmp_path, capsys):
    name, images = min(images_of_test(run)), tmp_path / "images"
    trained = (images / (run / "train.txt").read_text().splitlines()[0].rsplit(" ", 1)[0]).read_bytes()
    image = next(images.rglob(f"{name}.jpg"))
    image.with_suffix(".png").write_bytes(trained)
    image.unlink()
    assert f"{name}.jpg) of this checkpoint's run cannot" in fails(capsys, evaluate, "--weights_path", run / "best.pth")


def test_new_labels_of_test_images_are_said(ucm, capsys):
    folder = train_ucm(ucm, "--max_epoch", 1)
    evaluate("--weights_path", folder / "best.pth")
    assert "changed since" not in capsys.readouterr().err
    table = ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt"
    name, *cells = next(line for line in table.read_text().split("\n") if line.startswith("river80")).split("\t")
    changed = "\t".join([name, str(1 - int(cells[0])), *cells[1:]])
    table.write_text(table.read_text().replace("\t".join([name, *cells]), changed))
    evaluate("--weights_path", folder / "best.pth")
    error = capsys.readouterr().err
    assert "the labels of 1 test image (" in error and "river80.tif" in error and "the new ones are used" in error


def test_new_classes_of_test_images_in_a_list_are_said(run, tmp_path, capsys):
    lines = (run / "test.txt").read_text().splitlines()
    name = lines[0].rsplit(" ", 1)[1]
    other = next(line.rsplit(" ", 1)[1] for line in lines if not line.endswith(f" {name}"))
    (tmp_path / "new.txt").write_text("\n".join([lines[0].replace(f" {name}", f" {other}"), *lines[1:]]))
    evaluate("--weights_path", run / "best.pth", "--test_dir", tmp_path / "new.txt")
    assert "the labels of 1 test image (" in capsys.readouterr().err


def test_the_list_of_a_run_on_other_data_is_refused(run, tmp_path, capsys):
    write_classes(tmp_path / "others", CLASSES)
    other = train("--dataset", "Custom", "--data_root", tmp_path / "others", "--work-dir", tmp_path / "runs", "--max_epoch", 1)
    error = fails(capsys, evaluate, "--weights_path", run / "best.pth", "--test_dir", other)
    assert f"test.txt is the list of a run on other data than the checkpoint's: add --dataset Custom --data_root " \
           f"{tmp_path / 'others'}" in error
    evaluate("--weights_path", run / "best.pth", "--test_dir", run)


def test_a_list_of_the_run_that_is_gone(run, tmp_path, capsys):
    (tmp_path / "list.txt").write_text((run / "test.txt").read_text())
    folder = train("--dataset", "Custom", "--data_root", tmp_path / "images", "--work-dir", tmp_path / "more", "--max_epoch", 1,
                   "--train_dir", run / "train.txt", "--test_dir", tmp_path / "list.txt")
    (tmp_path / "list.txt").unlink()
    error = fails(capsys, evaluate, "--weights_path", folder / "best.pth")
    assert "list.txt, which this checkpoint's run tested, does not exist: name the images to test with --test_dir, as in" in error
    evaluate("--weights_path", folder / "best.pth", "--test_dir", folder)


def test_a_run_is_resumed_in_its_own_split(run, tmp_path):
    write_classes(tmp_path / "images", dict.fromkeys(CLASSES, 20))
    train_list = (run / "train.txt").read_bytes()
    assert train("--resume", run, "--max_epoch", 2) == run
    assert (run / "train.txt").read_bytes() == train_list and len((run / "log.csv").read_text().splitlines()) == 3
    before = images_of_test(run)
    evaluate("--weights_path", run / "last.pth", "--save_path", run / "test_best")
    assert images_of_test(run) == before
