"""Train.py and Test.py, run in the process of the tests."""

import runpy
import sys
import warnings
from pathlib import Path

import pytest
import torch

import Test
import Train
from conftest import let_go
from utils.errors import exit_cleanly

FAST = ["--model", "Small", "--pretrained", "none", "--image_size", "64", "--max_epoch", "2", "--lr", "1e-3",
        "--num_workers", "0", "--device", "cpu"]


def train(*argv) -> Path:
    return Train.main([str(argument) for argument in (*FAST, *argv)])


def train_ucm(ucm, *argv) -> Path:
    return train("--dataset", "UCM_Multilabel", "--data_root", ucm, "--work-dir", ucm.parent / "runs", *argv)


def evaluate(*argv) -> dict:
    return Test.main([str(argument) for argument in argv])


def fails(capsys, program, *argv) -> str:
    """Run a program that must stop with exit code 2, and give back its sentence."""
    with pytest.raises(SystemExit) as stop:
        exit_cleanly(lambda: program(*argv))
    let_go(stop.value)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "Traceback" not in error, error
    return error


def fails_alone(capsys, module: str, *argv) -> str:
    """The one line of `python -m MODULE ...`, in this process, that has imported what it takes."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):  # that it is imported already
        patch.setattr(sys, "argv", [module, *map(str, argv)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_module(module, run_name="__main__")
    line, = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    return line


def same_training(a: Path, b: Path) -> bool:
    """Whether two runs have the same weights and, but for the images per second, the same log."""
    weights = [torch.load(folder / "last.pth", weights_only=True)["state_dict"] for folder in (a, b)]
    return (all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
            and _log_without_speed(a) == _log_without_speed(b))


def _log_without_speed(folder: Path) -> list[list[str]]:
    header, *rows = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]
    return [[value for name, value in zip(header, row) if name != "train_images_per_second"] for row in rows]
