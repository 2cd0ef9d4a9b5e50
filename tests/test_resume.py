"""A run that is stopped, however, and gone on with is bit by bit the run that was not."""

import json
import signal
from pathlib import Path

import pytest
import torch

from conftest import write_classes
from test_command_line import run, train_ucm

SMALL = ["--model", "MobileNet-V2", "--pretrained", "none", "--image_size", "64", "--train_batch_size", "4", "--lr",
         "1e-3", "--device", "cpu", "--deterministic"]


def same(one, other) -> int:
    """Assert that two values, and all tensors in them, are equal bit by bit. Returns the tensors' bytes."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one.contiguous().view(-1).view(torch.uint8),
                                                        other.contiguous().view(-1).view(torch.uint8))
        return one.nbytes
    if isinstance(one, dict):
        assert list(one) == list(other)
        return sum(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        assert len(one) == len(other)
        return sum(map(same, one, other))
    assert one == other
    return 0


def same_run(one: Path, other: Path) -> int:
    """Assert that two runs' logs and checkpoints are equal, save for their options. Returns the bytes that are."""
    assert (one / "log.csv").read_bytes() == (other / "log.csv").read_bytes()
    assert not list(other.glob("*.partial"))
    equal = (one / "log.csv").stat().st_size
    for name in ("best.pth", "last.pth"):
        contents = [torch.load(folder / name, weights_only=True) for folder in (one, other)]
        for content in contents:
            content.pop("args")
            content.get("progress", {}).pop("seconds", None)
        equal += same(*contents)
    return equal


def stop_and_resume(stops: list[str], seed: int, work_dir: Path, *options) -> tuple[list[dict], Path]:
    """What became of the processes of a run that was stopped, and its folder."""
    done = run("tests/stop_and_resume.py", seed, ",".join(stops), *SMALL, *options, "--work-dir", work_dir,
               "--resume", "auto")
    processes = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(processes) == len(stops) + 1, done.stderr
    assert processes[-1]["exit"] == 0, done.stderr
    for process in processes[:-1]:
        number = getattr(signal, f"SIG{process['signal']}")
        expected = 0 if not process["doing"] else -number if process["signal"] == "KILL" else 128 + number
        assert process["exit"] == expected, (process, done.stderr)
    begun = [folder for folder in work_dir.iterdir() if (folder / "last.pth").exists()]
    assert len(begun) == 1  # one that was killed before it began is left alone
    return processes, begun[0]


def test_a_run_that_is_killed_again_and_again(ucm, tmp_path):
    options = ["--dataset", "UCM_Multilabel", "--data_root", ucm, "--max_epoch", 6]
    _, whole = stop_and_resume([], 0, tmp_path / "whole", *options)
    processes, stopped = stop_and_resume(
        ["KILL:training", "TERM:training", "KILL:checkpoint", "INT:evaluation", "KILL:evaluation", "KILL:anything"], 1,
        tmp_path / "stopped", *options)
    assert {"training", "evaluation", "checkpoint"} <= {process["doing"] for process in processes}
    assert same_run(whole, stopped) > 2_000_000
