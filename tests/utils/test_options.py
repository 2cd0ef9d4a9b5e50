"""Options as users type them: spellings, near misses, folders for files, and options that would be ignored."""

import json
import os
from pathlib import Path

import pytest
import torch

import Test
import Train
from benchmark import explore, reproduce
from conftest import write_image
from dataset import audit, dataset_name, load_data
from dataset.image_list import read_image_list
from dataset.synthetic.__main__ import main as draw_synthetic
from loss import LOSSES, R4CLoss, options_without_effect
from model import network_name
from programs import evaluate, fails, train, train_ucm
from utils.errors import InputError
from utils.evaluation import compare
from utils.options import check_training
from utils.run.resume import find_run
from utils.run.run_folder import read_args

NETWORK = ["--pretrained", "imagenet"]  # for tests that give a weight file


# Spellings

@pytest.mark.parametrize("find, typed, name", [
    *((network_name, typed, "Resnet-50") for typed in ("resnet50", "ResNet_50", "RESNET-50", "resnet 50")),
    *((network_name, typed, "VGGNet-16") for typed in ("vgg16", "VGG-16", "vgg16_bn", "VGGNet16")),
    (network_name, "swin_t", "Swin-T"), (network_name, "mobilenet_v2", "MobileNet-V2"),
    *((dataset_name, typed, "AID_Multilabel") for typed in ("aid_multilabel", "AID-Multilabel", "aid_multilable")),
    (dataset_name, "aid", "AID"), (dataset_name, "custom", "Custom"),
    *((dataset_name, typed, "NWPU-RESISC45") for typed in ("NWPU_RESISC45", "nwpu", "resisc45", "NWPU-RESISC45"))])
def test_names_in_usual_spellings(find, typed, name):
    assert find(typed) == name


@pytest.mark.parametrize("argv, message", [
    (["--model", "resnet5"], "unknown model 'resnet5': choose from Resnet-50, .*did you mean Resnet-50"),
    (["--dataset", "UCM"], r"unknown data set 'UCM': choose from .* \(did you mean UCM_Multilabel\?\)"),
    (["--dataset", "AID_Multi"], r"\(did you mean AID_Multilabel"),
    (["--model", "???"], "choose from Resnet-50[^(]*$")])
def test_unknown_names_are_answered_with_similar_ones(argv, message):
    with pytest.raises(InputError, match=message):
        Train.parse_arguments(argv)


def test_choices_in_any_case():
    args = Train.parse_arguments(["--loss", "R4C", "--parts", "Sample", "LABEL", "--pretrained", "ImageNet", "--device",
                                  "CPU"])
    assert (args.loss, args.parts, args.pretrained) == ("r4c", ["label", "sample"], "imagenet")
    assert args.device == "cpu"
    assert Test.parse_arguments(["--show_scores", "--formats", "PNG"]).formats == ["png"]


def test_options_with_hyphens_or_underscores():
    args = Train.parse_arguments(["--work_dir", "here", "--not_save", "--train-batch-size", "4", "--max-epoch=3"])
    assert (args.work_dir, args.not_save, args.train_batch_size, args.max_epoch) == ("here", True, 4, 3)
    args = Test.parse_arguments(["--weights-path", "a-b.pth", "--work_dir=a-b", "--all-views"])
    assert (args.weights_path, args.work_dir, args.all_views) == (["a-b.pth"], "a-b", True)
    assert audit.parse_arguments(["--data-root", "a_b-c"]).data_root == "a_b-c"


@pytest.mark.parametrize("program, argv, suggestion", [
    (Train.main, ["--max_epochs", "3"], "--max_epoch"), (Train.main, ["--max-epochs=3"], "--max_epoch"),
    (Train.main, ["--batch_size", "3"], "--val_batch_size or --train_batch_size"), (Train.main, ["-lr", "1"], "--lr"),
    (Train.main, ["--nosave"], "--not-save"), (Test.main, ["--weight_path", "a.pth"], "--weights_path"),
    (audit.main, ["--root", "data"], "--data_root"), (compare.main, ["run", "--save-pth", "a"], "--save_path"),
    (draw_synthetic, ["--data-roots", "a"], "--data_root"), (reproduce.main, ["--job", "2"], "--jobs"),
    (explore.main, ["r4c", "--seed", "1"], "--seeds")])
def test_unknown_options_are_answered_with_similar_ones(program, argv, suggestion, capsys):
    assert f"(did you mean {suggestion}?)" in fails(capsys, program, argv)


@pytest.mark.parametrize("program, argv, message", [
    (Train.main, ["--train_dir", ""], "--train_dir has an empty value"),
    (Train.main, ["--pretrained-path="], "--pretrained_path has an empty value"),
    (Train.main, ["--work-dir", "runs\r"], "'runs\\r' has a line break, as of a script with Windows line ends"),
    (Test.main, ["--images", "a", ""], "--images has an empty value"), (compare.main, [""], "has an empty value"),
    (Train.main, ["--parts", "label", "--parts", "sample"], "--parts is given twice"),
    (Test.main, ["--weights-path", "a", "--weights_path=b"], "--weights_path is given twice")])
def test_values_that_would_be_lost_are_refused(program, argv, message, capsys):
    assert message in fails(capsys, program, argv)


def test_an_unknown_option_like_no_other(capsys):
    assert fails(capsys, Train.main, ["--xyz", "1"]).endswith("unrecognized arguments: --xyz 1\n")


def test_resuming_automatically_knows_options_in_any_spelling(ucm):
    folder = train_ucm(ucm, "--not-save")
    (folder / "last.pth").touch()
    for typed, found in ((["--work_dir", "x", "--val-batch-size", "2"], folder), (["--image-size", "64"], None)):
        options = {"work_dir": str(folder.parent), "image_size": 512}
        assert find_run("auto", options, {}, [*typed, "--resume", "auto"]) == found


# Given and ignored

@pytest.mark.parametrize("argv, message", [
    ("--loss bce --bound", "--bound has no effect with --loss bce, only with --loss r4c"),
    ("--loss bce --parts label", "--parts has no effect with --loss bce"),
    ("--loss ce --number_sample 3", "--number_sample has no effect with --loss ce"),
    ("--loss asl --range_label 0.2", "--range_label has no effect with --loss asl"),
    ("--loss focal --lambdas 2", "--lambdas has no effect with --loss focal"),
    ("--focal_gamma 3", "--focal_gamma has no effect with --loss r4c, only with --loss focal"),
    ("--loss focal --asl_clip 0", "--asl_clip has no effect with --loss focal, only with --loss asl"),
    ("--parts feature sample --number_label 3", "--number_label has no effect with --parts feature sample"),
    ("--parts feature sample --range_label 0.2", "--range_label has no effect with --parts feature sample"),
    ("--parts label --number_sample 3", "--number_sample has no effect with --parts label"),
    ("--parts label --range_sample 0.2", "--range_sample has no effect with --parts label"),
    ("--parts feature --lambdas 2", "--lambdas has no effect with --parts feature"),
    ("--number_label 0 --range_label 0.2", "--range_label has no effect with --number_label 0"),
    ("--lambdas 0 --number_label 3", "--number_label has no effect with --lambdas 0"),
    ("--lambdas 0 --bound", "--bound has no effect with --lambdas 0"),
    ("--pretrained_path a.pth", "--pretrained_path has no effect with --pretrained none"),
    ("--not-save --save_path a", "--save_path has no effect with --not-save")])
def test_options_without_effect_are_refused_in_training(argv, message, capsys, tmp_path):
    assert message in fails(capsys, train, *argv.split(), "--work-dir", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_is_always_zero_is_refused():
    with pytest.raises(InputError, match="needs L2R-feature"):
        Train.build_criterion(Train.parse_arguments(["--parts", "label", "--lambdas", "0"]))


@pytest.mark.parametrize("argv, message", [
    *((f"--images a.jpg {option}", f"{option.split()[0]} has no effect with --images") for option in (
        "--dataset AID", "--data_root data", "--label_path a.csv", "--report", "--show_scores")),
    ("--formats svg", "--formats has no effect without a figure"),
    ("--show_scores --select best", "--select has no effect without --show_predictions or --show_gradcam")])
def test_options_without_effect_are_refused_in_testing(argv, message, capsys):
    assert message in fails(capsys, evaluate, *argv.split())


def test_options_without_effect_are_refused_in_drawing(capsys):
    assert "has no effect" in fails(capsys, draw_synthetic, ["--contact_sheet", "a.png", "--images_per_scene", "3"])


def test_options_with_an_effect_are_accepted():
    """Those of every run of the benchmarks, and each option of each loss."""
    runs = [Train.defaults() | read_args(file.parent)["args"] for file in sorted(Path(reproduce.RESULTS).parent.rglob("args.json"))]
    runs += [vars(Train.parse_arguments(job.options)) for table in reproduce.TABLES
             for row in reproduce.TABLES[table].rows for job in reproduce.runs_of(table, row)]
    runs += [{**Train.defaults(), "loss": loss, option: 0.3} for loss in LOSSES for option in LOSSES[loss].options
             if option != "parts"]
    assert len(runs) > 300
    for run in runs:
        check_training(run, Train.defaults(), options_without_effect(run["loss"], run))


def test_a_run_of_an_older_version_that_ignored_an_option_is_resumed(ucm):
    folder = train_ucm(ucm, "--loss", "bce")
    ignored = {"range_label": 0.2, "pretrained_path": str(ucm / "ignored.pth")}
    checkpoint, record = torch.load(folder / "last.pth", weights_only=True), read_args(folder)
    for content in (checkpoint, record):
        content["args"] |= ignored
    torch.save(checkpoint, folder / "last.pth")
    (folder / "args.json").write_text(json.dumps(record))
    typed = [word for name, value in ignored.items() for word in (f"--{name}", value)]
    assert train_ucm(ucm, "--resume", folder, "--max_epoch", 3, "--loss", "bce", *typed) == folder
    assert train_ucm(ucm, "--resume", "auto", "--max_epoch", 3, "--loss", "bce", *typed) == folder


def test_an_untrained_classifier_and_an_unused_rate_are_warned_of(ucm, capsys):
    for argv, untrained, unused in ((["--parts", "feature", "--max_epoch", 3], 1, 0),
                                    (["--lambdas", 0, "--max_epoch", 1], 1, 1), (["--max_epoch", 2], 0, 1),
                                    (["--loss", "bce", "--max_epoch", 3], 0, 0)):
        train_ucm(ucm, "--not-save", *argv)
        warnings = capsys.readouterr().err
        assert warnings.count("leave the classifier untrained") == untrained, argv
        assert warnings.count("never is --lr 0.001") == unused, argv


@pytest.mark.parametrize("options", [{}, {"parts": ["feature"]}, {"lambdas": 0}, {"parts": ["label"]}, {"bound": True}])
def test_the_classifier_is_trained_as_the_loss_says(options):
    loss, logits = R4CLoss(**options), torch.randn(6, 4, requires_grad=True)
    total, _ = loss(torch.randn(6, 8, requires_grad=True), logits, (torch.arange(24).view(6, 4) % 3 == 0).float())
    gradient, = torch.autograd.grad(total, logits, allow_unused=True)
    assert loss.trains_classifier == (gradient is not None and bool(gradient.any()))


# A folder where a file is needed, and the reverse

@pytest.fixture
def trained(ucm):
    return train_ucm(ucm)


def test_a_run_stands_for_its_files(trained, ucm, tmp_path):
    expected = evaluate("--weights_path", trained / "best.pth")
    assert evaluate("--weights_path", f"{trained}{os.sep}") == expected
    for split in ("train", "val", "test"):
        assert getattr(Train.parse_arguments([f"--{split}_dir", str(trained)]), f"{split}_dir") == str(
            trained / f"{split}.txt")
    assert evaluate("--weights_path", trained, "--test_dir", trained)["images"] == expected["images"]
    assert train("--resume", trained / "last.pth", "--max_epoch", 3) == trained
    saved = train_ucm(ucm, "--save_path", tmp_path / "weights", *NETWORK, "--pretrained_path", trained)
    assert read_args(saved)["args"]["pretrained_path"] == str(trained / "best.pth")
    for folder in (saved, tmp_path / "weights"):
        assert Test.parse_arguments(["--weights_path", str(folder)]).weights_path == [
            str(tmp_path / "weights" / "best.pth")]


def test_folders_without_the_file_are_called_folders(tmp_path, capsys):
    for option, message in (
            ("train_dir", "is a folder without train.txt: give a list file, or a folder of images with --data_root"),
            ("val_dir", "is a folder without val.txt"), ("test_dir", "is a folder without test.txt"),
            ("label_path", "is a folder: give the label table, which is a file"),
            ("pretrained_path", "is a folder without best.pth: give a weight file")):
        assert f"argument --{option}: {tmp_path} {message}" in fails(capsys, train, *NETWORK, f"--{option}", tmp_path)
    assert "is a folder without best.pth" in fails(capsys, evaluate, "--weights_path", tmp_path)
    with pytest.raises(InputError, match="list file .* is a folder"):
        read_image_list(tmp_path, [])


@pytest.mark.parametrize("folder", ["UCM_Multilabel", "renamed"])
def test_the_data_set_itself_is_no_data_root(folder, ucm, monkeypatch):
    root = (ucm / "UCM_Multilabel").rename(ucm / folder)
    rename = "" if folder == "UCM_Multilabel" else "rename it to UCM_Multilabel and "
    message = f"is the folder of UCM_Multilabel itself: {rename}give its parent, {ucm}$"
    with pytest.raises(InputError, match=message):
        load_data("UCM_Multilabel", f"{root}{os.sep}")
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match=message):
        load_data("UCM_Multilabel", ".")
    images = [path.as_posix() for path in root.rglob("*.tif")]
    (root / "l.txt").write_text("\n".join(images))  # lists and a table need no folder of that name
    table = next(root.rglob("LandUse_Multilabeled.txt"))
    assert len(load_data("UCM_Multilabel", root, {"test": root / "l.txt"}, table).splits["test"].images) == 30


@pytest.mark.parametrize("folder", ["AID", "AID(20-80)", "scenes"])
def test_class_folders_are_no_data_root(folder, scenes):
    root = (scenes / "AID").rename(scenes / folder)
    with pytest.raises(InputError, match="is the folder of AID itself.* give its parent"):
        load_data("AID", root)


def test_a_new_data_root_is_no_data_set(tmp_path):
    write_image(tmp_path / "Images" / "a.png", 0)
    with pytest.raises(InputError, match="there is no folder .*UCM_Multilabel"):
        load_data("UCM_Multilabel", tmp_path)
