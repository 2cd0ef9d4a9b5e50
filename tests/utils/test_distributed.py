"""Many processes: every gradient, weight, score and metric is that of one process, and they stop together."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler, TensorDataset

import many
from dataset.loader import SlicesOfBatches
from loss import build_loss
from utils import distributed
from utils.engine import train_one_epoch

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


@pytest.mark.parametrize("number", [2, 3])
def test_every_gradient_is_that_of_one_process(tmp_path, number):
    expected = all_cases()
    for found in many.results(tmp_path, number, all_cases):
        for case, (weights, losses) in expected.items():
            for name, value in weights.items():
                torch.testing.assert_close(found[case][0][name], value, rtol=0, atol=1e-10, msg=f"{case} {name}")
            assert found[case][1] == pytest.approx(losses, abs=1e-10), case


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
