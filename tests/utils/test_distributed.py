"""Many processes: every gradient, weight, score and metric is that of one process, and they stop together."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler, TensorDataset

import many
import Train
from conftest import ROOT, write_image
from dataset.loader import EveryNthBatch, SlicesOfBatches
from loss import R4CLoss, build_loss
from processes import Stop, send
from programs import train_ucm
from utils import distributed
from utils.engine import predict, train_one_epoch
from utils.errors import InputError
from utils.run.checkpoint import seed_everything

CPU = torch.device("cpu")


class Transposed(nn.Module):
    """A mean that uses features and logits transposed: their gradients come as views that are not contiguous."""

    def forward(self, features, logits, labels):
        total = (features.T @ logits / (1 + labels.sum())).tanh().mean() + (logits.T @ features).mean()
        return total, {}


LOSSES = {"r4c": {}, "bound": {"bound": True}, "bce": {}, "focal": {}, "transposed": None}


def criterion(name: str) -> nn.Module:
    if name == "transposed":
        return Transposed()
    return build_loss("r4c" if name == "bound" else name, **LOSSES[name])


class Network(nn.Module):
    """Convolution, batch normalisation and a classifier, in double precision."""

    def __init__(self, normalise: bool):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 2), nn.BatchNorm2d(6) if normalise else nn.Identity(), nn.Tanh())
        self.fc = nn.Linear(24, 5)

    def forward(self, images):
        features = self.body(images).flatten(1)
        return features, self.fc(features)


def data(number: int, empty: slice = slice(0)) -> TensorDataset:
    """Images with 5 labels; those in `empty` have none."""
    generator = torch.Generator().manual_seed(number)
    images = torch.rand(number, 3, 3, 3, generator=generator, dtype=torch.float64)
    labels = (torch.rand(number, 5, generator=generator) < 0.4).double()
    labels[empty] = 0
    return TensorDataset(images, labels)


def steps(name: str, number: int, batch_size: int, empty: slice = slice(0), normalise: bool = False,
          **options) -> tuple[dict, dict]:
    """The weights after an epoch of gradient descent, and its losses. With one batch, the weights tell the gradients."""
    torch.manual_seed(0)
    model = Network(normalise).double()
    if normalise:
        model = distributed.synchronise_batch_norm(model, CPU)
    network = distributed.distribute(model, CPU)
    dataset = data(number, empty)
    loader = DataLoader(dataset, batch_sampler=SlicesOfBatches(SequentialSampler(dataset), batch_size, False))
    losses = train_one_epoch(network, loader, criterion(name), torch.optim.SGD(model.parameters(), lr=0.1),
                             lambda images: images, CPU, "epoch", **options)
    del losses["images_per_second"]
    return model.state_dict(), losses


# images, images in a batch, images without labels
CASES = {"even": (12, 12), "uneven": (7, 7), "one each": (3, 3), "fewer than processes": (5, 4), "one": (1, 1),
         "several batches": (17, 6), "no positives in a process": (9, 9, slice(3, 6))}


def all_cases() -> dict:
    return {(loss, case, normalise): steps(loss, *CASES[case], normalise=normalise)
            for loss in LOSSES for case in CASES for normalise in (False, True) if not (normalise and case == "one")}


@pytest.mark.parametrize("number", [2, 3, pytest.param(4, marks=pytest.mark.long)])
def test_every_gradient_is_that_of_one_process(tmp_path, number, record):
    expected, largest = all_cases(), 0.0
    for found in many.results(tmp_path, number, all_cases):
        for case, (weights, losses) in expected.items():
            difference = max(float((found[case][0][name] - value).abs().max()) for name, value in weights.items())
            largest = max(largest, difference, *(abs(found[case][1][name] - value) for name, value in losses.items()))
            assert largest <= 1e-10, case
    record(processes=number, cases=len(expected), largest_difference=largest)


def gradients_that_are_views(number: int) -> list[torch.Tensor]:
    """Of the rows of this process: of a sum, whose gradient is one number in memory, and of a transposed product."""
    rows = data(number).tensors[1][distributed.slice_of(number)].requires_grad_()
    weights = torch.arange(3.0 * number, dtype=torch.float64).view(number, 3)
    totals = distributed._Gather.apply(rows, number).sum(), (distributed._Gather.apply(rows, number).T @ weights)[1:].sum()
    return [torch.autograd.grad(total, rows)[0] for total in totals]


def test_a_gradient_may_be_a_view(tmp_path):
    for rank, found in enumerate(many.results(tmp_path, 2, gradients_that_are_views, 5)):
        expected = torch.arange(15.0, dtype=torch.float64).view(5, 3).sum(1, keepdim=True).expand(5, 5).clone()
        expected[:, 0] = 0
        rows = slice(3) if rank == 0 else slice(3, 5)
        assert torch.equal(found[0], torch.full_like(found[0], 2)) and torch.equal(found[1], 2 * expected[rows])


def within_each() -> dict:
    return steps("r4c", 9, 9, rank_within_gpu=True)[0]


def test_ranking_within_each_process_is_another_method(tmp_path):
    """The usual data-parallel training: the mean of the gradients of each process's images alone."""
    torch.manual_seed(0)
    model = Network(False).double()
    for share in (slice(0, 5), slice(5, 9)):
        features, logits = model(data(9).tensors[0][share])
        (criterion("r4c")(features, logits, data(9).tensors[1][share])[0] / 2).backward()
    expected = {name: weight.detach() - 0.1 * weight.grad for name, weight in model.named_parameters()}
    whole = steps("r4c", 9, 9)[0]
    for found in many.results(tmp_path, 2, within_each):
        for name, weight in expected.items():
            torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-10)
            assert (whole[name] - weight).abs().max() > 1e-3


def scores_of(number: int) -> list[torch.Tensor]:
    """Of `predict`, in batches of 3."""
    torch.manual_seed(0)
    dataset = data(number)
    loader = DataLoader(dataset, batch_sampler=EveryNthBatch(SequentialSampler(dataset), 3, False))
    return [torch.from_numpy(values) for values in
            predict(Network(True).double(), loader, lambda images: images, CPU, "test")]


@pytest.mark.parametrize("processes, number", [(2, 7), (2, 2), (3, 11), (3, 18)])
def test_each_image_is_scored_once_and_in_its_place(tmp_path, processes, number):
    scores, labels = scores_of(number)
    assert len(scores) == number
    for found in many.results(tmp_path, processes, scores_of, number):
        assert torch.equal(found[0], scores) and torch.equal(found[1], labels)


def slices(processes: int) -> dict:
    return {number: [list(range(number))[distributed.slice_of(number, process)] for process in range(processes)]
            for number in range(20)}


@pytest.mark.parametrize("processes", [2, 3])
def test_slices_are_contiguous_and_even(tmp_path, processes):
    for number, rows_of in many.results(tmp_path, processes, slices, processes)[0].items():
        sizes = [len(rows) for rows in rows_of]
        assert sum(rows_of, []) == list(range(number)) and max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes)[::-1]


def statistics_after_a_batch() -> dict:
    torch.manual_seed(0)
    model, dataset = Network(True).double(), data(6)
    loader = DataLoader(dataset, batch_sampler=SlicesOfBatches(SequentialSampler(dataset), 6, False))
    train_one_epoch(distributed.distribute(model, CPU), loader, criterion("bce"), torch.optim.SGD(model.parameters()),
                    lambda images: images, CPU, "epoch")
    return dict(model.named_buffers())


def test_the_statistics_are_those_of_the_first_process(tmp_path):
    torch.manual_seed(0)
    model = Network(True).double().train()
    model(data(6).tensors[0][:3])
    for found in many.results(tmp_path, 2, statistics_after_a_batch):
        for name, value in model.named_buffers():
            torch.testing.assert_close(found[name], value)


def drawn() -> torch.Tensor:
    seed_everything(3050, 7, distributed.rank())
    return torch.rand(4)


def test_each_process_draws_for_itself(tmp_path):
    found = many.results(tmp_path, 3, drawn)
    seed_everything(3050, 7)
    assert torch.equal(found[0], torch.rand(4)) and len({float(draw.sum()) for draw in found}) == 3


# Whole runs

def argv(ucm, *more) -> list[str]:
    return list(map(str, ("--dataset", "UCM_Multilabel", "--data_root", ucm, "--work-dir", ucm.parent / "runs", "--model",
                          "Small", "--pretrained", "none", "--image_size", 64, "--max_epoch", 2, "--lr", 1e-3,
                          "--num_workers", 0, "--device", "cpu", *more)))


def weights(ucm) -> dict[str, torch.Tensor]:
    return torch.load(next((ucm.parent / "runs").glob("*/last.pth")), weights_only=True)["state_dict"]


def log_of(ucm) -> list[dict[str, str]]:
    with open(next((ucm.parent / "runs").glob("*/log.csv")), newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("options", [(), ("--cache", "--train_batch_size", "5", "--val_batch_size", "1")], ids=len)
def test_two_processes_train_as_one(ucm, tmp_path, options):
    found = {}
    for number in (1, 2):
        shutil.rmtree(ucm.parent / "runs", ignore_errors=True)
        ended = many.run(tmp_path / f"{number}", number, many.train, argv(ucm, *["--sync_bn"] * (number > 1), *options),
                         many.comparable)
        assert [process.code for process in ended] == [0] * number, ended
        assert "run folder:" in ended[0].output and not any(process.output for process in ended[1:])
        assert len(list((ucm.parent / "runs").glob("*/args.json"))) == 1
        found[number] = weights(ucm), log_of(ucm)
    for name, value in found[1][0].items():
        torch.testing.assert_close(found[2][0][name], value, rtol=0, atol=1e-5, msg=name)
    for one, two in zip(found[1][1], found[2][1], strict=True):
        assert {name for name in one if name.startswith("val_")} and all(
            float(one[name]) == pytest.approx(float(two[name]), abs=1e-4) for name in one if "per_second" not in name)


def test_test_py_of_two_processes(ucm, tmp_path):
    folder = train_ucm(ucm, "--max_epoch", 1)
    written = {}
    for number in (1, 2):
        save_path = tmp_path / f"results {number}"
        ended = many.run(tmp_path / f"{number}", number, many.evaluate, [
            "--weights_path", str(folder), "--save_path", str(save_path), "--test_batch_size", "4", "--show_scores"])
        assert [process.code for process in ended] == [0] * number, ended
        assert "6 test images" in ended[0].output and not any(process.output for process in ended[1:])
        written[number] = [(save_path / name).read_bytes() for name in ("scores.csv", "metrics.json", "per_label.csv")]
    assert written[1] == written[2]


# Stopping together

def in_process(rank: int, change: Callable, *args) -> None:
    """Change one process only."""
    if os.environ["RANK"] == str(rank):
        change(*args)


def loss_becomes_nan(step: int) -> None:
    steps = iter(range(step))
    forward = R4CLoss.forward

    def diverge(self, *args):
        total, terms = forward(self, *args)
        return (total * torch.nan if next(steps, None) == step - 1 else total), terms

    R4CLoss.forward = diverge


def disk_is_full_after(files: int) -> None:
    left, save = iter(range(files)), Train.save_checkpoint

    def fill(path, content):
        if next(left, None) is None:
            raise InputError(f"checkpoint {path} could not be written (No space left on device)")
        save(path, content)

    Train.save_checkpoint = fill


def messages(ended: list[many.Ended]) -> list[str]:
    return [line for process in ended for line in re.split("[\r\n]", process.output) if line.startswith("Train.py:")]


IN_TRAINING, REPEATED = Stop("TERM", "training", 3), "of this epoch will be repeated; resume with: python Train.py"
STOPS = {"TERM to the main": (0, send, IN_TRAINING, 143, f"interrupted; 1 of 2 steps {REPEATED}"),
         "TERM to another": (1, send, IN_TRAINING, 143, f"interrupted; 1 of 2 steps {REPEATED}"),
         "TERM in evaluation": (1, send, Stop("TERM", "evaluation", 1), 143, f"interrupted; all steps {REPEATED}"),
         "NaN in the main": (0, loss_becomes_nan, 3, 2, "error: epoch 2, step 1: loss nan"),
         "NaN in another": (1, loss_becomes_nan, 3, 2, "error: epoch 2, step 1: "),
         "full disk": (0, disk_is_full_after, 2, 2, "No space left on device"),
         "KILL": (1, send, Stop("KILL", "training", 3), 2, "error: another process of this training has ended")}


@pytest.mark.parametrize("name", STOPS)
def test_all_stop_together(ucm, tmp_path, name):
    rank, change, what, code, message = STOPS[name]
    ended = many.run(tmp_path / "out", 2, many.train, argv(ucm, "--val_batch_size", 1), partial(in_process, rank, change, what))
    killed = name == "KILL"
    assert [process.code for process in ended] == ([code, -signal.SIGKILL] if killed else [code, code]), ended
    line, = messages(ended)
    assert message in line
    folder, = (ucm.parent / "runs").iterdir()
    if code == 143 or killed:
        assert len(torch.load(folder / "last.pth", weights_only=True)["log"]) == (0 if "evaluation" in name else 1)
        ended = many.run(tmp_path / "again", 3, many.train, ["--resume", str(folder)])
        assert [process.code for process in ended] == [0, 0, 0], ended
        assert len(log_of(ucm)) == 2


def test_the_main_process_alone_writes_checkpoints(ucm, tmp_path):
    ended = many.run(tmp_path / "out", 2, many.train, argv(ucm), partial(in_process, 1, disk_is_full_after, 0))
    assert [process.code for process in ended] == [0, 0], ended


def test_an_unreadable_image_stops_all(ucm, tmp_path):
    image = next((ucm / "UCM_Multilabel").rglob("river03.tif"))
    image.write_bytes(image.read_bytes()[:200])
    ended = many.run(tmp_path / "out", 2, many.train, argv(ucm))
    line, = messages(ended)
    assert [process.code for process in ended] == [2, 2] and "river03.tif cannot be decoded" in line


def add_in_second(argv: list[str], more: list[str]) -> None:
    many.train(argv + more * (os.environ["RANK"] == "1"))


def test_other_options_or_data_in_a_process(ucm, tmp_path):
    shutil.copytree(ucm, tmp_path / "changed")
    write_image(next((tmp_path / "changed").rglob("river03.tif")), 99)
    shutil.copytree(ucm, tmp_path / "fewer")
    for table in (tmp_path / "fewer").rglob("*.txt"):
        table.write_text("\n".join(line for line in table.read_text().split("\n") if not line.startswith("river03")))
    next((tmp_path / "fewer").rglob("river03.tif")).unlink()
    shutil.copytree(ucm, tmp_path / "same")
    for more, message in ((["--lr", "1e-4"], "processes 0 and 1 do not have the same --lr: give all"),
                          (["--data_root", str(tmp_path / "changed")], "do not have the same images"),
                          (["--data_root", str(tmp_path / "fewer")], "do not have the same labels and file names and images"),
                          (["--lrate", "1"], "process 1 stopped; is its command line that of the others?"),
                          (["--data_root", str(tmp_path / "nowhere")], "nowhere"),
                          (["--data_root", str(tmp_path / "same"), "--max_epoch", "2"], None)):
        ended = many.run(tmp_path / "out", 2, add_in_second, argv(ucm), more)
        assert [process.code for process in ended] == ([2, 2] if message else [0, 0]), ended
        assert [message in line for line in messages(ended)] == [True] * bool(message), messages(ended)


@pytest.mark.parametrize("options, message", [
    (["--train_batch_size", "2"], "--train_batch_size 2 is of all 3 processes together"),
    (["--device", "cuda:1"], "--device cuda:1 is one GPU, but torchrun gives each process its own"),
    (["--device", "cuda"], "--device cuda cannot be used here"),
    (["--lrate", "1"], "unrecognized arguments: --lrate"), (["--train_dir", "none.txt"], "none.txt does not exist")])
def test_what_several_processes_refuse(ucm, tmp_path, options, message):
    ended = many.run(tmp_path / "out", 3, many.train, argv(ucm, *options))
    assert [process.code for process in ended] == [2, 2, 2], ended
    line, = [line for process in ended for line in process.output.splitlines() if "error:" in line]
    assert message in line and not any("Traceback" in process.output for process in ended)
    assert not (ucm.parent / "runs").exists()


def test_a_port_in_use(ucm, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = many.run(tmp_path / "out", 1, use_port, taken.getsockname()[1], argv(ucm))
    line, = messages(ended)
    assert ended[0].code == 2 and "the processes cannot meet at 127.0.0.1:" in line and "--master_port" in line


def use_port(port: int, argv: list[str]) -> None:
    os.environ["MASTER_PORT"] = str(port)
    many.train(argv)


def joined_at() -> tuple[float, float]:
    """When this process is connected, the second late, and when it goes on."""
    connect, connected = torch.distributed.init_process_group, []

    def connect_and_wait(*args, **options):
        connect(*args, **options)
        time.sleep(os.environ["RANK"] == "1")
        connected.append(time.time())

    torch.distributed.init_process_group = connect_and_wait
    return distributed.in_every_process(lambda: (connected[0], time.time()))()


def test_no_process_goes_on_before_all_are_connected(tmp_path):
    ended = many.run(tmp_path, 2, joined_at)
    (_, first), (connected, _) = [process.result for process in ended]
    assert first >= connected


def test_a_schedulers_variables_alone_start_one_process(ucm, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    assert (train_ucm(ucm, "--max_epoch", 1) / "best.pth").exists() and distributed.world_size() == 1


def test_torchrun(ucm):
    options = argv(ucm, "--max_epoch", "1")
    options[options.index("Small")] = "MobileNet-V2"
    ended = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "Train.py", *options],
                           cwd=ROOT, capture_output=True, text=True, timeout=many.SECONDS)
    assert ended.returncode == 0 and ended.stdout.count("run folder:") == 1, ended
    folder, = (ucm.parent / "runs").iterdir()
    assert json.loads((folder / "args.json").read_text())["processes"] == 2


@pytest.mark.long
def test_kills_of_a_process_and_of_all_with_restarts(ucm, tmp_path, record):
    """torchrun --max_restarts and --resume auto: the weights are those of a run that was never killed, up to rounding."""
    folders, restarts = [], 8
    for name, kills in (("whole", 0), ("killed", restarts)):
        options = [*argv(ucm, "--max_epoch", 6), "--work-dir", str(tmp_path / name), "--resume", "auto"]
        ended = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "4", "--max_restarts",
                                str(restarts), "--monitor_interval", "0.1", "tests/many.py", str(kills), *options],
                               cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended
        folders.append(next((tmp_path / name).iterdir()))
    resumed = json.loads((folders[1] / "args.json").read_text())["resumed"]
    whole, killed = (torch.load(folder / "last.pth", weights_only=True) for folder in folders)
    largest = max(float((whole["state_dict"][name] - value).abs().max()) for name, value in killed["state_dict"].items())
    assert len(resumed) == restarts and largest < 1e-6  # DDP adds in another order in the first step after a start
    record(processes=4, kills=restarts, kills_of_all=restarts // 4,
           resumed_after_epochs=[row["after_epoch"] for row in resumed], largest_difference=largest)
