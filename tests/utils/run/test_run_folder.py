"""log.csv and the threshold that the validation images select, also in a run that an older version started."""

import csv
import json
import math
import os

import pytest
import torch

from programs import evaluate, train_ucm
from utils import engine
from utils.errors import InputError
from utils.figures.curves import draw_comparison, draw_curves, read_log
from utils.metrics import best_threshold
from utils.run.checkpoint import read_weight_file
from utils.run.run_folder import newest_checkpoint, weight_file, write_log

ADDED = ["val_threshold", "val_CF2", "val_example_F1_of_means", "val_example_F2_of_means"]


def test_the_log_has_the_columns_of_all_epochs(tmp_path):
    required = {"lr": 0.1, "train_loss": 1.0, "val_mAP": 0.5, "val_OF1": 0.25}
    write_log(tmp_path / "log.csv", [{"epoch": 1, **required, "before": 7},
                                     {"epoch": 2, "val_threshold": 0.37, **required}])
    with open(tmp_path / "log.csv", newline="") as file:
        first, second = csv.DictReader(file)
    texts = {"lr": "0.1", "train_loss": "1", "val_mAP": "0.5", "val_OF1": "0.25"}
    assert first == {"epoch": "1", **texts, "before": "7", "val_threshold": ""}
    assert second == {"epoch": "2", **texts, "before": "", "val_threshold": "0.37"}
    columns = read_log(tmp_path / "log.csv")
    assert columns["epoch"] == [1, 2] and columns["val_mAP"] == [0.5, 0.5]
    assert math.isnan(columns["val_threshold"][0]) and columns["val_threshold"][1] == 0.37
    (tmp_path / "log.csv").write_text("epoch,lr,train_loss,val_mAP,val_OF1\n1,0.1,,0.5,0.25\n")
    with pytest.raises(InputError, match="cannot be read as the log of a run"):
        read_log(tmp_path / "log.csv")


def test_the_newest_checkpoint_may_lie_elsewhere(tmp_path, capsys):
    for number, name in enumerate("abc"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        save_path = tmp_path / "scratch" if name == "b" else None
        (tmp_path / "runs" / name / "args.json").write_text(json.dumps({"args": {"save_path": save_path and str(save_path)}}))
        os.utime(tmp_path / "runs" / name / "args.json", (number, number))
    for number, folder in enumerate((tmp_path / "runs" / "a", tmp_path / "scratch")):
        folder.mkdir(exist_ok=True)
        (folder / "best.pth").write_text("")
        os.utime(folder / "best.pth", (1 + number / 2, 1 + number / 2))
    assert newest_checkpoint(tmp_path / "runs") == tmp_path / "scratch" / "best.pth"
    assert f"1 newer run ({tmp_path / 'runs' / 'c'}) without a best.pth" in capsys.readouterr().err


def test_weights_elsewhere_that_name_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "args.json").write_text(json.dumps({"args": {"save_path": str(tmp_path)}}))
    file = tmp_path / "best.pth"
    torch.save({"state_dict": {}}, file)  # of an older version
    assert weight_file(str(tmp_path / "run")) == str(file)
    file.write_text("damaged")
    assert weight_file(str(tmp_path / "run")) == str(file)
    with pytest.raises(InputError, match="not a readable PyTorch weight file"):
        read_weight_file(file)


def test_validation_selects_the_threshold_of_each_epoch(ucm, monkeypatch):
    predicted = []

    def predict(*args):
        predicted.append(engine.predict(*args))
        return predicted[-1]

    monkeypatch.setattr("Train.predict", predict)
    run = train_ucm(ucm, "--max_epoch", 3)
    thresholds = [best_threshold(*scores_and_labels) for scores_and_labels in predicted]
    assert read_log(run / "log.csv")["val_threshold"] == thresholds and len(thresholds) == 3
    for name in ("best.pth", "last.pth"):
        checkpoint = torch.load(run / name, weights_only=True)
        assert checkpoint["threshold"] == thresholds[checkpoint["epoch"] - 1]


def test_a_run_of_an_older_version_is_resumed(ucm):
    run = train_ucm(ucm, "--max_epoch", 1)
    for name in ("best.pth", "last.pth"):
        checkpoint = torch.load(run / name, weights_only=True)
        del checkpoint["threshold"]
        for row in checkpoint.get("log", []):
            for column in ADDED:
                del row[column]
        torch.save(checkpoint, run / name)
    assert "at_validation_threshold" not in evaluate("--weights_path", run / "best.pth")
    train_ucm(ucm, "--resume", run, "--max_epoch", 2)
    columns = read_log(run / "log.csv")
    assert columns["epoch"] == [1, 2] and all(map(math.isnan, (columns[name][0] for name in ADDED)))
    assert not any(map(math.isnan, (values[1] for values in columns.values())))
    last = torch.load(run / "last.pth", weights_only=True)
    assert last["threshold"] == last["log"][1]["val_threshold"] == columns["val_threshold"][1]
    assert evaluate("--weights_path", run / "last.pth")["at_validation_threshold"]["threshold"] == last["threshold"]
    draw_curves(run / "log.csv", "R4C")
    draw_comparison({"R4C": [run / "log.csv"]})
