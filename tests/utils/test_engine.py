"""The two loops: means of the losses, order of the scores, the schedule."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from conftest import ROOT
from dataset import all_views
from loss import R4CLoss, build_loss
from utils.engine import _check_finite, learning_rate, predict, train_one_epoch
from utils.errors import InputError, Interrupted, NonFinite
from utils.run.graceful_shutdown import graceful_shutdown, stop_if_requested


class Pixels(nn.Module):
    """A linear classifier on pixels with dropout, to tell training from evaluation."""

    def __init__(self):
        super().__init__()
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(12, 3)

    def forward(self, images):
        features = images.flatten(1)
        return features, self.fc(self.dropout(features))


@pytest.fixture
def loader():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 3, 2, 2), dtype=torch.uint8, generator=generator)
    return DataLoader(TensorDataset(images, (images[:, :, 0, 0] > 127).float()), batch_size=4)


def normalize(images):
    return images / 128 - 1


def test_schedule_is_the_recipes():
    rates = [learning_rate(epoch, 400, 1e-5) for epoch in (1, 199, 200, 299, 300, 400)]
    assert rates == pytest.approx([1e-5, 1e-5, 1e-6, 1e-6, 5e-7, 5e-7])
    assert [learning_rate(epoch, 5, 1.0) for epoch in range(1, 6)] == pytest.approx([1, 1, 0.1, 0.05, 0.05])


def test_training_reports_means_over_the_steps(loader):
    model, loss = Pixels(), R4CLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # nothing moves: the steps can be repeated
    torch.manual_seed(1)
    report = train_one_epoch(model, loader, loss, optimizer, normalize, torch.device("cpu"), "epoch")
    torch.manual_seed(1)
    steps = [loss(*model(normalize(images)), labels) for images, labels in loader]
    assert len(steps) == 3  # the last, partial batch is used
    assert report["loss"] == pytest.approx(np.mean([total.item() for total, _ in steps]), rel=1e-5)
    for term in ("feature", "label", "sample"):
        assert report[term] == pytest.approx(np.mean([terms[term].item() for _, terms in steps]), rel=1e-5)
    assert report["images_per_second"] > 0


def test_training_lowers_the_loss_and_prediction_follows(loader):
    """BCE of a linear classifier is convex, and its curvature at most 13 / 4 / 3: so small steps must lower it."""
    model, loss, device = Pixels(), build_loss("bce"), torch.device("cpu")
    model.dropout.p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    whole = DataLoader(loader.dataset, batch_size=10)
    losses = [train_one_epoch(model, whole, loss, optimizer, normalize, device, "epoch")["loss"] for _ in range(9)]
    assert losses == sorted(losses, reverse=True) and losses[0] - losses[-1] > 0.01
    model.dropout.p = 0.5
    scores, labels = predict(model, loader, normalize, device, "test")
    again, _ = predict(model, loader, normalize, device, "test")
    np.testing.assert_array_equal(scores, again)  # no dropout
    images, expected_labels = loader.dataset.tensors
    np.testing.assert_array_equal(labels, expected_labels)
    with torch.no_grad():
        np.testing.assert_allclose(scores, torch.sigmoid(model.fc(normalize(images).flatten(1))), rtol=1e-5)


@pytest.mark.parametrize("activation, scores_of", [("sigmoid", torch.sigmoid), ("softmax", lambda logits: logits.softmax(1))])
def test_scores_are_means_over_views(loader, activation, scores_of):
    model, device = Pixels(), torch.device("cpu")
    averaged, _ = predict(model, loader, normalize, device, "test", activation, views=all_views)
    images = normalize(loader.dataset.tensors[0])
    quarters = [np.rot90(images.numpy(), k, (2, 3)) for k in range(4)]
    eight = [torch.from_numpy(view.copy()) for rotated in quarters for view in (rotated, rotated[:, :, ::-1])]
    assert len({view.numpy().tobytes() for view in eight}) == 8
    with torch.no_grad():
        expected = torch.stack([scores_of(model.fc(view.flatten(1))) for view in eight]).mean(0)
    np.testing.assert_allclose(averaged, expected, rtol=1e-5)


def test_scores_that_are_not_numbers_stop(loader):
    model = Pixels()
    nn.init.constant_(model.fc.bias, float("nan"))
    with pytest.raises(InputError, match="diverged"):
        predict(model, loader, normalize, torch.device("cpu"), "test")


class FiniteLoss(nn.Module):
    """A finite value with an infinite gradient."""

    def forward(self, features, logits, labels):
        total = (logits - logits.detach()).abs().sum().sqrt()  # 0, with an infinite slope
        return total, {"root": total.detach()}


def test_a_gradient_that_is_not_finite_stops_before_it_changes_the_weights(loader):
    model = Pixels()
    optimizer = torch.optim.Adam(model.parameters())
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(NonFinite, match="step 1: loss 0, root 0, gradient norm nan") as error:
        train_one_epoch(model, loader, FiniteLoss(), optimizer, normalize, torch.device("cpu"), "epoch")
    assert error.value.step == 1
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before))


@pytest.mark.parametrize("row", [0, 2, 3])
def test_losses_that_are_read_late_name_the_first_step(row):
    """On CUDA, where they are read at most twice a second."""
    unread = [{"loss": torch.tensor(1.0 + step), "gradient norm": torch.tensor(2.0)} for step in range(4)]
    _check_finite(unread, 40)
    _check_finite([], 40)
    for late in range(row, 4):
        unread[late]["loss"] = torch.tensor(float("nan"))
    with pytest.raises(NonFinite, match=f"step {37 + row}: loss nan, gradient norm 2"):
        _check_finite(unread, 40)


def test_a_signal_stops_after_a_batch(loader):
    recorded, model = [], Pixels()
    model.register_forward_hook(lambda *_: recorded.append(os.kill(os.getpid(), signal.SIGTERM)))
    for step in (lambda: predict(model, loader, normalize, torch.device("cpu"), "test"),
                 lambda: train_one_epoch(model, loader, R4CLoss(), torch.optim.SGD(model.parameters()), normalize,
                                         torch.device("cpu"), "epoch")):
        recorded.clear()
        with graceful_shutdown(), pytest.raises(Interrupted) as stop:
            step()
        assert stop.value.number == signal.SIGTERM and len(recorded) == 1


def test_two_signals_at_once_are_answered_once(monkeypatch, capfd):
    """The second one comes while the first is being answered."""
    class Received(list):
        def append(self, item):
            super().append(item)
            if len(self) == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("utils.run.graceful_shutdown._received", Received())
    with graceful_shutdown(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
        stop_if_requested()
    assert capfd.readouterr().err.count("stopping after this step") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_workers_end_with_a_main_process_that_was_killed_while_they_started():
    """torch's own watch would have a worker wait for ever for batches to load, and hold what it inherited."""
    script = f"""if True:
        import multiprocessing, os, signal, sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from utils.run.graceful_shutdown import leave_signals_to_main_process
        def worker(main):
            while os.getppid() == main:
                time.sleep(0.01)
            leave_signals_to_main_process(0)
            time.sleep(60)
            print("still there")
        process = multiprocessing.get_context("fork").Process(target=worker, args=[os.getpid()])
        process.start()
        print("started", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # all that print
    assert done.returncode == -signal.SIGKILL and done.stdout == "started\n"
