"""Two-way, ZLPR and Smooth-AP: the loop-written oracle with its gradients, finite differences, batches without lists."""

import math

import oracle
import pytest
import torch
from sklearn.metrics import average_precision_score

from loss import build_loss
from tests.loss.test_loss import batch

ORACLES = {"twoway": oracle.two_way_loss, "zlpr": oracle.zlpr_loss, "smoothap": oracle.smooth_ap_loss}
CASES = [("twoway", {}), ("twoway", {"temperature_pos": 0.5, "temperature_neg": 2.0}), ("zlpr", {}), ("smoothap", {}),
         ("smoothap", {"tau": 0.1})]


def value_and_gradient(name, logits, labels, **options):
    logits = logits.clone().requires_grad_()
    total, terms = build_loss(name, **options)(None, logits, labels)
    assert terms.keys() == {name} and not terms[name].requires_grad
    return total.detach(), torch.autograd.grad(total, logits)[0]


@pytest.mark.parametrize("size, num_labels", [(1, 1), (1, 5), (2, 1), (2, 5), (3, 4), (7, 3), (12, 17)])
@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_oracle(name, options, size, num_labels):
    _, logits, labels = batch(size, num_labels, seed=size)
    logits = (10 * logits).requires_grad_()
    expected = ORACLES[name](logits, labels, **options)
    gradient, = torch.autograd.grad(expected, logits)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        loss, computed = value_and_gradient(name, logits.detach().to(dtype), labels, **options)
        torch.testing.assert_close(loss.double(), expected.detach(), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(computed.double(), gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_gradcheck(name, options):
    _, logits, labels = batch(5, 4)
    labels[0], labels[:, 0] = 1, 0  # an image with all labels but one, and a label without images
    assert torch.autograd.gradcheck(lambda x: build_loss(name, **options)(None, x, labels)[0], logits.requires_grad_())


@pytest.mark.parametrize("name", ORACLES)
def test_batches_without_lists(name):
    """No positive anywhere: nothing is ranked, but ZLPR's negatives, below its threshold. No negative: 0 of Two-way and
    Smooth-AP, and ZLPR's positives above the threshold."""
    logits = torch.randn(4, 3)
    for labels in (torch.zeros(4, 3), torch.ones(4, 3)):
        loss, gradient = value_and_gradient(name, logits, labels)
        if name == "zlpr":
            expected = torch.log(1 + torch.exp((1 - 2 * labels) * logits).sum(1)).mean()
            torch.testing.assert_close(loss, expected)
        elif name == "smoothap" and labels.any():
            assert loss.abs() < 1e-6 and gradient.abs().max() < 1e-4  # of two sums that round alike
        else:
            assert loss == 0 and not gradient.any()


@pytest.mark.parametrize("name", ["twoway", "smoothap"])
def test_lists_without_a_positive_are_left_out_of_the_mean(name):
    _, logits, labels = batch(6, 5, share=0.5)
    labels[:, 0], labels[0] = 0, 0
    logits[:, 0], logits[0] = -1e4, -1e4  # far below all others, they are in nobody's way
    assert value_and_gradient(name, logits[:, :1], labels[:, :1])[0] == 0
    torch.testing.assert_close(*(value_and_gradient(name, logits[start:, start:], labels[start:, start:])[0]
                                 for start in (0, 1)))


def test_two_way_is_its_two_directions():
    _, logits, labels = batch(6, 4)
    one_image = [value_and_gradient("twoway", logits[[b]], labels[[b]])[0] for b in range(6)]
    # Of one image, the lists of labels have no negative, and count 0.
    by_image = sum(one_image) / labels.any(1).sum()
    one_label = [value_and_gradient("twoway", logits[:, [c]], labels[:, [c]])[0] for c in range(4)]
    by_label = sum(one_label) / labels.any(0).sum()
    torch.testing.assert_close(value_and_gradient("twoway", logits, labels)[0], by_image + by_label)


def test_zlpr_decides_at_logit_0():
    """Alone, a label's loss is log(2) at 0 on either side, and falls beyond it on the right side."""
    for label in (0.0, 1.0):
        losses = [build_loss("zlpr")(None, torch.tensor([[s]]), torch.tensor([[label]]))[0].item() for s in (-1.0, 0.0, 1.0)]
        assert losses[1] == pytest.approx(math.log(2)) and losses == sorted(losses, reverse=bool(label))


def test_smooth_ap_tends_to_average_precision():
    _, logits, labels = batch(40, 6, dtype=torch.float32)
    expected = 1 - sum(average_precision_score(y, s) for y, s in zip(labels.T, logits.T)) / 6
    errors = [abs(build_loss("smoothap", tau=tau)(None, logits, labels)[0].item() - expected) for tau in (0.1, 1e-2, 1e-3, 1e-6)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-6 < 1e-3 < errors[0]


@pytest.mark.parametrize("name, options", [("twoway", {"temperature_pos": 0}), ("twoway", {"temperature_neg": -1.0}),
                                           ("smoothap", {"tau": 0.0})])
def test_temperatures_are_positive(name, options):
    with pytest.raises(ValueError, match="must be positive"):
        build_loss(name, **options)
