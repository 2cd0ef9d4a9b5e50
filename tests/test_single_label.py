"""Single-label data, one's own data and predictions end to end, from the command line's arguments to the files."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import Test
import Train
from conftest import DPI, read_scores, unicode_names, write_classes
from dataset import train_transform
from programs import evaluate, fails, train
from utils.metrics import confusions, multilabel_metrics, single_label_metrics

SCENES = ["Airport", "BareLand", "Pond", "River"]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_classes(root / "AID", dict.fromkeys(SCENES, 20))
    return root


@pytest.fixture(scope="module", params=["r4c", "ce"])
def trained(request, data_root):
    return train("--dataset", "AID", "--data_root", data_root, "--work-dir", data_root / "runs", "--loss",
                 request.param, "--train_ratio", "0.5", "--label_num", "4")


def write_others(root, counts):
    """As write_classes, but other images."""
    write_classes(root, counts)
    for image in root.rglob("*.jpg"):
        Image.open(image).transpose(Image.Transpose.ROTATE_90).save(image)


def test_accuracy_selects_and_is_logged(trained):
    with open(trained / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    accuracies = [float(row["val_accuracy"]) for row in rows]
    best = torch.load(trained / "best.pth", weights_only=True)
    assert best["best_score"] == pytest.approx(max(accuracies), abs=1e-5)
    assert best["epoch"] == (2 if accuracies[1] >= accuracies[0] else 1)  # a tie keeps the later epoch
    assert best["single_label"] and best["label_names"] == SCENES
    assert json.loads((trained / "args.json").read_text())["args"]["train_ratio"] == 0.5
    assert [len((trained / f"{split_name}.txt").read_text().splitlines()) for split_name in ("train", "val", "test")] == [36, 4, 40]


def test_report_and_its_files(trained, capsys):
    report = evaluate("--weights_path", trained / "best.pth", "--device", "cpu")
    printed = capsys.readouterr().out
    scores, labels = read_scores(trained / "test_best", SCENES)
    assert report["images"] == 40 and report["single_label"]["top5"] is None  # four classes
    assert {**report["single_label"], "top5": 0} == pytest.approx({**single_label_metrics(scores, labels), "top5": 0})
    assert report["metrics"] == pytest.approx(multilabel_metrics(scores, labels))
    assert f"overall accuracy (OA)           {100 * report['single_label']['accuracy']:12.2f}" in printed
    with open(trained / "test_best" / "confusion.csv", newline="") as file:
        table = [row[1:] for row in csv.reader(file)][1:]
    np.testing.assert_array_equal(np.array(table, int), confusions(scores, labels))
    with Image.open(trained / "test_best" / "confusion.png") as shown_image:
        assert min(shown_image.size) > 1.5 * DPI
    sums = scores.sum(1)  # a softmax after cross-entropy, and a sigmoid of each class after the ranking
    assert np.allclose(sums, 1, atol=1e-5) == ("_ce_" in trained.name)


def test_the_lists_of_a_run_give_its_split_again(trained, data_root):
    report = evaluate("--weights_path", trained / "best.pth", "--save_path", trained / "a")
    again = evaluate("--weights_path", trained / "best.pth", "--test_dir", trained / "test.txt", "--save_path",
                     trained / "b")
    assert report["metrics"] == again["metrics"] and report["single_label"] == again["single_label"]
    val = evaluate("--weights_path", trained / "best.pth", "--test_dir", trained / "val.txt")
    best = torch.load(trained / "best.pth", weights_only=True)["best_score"]
    assert val["single_label"]["accuracy"] == pytest.approx(best, abs=1e-6)


@unicode_names
def test_predictions_on_images(trained, data_root, tmp_path, capsys):
    loose = tmp_path / "loose é.png"
    Image.new("RGB", (300, 40), "blue").save(loose)
    assert Test.main(["--weights_path", str(trained / "best.pth"), "--images", str(data_root / "AID" / "Pond"),
                      str(loose), str(loose), "--save_path", str(tmp_path / "out"), "--device", "cpu"]) is None
    with open(tmp_path / "out" / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 21 and rows[20]["image"] == str(loose)
    scores = np.array([[float(row[name]) for name in SCENES] for row in rows])
    assert [row["labels"] for row in rows] == [SCENES[column] for column in scores.argmax(1)]
    evaluate("--weights_path", trained / "best.pth", "--save_path", tmp_path / "test")
    with open(tmp_path / "test" / "scores.csv", newline="") as file:
        tested = dict(zip((row["image"] for row in csv.DictReader(file)), read_scores(tmp_path / "test", SCENES)[0]))
    common = [row["image"] in tested for row in rows]
    assert sum(common) >= 5  # the same scores as in the test
    np.testing.assert_allclose(scores[common], [tested[row["image"]] for row in rows if row["image"] in tested],
                               atol=1e-5)
    (tmp_path / "none").mkdir()
    for path, message in [(tmp_path / "nowhere", "there is no image or folder"), ("", "--images has an empty value"),
                           (tmp_path / "none", "no images (.jpg"),
                           (trained / "log.csv", "log.csv cannot be decoded (unknown image format)"),
                           (trained / "log.csv", "can be read; list files are for --test_dir")]:
        assert message in fails(capsys, evaluate, "--weights_path", trained / "best.pth", "--images", path)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_do_not_stop_a_prediction(trained, data_root, tmp_path, capsys, workers):
    shutil.copytree(data_root / "AID" / "Pond", tmp_path / "new")
    broken = sorted((tmp_path / "new").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(SystemExit) as stop:
        evaluate("--weights_path", trained / "best.pth", trained / "last.pth", "--images", tmp_path / "new",
                 "--save_path", tmp_path / "out", "--num_workers", workers, "--show_predictions", 2, "--formats", "png")
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert workers or f"warning: image {broken} cannot be decoded" in error  # a worker's is not captured
    assert f"skipped 1 unreadable image ({broken})" in error
    for file in sorted((tmp_path / "out").rglob("predictions.csv")):
        with open(file, newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == 20 and all(row["Pond"] for row in rows[:-1])
        assert rows[-1] == {"image": str(broken), **dict.fromkeys(["labels", *SCENES], ""), "error": "unreadable"}
    assert file.parent.name.startswith("2_") and list((tmp_path / "out").glob("predictions_1.png"))


def test_trained_images_are_not_tested_on(tmp_path, capsys):
    write_classes(tmp_path / "AID", dict.fromkeys(SCENES, 10))
    folder = train("--dataset", "AID", "--data_root", tmp_path, "--work-dir", tmp_path / "runs", "--max_epoch", "1",
                   "--train_ratio", "0.5")
    write_classes(tmp_path / "AID", dict.fromkeys(SCENES, 12))
    weights = ["--weights_path", folder / "best.pth"]
    (tmp_path / "deeper" / "AID").mkdir(parents=True)
    (tmp_path / "deeper" / "AID" / "AID").symlink_to(tmp_path / "AID")
    assert evaluate(*weights)["images"] == 20  # though images were added: those of the run
    for second in (["--dataset", "Custom", "--data_root", tmp_path / "AID"],  # another split
                   ["--data_root", tmp_path / "deeper"]):  # another depth
        assert evaluate(*weights, *second)["images"] == 28
        assert "20 of the 48 images of" in capsys.readouterr().err
    assert evaluate(*weights, "--test_dir", folder / "test.txt")["images"] == 20
    assert "warning" not in capsys.readouterr().err
    assert "all 16 test images of" in fails(capsys, evaluate, *weights, "--test_dir", folder / "train.txt")
    assert evaluate(*weights, "--test_dir", folder / "val.txt")["images"] == 4
    assert "4 of the 4 test images, or duplicates of them, were trained or validated on" in capsys.readouterr().err
    # Other images are all tested on: none of them is needed for training.
    write_others(tmp_path / "other", dict.fromkeys(SCENES[1:], 1))  # of the same names
    assert evaluate(*weights, "--dataset", "Custom", "--data_root", tmp_path / "other")["images"] == 3


def test_other_images_after_lists(data_root, trained, tmp_path, capsys):
    folder = train("--dataset", "AID", "--data_root", data_root, "--work-dir", tmp_path / "runs", "--max_epoch", "1",
                   *(f"--{split_name}_dir={trained / split_name}.txt" for split_name in ("train", "val", "test")))
    weights = ["--weights_path", folder / "best.pth"]
    for same_files in ([], ["--data_root", data_root]):
        assert evaluate(*weights, *same_files)["images"] == 40
    write_others(tmp_path / "others" / "AID", dict.fromkeys(SCENES, 2))
    assert evaluate(*weights, "--data_root", tmp_path / "others")["images"] == 8
    assert "none of its 8 files was trained or validated on" in capsys.readouterr().out
    # With folders for a split, the test folder is the test; the training's --train_ratio is none of its business.
    (tmp_path / "others" / "AID").rename(tmp_path / "test")
    (tmp_path / "others" / "AID").mkdir()
    (tmp_path / "test").rename(tmp_path / "others" / "AID" / "test")
    write_classes(tmp_path / "others" / "AID" / "train", dict.fromkeys(SCENES, 1))
    assert evaluate("--weights_path", trained / "best.pth", "--data_root", tmp_path / "others")["images"] == 8
    error = fails(capsys, evaluate, *weights, "--data_root", tmp_path / "others", "--save_path",
                  tmp_path / "others" / "AID" / "results")
    assert "results lies inside the data set" in error
    # A bare state dict knows nothing of the split.
    torch.save(torch.load(folder / "best.pth")["state_dict"], tmp_path / "bare.pth")
    error = fails(capsys, evaluate, "--weights_path", tmp_path / "bare.pth", "--model", "Small", "--label_num", 4,
                  "--dataset", "AID", "--data_root", data_root)
    assert "does not record which images it was trained on" in error and "--test_dir" in error


def test_own_table_from_training_to_predictions(tmp_path, capsys):
    root = tmp_path / "my images"
    write_classes(root, {"a": 12, "b": 12})
    rows = [f"{path.name},{'sea;sand' if path.parent.name == 'a' else 'wood'}\n" for path in root.rglob("*.jpg")]
    table = tmp_path / "labels of mine.csv"
    table.write_text("image,labels\n" + "".join(sorted(rows)))
    folder = train("--dataset", "Custom", "--data_root", root, "--label_path", table, "--work-dir", tmp_path,
                   "--max_epoch", "1")
    error = fails(capsys, train, "--dataset", "Custom", "--data_root", root, "--work-dir", root / "a" / "runs")
    assert "runs lies inside the data set" in error
    assert "train_feature" in (folder / "log.csv").read_text()
    assert evaluate("--weights_path", folder / "best.pth")["per_label"].keys() == {"sand", "sea", "wood"}
    evaluate("--weights_path", folder / "best.pth", "--images", root / "a")
    with open(folder / "images_best" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["labels"] for row in rows] == [
        ";".join(name for name in ("sand", "sea", "wood") if float(row[name]) > 0.5) for row in rows]
    # A test table need not have all labels, but no others.
    sample = sorted((root / "b").iterdir())[:3]
    (tmp_path / "test.txt").write_text("".join(f"{path}\n" for path in sample))
    for labels, message in [("wood", None), ("woods", "unknown label 'woods'; is it 'wood'?")]:
        (tmp_path / "t.csv").write_text("image,labels\n" + "".join(f"{path.stem},{labels}\n" for path in sample))
        arguments = ["--weights_path", folder / "best.pth", "--test_dir", tmp_path / "test.txt", "--label_path",
                     tmp_path / "t.csv"]
        if message:
            assert message in fails(capsys, evaluate, *arguments)
        else:
            assert evaluate(*arguments)["labels_without_positives"] == ["sand", "sea"]
    # Other images have their own table, and are all tested on.
    write_others(tmp_path / "other", {"x": 3})
    (tmp_path / "other" / "labels.csv").write_text("image,labels\n" + "".join(f"x_{n},wood\n" for n in (1, 2, 3)))
    report = evaluate("--weights_path", folder / "best.pth", "--data_root", tmp_path / "other")
    assert report["images"] == 3 and report["per_label"]["wood"]["support"] == 3
    # Class folders are not what it was trained for.
    root.rename(tmp_path / "without a table")
    error = fails(capsys, evaluate, "--weights_path", folder / "best.pth", "--data_root", tmp_path / "without a table")
    assert "trained for several labels per image" in error


def test_softmax_cross_entropy_needs_a_single_label(ucm, capsys):
    error = fails(capsys, train, "--dataset", "UCM_Multilabel", "--data_root", ucm, "--loss", "ce")
    assert "--loss ce needs exactly one class per image" in error


@pytest.mark.parametrize("argv, message", [
    (["--train_ratio", "1"], "--train_ratio: must be above 0 and at most 0.99, not 1"),
    (["--train_ratio", "0.01"], "too few images in 4 classes (Airport: 20, BareLand: 20, ...)"),
    (["--label_num", "30"], "--label_num 30, but the data have 4 labels"),
    (["--dataset", "Custom", "--label_path", "nowhere.csv"], "label table nowhere.csv does not exist")])
def test_bad_options(data_root, capsys, argv, message):
    assert message in fails(capsys, train, "--dataset", "AID", "--data_root", data_root, *argv)


def test_a_text_file_named_as_an_image(tmp_path, capsys):
    write_classes(tmp_path / "AID", dict.fromkeys(SCENES, 10))
    for number in range(1, 11):
        (tmp_path / "AID" / "Pond" / f"pond_{number}.jpg").write_text("not an image")
    error = fails(capsys, train, "--dataset", "AID", "--data_root", tmp_path, "--work-dir", tmp_path / "runs",
                  "--train_ratio", "0.5")
    assert "Pond/pond_" in error and "cannot be decoded (unknown image format)" in error


def test_training_images_are_cropped_and_those_of_validation_are_not(data_root, monkeypatch):
    first_steps = []

    class Spy(Train.ImageDataset):
        def __init__(self, split, transform, *load):
            first_steps.append((len(split.images), type(transform.transforms[0]).__name__))
            super().__init__(split, transform, *load)

    monkeypatch.setattr(Train, "ImageDataset", Spy)
    train("--dataset", "AID", "--data_root", data_root, "--work-dir", data_root / "runs", "--train_ratio", "0.5",
          "--not-save", "--max_epoch", "1")
    assert first_steps == [(36, "RandomResizedCrop"), (4, "Resize")]


def test_training_crops_for_a_single_label_only():
    """A ramp from dark to light: a crop, resized, has fewer steps of it; the whole image always has all of them."""
    ramp = Image.fromarray(np.tile(np.linspace(55, 255, 96, dtype=np.uint8)[:, None, None], (1, 96, 3)))
    torch.manual_seed(0)
    spans = {}
    for single_label in (True, False):
        lit = [pixels[pixels > 0].float() for pixels in (train_transform(64, single_label)(ramp) for _ in range(40))]
        spans[single_label] = np.array([(pixels.max() - pixels.min()).item() for pixels in lit])
    assert (spans[False] > 150).all() and (spans[True] < 150).sum() > 15 and spans[True].std() > 20
    assert train_transform(64, single_label=True)(ramp).shape == (64, 64, 3)
