"""Writing while the network trains."""

import threading

import pytest
import torch

import Train
from programs import train_ucm
from utils.errors import InputError
from utils.run.checkpoint import copy_to_host, in_background

SECONDS = 60


def test_a_write_ends_before_the_next_starts_and_before_leaving():
    events, may_end = [], threading.Event()
    with in_background() as start:
        start(lambda: events.append(may_end.wait(SECONDS)))
        assert not events
        may_end.set()
        start(lambda: events.append("second"))
        assert events[0] is True
    assert events == [True, "second"]


@pytest.mark.parametrize("number", [1, 2])
def test_an_error_of_a_write_is_raised(number):
    def fail():
        raise InputError("the disk is full")

    started = []
    with pytest.raises(InputError, match="the disk is full"), in_background() as start:  # noqa: PT012
        for write in [fail, lambda: None][:number]:
            start(write)
            started.append(write)
        if number == 1:
            raise KeyboardInterrupt
    assert len(started) == 1


def test_a_copy_is_not_trained():
    parameter, rows = torch.nn.Parameter(torch.ones(3)), [{"loss": 1.0}]
    state = {"weights": {"w": parameter, "steps": 3}, "log": rows, "betas": (0.9, 0.99), "list": [torch.zeros(2)]}
    copy = copy_to_host(state)
    with torch.no_grad():
        parameter.add_(1)
    state["list"][0].add_(1)
    rows.append({"loss": 2.0})
    assert copy["weights"]["w"].tolist() == [1, 1, 1] and not copy["weights"]["w"].requires_grad
    assert copy["list"][0].tolist() == [0, 0] and copy["log"] == [{"loss": 1.0}] and copy["betas"] == (0.9, 0.99)


def test_the_network_trains_while_a_checkpoint_is_written(ucm, monkeypatch):
    """The write of the first epoch ends only when the second one has started; each file has the weights of its epoch."""
    plain = train_ucm(ucm)
    second, in_time, save, run_epoch = threading.Event(), [], Train.save_checkpoint, Train.train_one_epoch

    def slow_save(path, content):
        if content["epoch"] == 1 and path.name == "last.pth":
            in_time.append(second.wait(SECONDS))
        save(path, content)

    def train_one_epoch(*args, **options):
        if args[6].startswith("epoch 2/"):
            losses = run_epoch(*args, **options)
            second.set()
            return losses
        return run_epoch(*args, **options)

    monkeypatch.setattr(Train, "save_checkpoint", slow_save)
    monkeypatch.setattr(Train, "train_one_epoch", train_one_epoch)
    slow = train_ucm(ucm)
    assert in_time == [True]
    for name in ("best.pth", "last.pth"):
        states = [torch.load(run / name, weights_only=True)["state_dict"] for run in (plain, slow)]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
