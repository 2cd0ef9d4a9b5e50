"""The two loops: means of the losses, order of the scores, the schedule."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from loss import R4CLoss
from utils.engine import learning_rate, predict, train_one_epoch
from utils.errors import InputError


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
    for part in ("feature", "label", "sample"):
        assert report[part] == pytest.approx(np.mean([parts[part].item() for _, parts in steps]), rel=1e-5)
    assert report["images_per_second"] > 0


def test_training_lowers_the_loss_and_prediction_follows(loader):
    torch.manual_seed(0)
    model, loss, device = Pixels(), R4CLoss(), torch.device("cpu")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = [train_one_epoch(model, loader, loss, optimizer, normalize, device, "epoch")["loss"] for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]
    scores, labels = predict(model, loader, normalize, device, "test")
    again, _ = predict(model, loader, normalize, device, "test")
    np.testing.assert_array_equal(scores, again)  # no dropout
    images, expected_labels = loader.dataset.tensors
    np.testing.assert_array_equal(labels, expected_labels)
    with torch.no_grad():
        np.testing.assert_allclose(scores, torch.sigmoid(model.fc(normalize(images).flatten(1))), rtol=1e-5)


def test_scores_that_are_not_numbers_stop(loader):
    model = Pixels()
    nn.init.constant_(model.fc.bias, float("nan"))
    with pytest.raises(InputError, match="diverged"):
        predict(model, loader, normalize, torch.device("cpu"), "test")
