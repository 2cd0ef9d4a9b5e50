"""The ranking losses against the reference vectors, the loop-written oracle, the exact nDCG and finite differences."""

import importlib
import math
from contextlib import nullcontext

import numpy as np
import oracle
import pytest
import sklearn.metrics
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import loss
from conftest import ROOT, reference
from loss import (
    R4CLoss,
    approx_ndcg_loss,
    build_loss,
    exact_ndcg_loss,
    feature_ranking_loss,
    label_ranking_loss,
    ndcg_bound_loss,
    sample_ranking_loss,
)

# The package's functions hide its modules of the same name.
APPROX_NDCG, FEATURE_RANKING_LOSS = map(importlib.import_module, ("loss.approx_ndcg", "loss.feature_ranking_loss"))
ALL_LOSSES = [*({"name": name} for name in loss.LOSSES), {"name": "r4c", "bound": True, "range_label": 0.5}]
RANKING_LOSSES = [feature_ranking_loss, label_ranking_loss, sample_ranking_loss]


def batch(size, num_labels, dim=6, seed=0, share=0.35, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(size, num_labels, generator=generator) < share).to(dtype)
    # Scores near 0.5 and features near each other: where the sigmoids are not saturated.
    logits = 0.3 * torch.randn(size, num_labels, generator=generator, dtype=dtype)
    features = 0.2 * torch.randn(size, dim, generator=generator, dtype=dtype)
    return features, logits, labels


def labels_for(name, labels):
    """The labels, but for softmax cross-entropy the first of each image's, one-hot."""
    return torch.eye(labels.shape[1], dtype=labels.dtype)[labels.argmax(1)] if name == "ce" else labels


def outputs_for(function, features, logits):
    return (features if function is feature_ranking_loss else torch.sigmoid(logits)).detach().requires_grad_()


def relative_error(computed, expected):
    computed, expected = torch.as_tensor(computed), torch.as_tensor(expected)
    return float((computed - expected).norm() / expected.norm()) if expected.norm() else float(computed.norm())


def test_reference_vectors():
    for case, ref in reference("losses").items():
        options = {name: ref[name].item() for name in
                   ("number_sample", "number_label", "range_sample", "range_label", "lambdas")}
        features, logits = (torch.from_numpy(ref[name]).requires_grad_() for name in ("features", "logits"))
        labels = torch.from_numpy(ref["labels"])
        total, terms = R4CLoss(**options)(features, logits, labels)
        assert relative_error(total.detach(), ref["total_loss"]) < 1e-4, case
        for name, term in terms.items():
            assert relative_error(term, ref[f"{name}_loss"]) < 1e-4, (case, name)

        scores = torch.sigmoid(logits)
        gradients = {
            "d_feature_loss_d_features": (feature_ranking_loss(features, labels), features),
            "d_label_loss_d_logits": (label_ranking_loss(scores, labels, options["number_label"],
                                                         options["range_label"]), logits),
            "d_sample_loss_d_logits": (sample_ranking_loss(scores, labels, options["number_sample"],
                                                           options["range_sample"]), logits),
        }
        for name, (value, variable) in gradients.items():
            gradient = torch.autograd.grad(value, variable, retain_graph=True)[0]
            assert relative_error(gradient, ref[name]) < 1e-4, (case, name)


@pytest.mark.parametrize("size, num_labels", [(1, 1), (1, 5), (2, 1), (2, 5), (3, 4), (7, 3), (12, 17)])
@pytest.mark.parametrize("function", RANKING_LOSSES)
def test_oracle(function, size, num_labels):
    for seed in range(3):
        features, logits, labels = batch(size, num_labels, seed=seed)
        outputs, oracle_outputs = (outputs_for(function, features, logits) for _ in range(2))
        value, expected = function(outputs, labels), getattr(oracle, function.__name__)(oracle_outputs, labels)
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
        value.backward()
        expected.backward()
        torch.testing.assert_close(outputs.grad, oracle_outputs.grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("number, halfwidth", [(0, 0.1), (1, 0.1), (3, 0.0), (8, 0.3)])
@pytest.mark.parametrize("function", [label_ranking_loss, sample_ranking_loss])
def test_oracle_neutral_items(function, number, halfwidth, bound):
    _, logits, labels = batch(6, 5)
    scores = 9 * logits if bound else torch.sigmoid(logits)
    torch.testing.assert_close(function(scores, labels, number, halfwidth, bound=bound),
                               getattr(oracle, function.__name__)(scores, labels, number, halfwidth, bound=bound))


@pytest.mark.parametrize("size, num_labels", [(1, 1), (1, 5), (2, 1), (7, 3), (12, 17)])
@pytest.mark.parametrize("function", [label_ranking_loss, sample_ranking_loss])
def test_oracle_of_the_bound(function, size, num_labels):
    for seed in range(3):
        _, logits, labels = batch(size, num_labels, seed=seed)
        outputs, oracle_outputs = ((9 * logits).requires_grad_() for _ in range(2))
        value, expected = function(outputs, labels, bound=True), getattr(oracle, function.__name__)(
            oracle_outputs, labels, bound=True)
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
        value.backward()
        expected.backward()
        torch.testing.assert_close(outputs.grad, oracle_outputs.grad, rtol=1e-7, atol=1e-10)


def test_the_bound_bounds_ndcg_and_rises_where_the_approximation_is_flat():
    generator = torch.Generator().manual_seed(0)
    scores = 4 * torch.randn(500, 9, generator=generator, dtype=torch.float64)
    relevance = 2 * torch.rand(500, 9, generator=generator, dtype=torch.float64)
    relevance[1:50] = relevance[1:50].round()
    relevance[0] = 0
    loss = ndcg_bound_loss(scores, relevance)
    gains, positions = 2**relevance - 1, torch.arange(2, 11)
    ideal = gains.sort(dim=1, descending=True).values
    dcg = (1 - exact_ndcg_loss(scores, relevance)) * (ideal / torch.log2(positions)).sum(1)
    bound = loss + (ideal * (positions - 1)).sum(1) / gains.sum(1).clamp(min=1e-300)
    ranks = 1 + (scores[:, None] > scores[:, :, None]).sum(2)
    mean_rank = (gains * ranks).sum(1)[1:] / gains[1:].sum(1)
    assert loss[0] == 0 and (loss[1:] > 0).all()
    assert (mean_rank < bound[1:]).all() and (dcg[1:] / gains[1:].sum(1) > 1 / torch.log2(1 + bound[1:])).all()
    sharp = ndcg_bound_loss(1e9 * scores, relevance) / 1e9  # each pair in the wrong order contributes its distance
    wrong = (scores[:, None] - scores[:, :, None]).clamp(min=0) * (gains[:, :, None] - gains[:, None]).clamp(min=0)
    torch.testing.assert_close(sharp[1:], wrong.sum((1, 2))[1:] / gains[1:].sum(1) / math.log(2))
    assert (ndcg_bound_loss(1e6 * relevance, relevance) < 1e-9).all()  # in the right order, far apart

    label, last = torch.tensor([[1.0, 0, 0]]), torch.tensor([[-3.0, 3, 3.5]], requires_grad=True)
    flat, rising = (torch.autograd.grad(label_ranking_loss(outputs, label, bound=bound), last)[0][0, 0]
                    for outputs, bound in ((torch.sigmoid(last), False), (last, True)))
    assert flat == 0 and rising < -0.05


@pytest.mark.parametrize("function", [label_ranking_loss, sample_ranking_loss])
def test_gradcheck_of_the_bound(function):
    _, logits, labels = batch(5, 4)
    labels[1], labels[:, 2] = 0, 0
    assert torch.autograd.gradcheck(lambda x: function(x, labels, bound=True), logits.requires_grad_())


def test_the_benchmark_compares_the_same_losses(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmark")
    row_by_row = importlib.import_module("row_by_row")
    features, logits, labels = batch(7, 4, dtype=torch.float32)
    labels[2], labels[:, 1] = 0, 0
    (total, terms), (expected, expected_terms) = (
        function(features, logits, labels) for function in (R4CLoss(), row_by_row.RowByRowLoss()))
    torch.testing.assert_close([total, *terms.values()], [expected, *expected_terms.values()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", RANKING_LOSSES)
def test_gradcheck(function):
    features, logits, labels = batch(5, 4)
    labels[1] = 0  # an image without a label
    labels[:, 2] = 0  # a label without an image
    assert torch.autograd.gradcheck(lambda x: function(x, labels), outputs_for(function, features, logits))


def plain_ndcg_loss(scores, relevance, alpha):
    """A direct implementation of approx_ndcg_loss: all lists at once, differentiated by autograd."""
    steps = torch.sigmoid(alpha * (scores[:, None, :] - scores[:, :, None]))
    ranks = 1 + steps.sum(2) - 0.5
    ideal_ranks = torch.arange(1, scores.shape[1] + 1, dtype=scores.dtype)
    idcg = ((2**relevance.sort(dim=1, descending=True).values - 1) / torch.log2(ideal_ranks + 1)).sum(1)
    return 1 - ((2**relevance - 1) / torch.log2(ranks + 1)).sum(1) / idcg


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("lists, length, alpha", [(1, 1, 10), (3, 2, 1), (17, 33, 100), (40, 21, 100), (64, 63, 10)])
def test_loss_and_gradient_agree_with_autograd(lists, length, alpha, dtype, tolerance):
    generator = torch.Generator().manual_seed(lists)
    scores = torch.rand(lists, length, generator=generator, dtype=dtype, requires_grad=True)
    relevance = 2 * torch.rand(lists, length, generator=generator, dtype=dtype)
    grad_losses = torch.randn(lists, generator=generator, dtype=dtype)
    value, expected = approx_ndcg_loss(scores, relevance, alpha), plain_ndcg_loss(scores, relevance, alpha)
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
    gradients = [torch.autograd.grad(losses, scores, grad_losses)[0] for losses in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance * float(gradients[1].abs().max()))


@pytest.mark.parametrize("function", RANKING_LOSSES)
def test_second_derivatives_raise(function):
    features, logits, labels = batch(5, 4)
    outputs = outputs_for(function, features, logits)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(function(outputs, labels), outputs, create_graph=True)


@pytest.mark.parametrize("function", RANKING_LOSSES)
def test_a_few_lists_at_a_time_change_nothing(function, monkeypatch):
    features, logits, labels = batch(12, 5)

    def value_and_gradient():
        outputs = outputs_for(function, features, logits)
        value = function(outputs, labels)
        return value, torch.autograd.grad(value, outputs)[0]

    whole = value_and_gradient()
    for at_once in (1, 500, 1000):  # one list, two lists of 21 items, all but a remainder
        monkeypatch.setattr(APPROX_NDCG, "_PAIRS_AT_ONCE", at_once)
        monkeypatch.setattr(FEATURE_RANKING_LOSS, "_DIFFERENCES_AT_ONCE", at_once)
        torch.testing.assert_close(value_and_gradient(), whole, rtol=1e-12, atol=1e-14)


def test_memory_does_not_grow_with_the_cube_of_the_batch(monkeypatch):
    """No tensor is larger than the features, B * B, or the buffers for the lists computed at once."""
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            largest = max([largest, *(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor))])
            return out

    monkeypatch.setattr(APPROX_NDCG, "_PAIRS_AT_ONCE", 100)
    features, logits, labels = batch(60, 4)
    features.requires_grad_()
    with Watch():
        plain_ndcg_loss(features @ features.T, labels @ labels.T, 10.0)
    assert largest == 60**3
    largest = 0
    with Watch():
        R4CLoss()(features, logits.requires_grad_(), labels)[0].backward()
    assert largest <= 2 * (60 + 16)**2  # two buffers for a list of L2R-sample
    monkeypatch.undo()
    largest = 0
    with Watch():
        R4CLoss()(features, logits, labels)
    assert largest <= 2 * 60 * 59**2  # a small batch does not allocate the full buffers


def test_distances_are_computed_a_few_rows_at_a_time(monkeypatch):
    """On CUDA, the gradient of cdist takes rows * B * D numbers."""
    rows, cdist = [], torch.cdist
    monkeypatch.setattr(torch, "cdist", lambda x1, x2, **options: rows.append(len(x1)) or cdist(x1, x2, **options))
    monkeypatch.setattr(FEATURE_RANKING_LOSS, "_DIFFERENCES_AT_ONCE", 5 * 12 * 6)
    features, _, labels = batch(12, 4)
    feature_ranking_loss(features, labels)
    assert rows == [5, 5, 2]


def test_small_relevances():
    """The loss depends only on their proportions."""
    scores, is_relevant = torch.rand(5, 7, dtype=torch.float64), torch.eye(7, dtype=torch.float64)[:5]
    small, large = (approx_ndcg_loss(scores, scale * is_relevant, 10) for scale in (1e-9, 1))
    torch.testing.assert_close(small, large, rtol=1e-5, atol=1e-5)


def test_exact_ndcg_agrees_with_scikit_learn_and_is_the_limit():
    rng = np.random.default_rng(0)
    scores, relevance = rng.random((20, 9)), rng.integers(0, 3, (20, 9))
    # scikit-learn's gain is the relevance itself: give it 2^r - 1.
    expected = [1 - sklearn.metrics.ndcg_score([2.0**r - 1], [s]) for r, s in zip(relevance, scores)]
    scores, relevance = torch.from_numpy(scores), torch.from_numpy(relevance).double()
    exact = exact_ndcg_loss(scores.requires_grad_(), relevance)
    assert not exact.requires_grad
    scores = scores.detach()
    np.testing.assert_allclose(exact, expected, atol=1e-12)
    errors = [(approx_ndcg_loss(scores, relevance, alpha) - exact).abs().max() for alpha in (10, 100, 1e3, 1e6)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 1e-2 and errors[-1] < 1e-6


@pytest.mark.parametrize("features, logits, labels", [
    (torch.randn(1, 4), torch.randn(1, 3), torch.tensor([[1, 0, 1]])),  # one image
    (torch.randn(2, 4), torch.randn(2, 3), torch.tensor([[1, 0, 1], [0, 1, 0]])),  # two, nothing in common
    (torch.randn(4, 4), torch.randn(4, 3), torch.zeros(4, 3)),  # no label anywhere
    (torch.randn(4, 4), torch.randn(4, 3), torch.ones(4, 3)),  # every label everywhere
    (torch.ones(4, 4), torch.zeros(4, 3), torch.eye(4)[:, :3]),  # identical features and scores
    (torch.randn(4, 4), torch.randn(4, 1), torch.tensor([[1], [0], [1], [0]])),  # one label only
    (1e4 * torch.randn(4, 4), 1e4 * torch.randn(4, 3), torch.eye(4)[:, :3]),  # saturated
])
@pytest.mark.parametrize("options", ALL_LOSSES, ids=str)
def test_degenerate_batches_are_finite(options, features, logits, labels):
    features, logits = features.clone().requires_grad_(), logits.clone().requires_grad_()
    total, terms = build_loss(**options)(features, logits, labels_for(options["name"], labels))
    gradients = torch.autograd.grad(total, [features, logits], allow_unused=True)
    for value in (total, *terms.values(), *(g for g in gradients if g is not None)):
        assert value.isfinite().all()


def test_values_of_degenerate_batches():
    features, logits, labels = batch(4, 3)
    assert feature_ranking_loss(features[:1], labels[:1]) == 0
    assert feature_ranking_loss(features, torch.zeros_like(labels)) == 0  # no image is relevant to another
    scores = torch.sigmoid(logits)
    assert label_ranking_loss(scores, torch.zeros_like(labels)) == 0
    assert sample_ranking_loss(scores, torch.zeros_like(labels)) > 0  # neutrals should rank above negatives
    low = torch.full_like(scores, 0.01)
    assert sample_ranking_loss(low, torch.zeros_like(labels), alpha=1e4) < 1e-6
    # An image without a label does not change the L2R-label of the rest.
    labels[0], labels[1:, 0] = 0, 1
    torch.testing.assert_close(label_ranking_loss(scores, labels), label_ranking_loss(scores[1:], labels[1:]))


def test_reductions_are_sums():
    """L2R-sample of a batch is the sum over its labels; L2R-label is the sum over its images."""
    _, logits, labels = batch(6, 4)
    scores = torch.sigmoid(logits)
    torch.testing.assert_close(sample_ranking_loss(scores, labels),
                               sum(sample_ranking_loss(scores[:, [c]], labels[:, [c]]) for c in range(4)))
    torch.testing.assert_close(label_ranking_loss(scores, labels),
                               sum(label_ranking_loss(scores[[b]], labels[[b]]) for b in range(6)))


def test_r4c_loss_combines_its_terms():
    features, logits, labels = batch(6, 4)
    total, terms = R4CLoss(number_sample=5, number_label=3, range_sample=0.2, range_label=0.3, lambdas=0.7)(
        features, logits, labels)
    scores = torch.sigmoid(logits)
    assert terms["feature"] == feature_ranking_loss(features, labels)
    assert terms["label"] == label_ranking_loss(scores, labels, 3, 0.3)
    assert terms["sample"] == sample_ranking_loss(scores, labels, 5, 0.2)
    torch.testing.assert_close(total, terms["feature"] + 0.7 * (terms["label"] + terms["sample"]))


def test_terms_of_r4c():
    features, logits, labels = batch(6, 4)
    _, all_terms = R4CLoss()(features, logits, labels)
    for chosen in (["feature"], ["sample", "label"], ["label"], ["feature", "sample"]):
        total, terms = R4CLoss(parts=chosen, lambdas=0.5)(features, logits, labels)
        assert terms == {name: all_terms[name] for name in chosen}
        torch.testing.assert_close(total, sum((1 if name == "feature" else 0.5) * terms[name] for name in chosen))
    total, terms = R4CLoss(5, 3, 0.2, 0.3, bound=True)(features, logits, labels)
    assert terms["feature"] == feature_ranking_loss(features, labels)
    assert terms["label"] == label_ranking_loss(logits, labels, 3, 0.3, bound=True)
    assert terms["sample"] == sample_ranking_loss(logits, labels, 5, 0.2, bound=True)
    torch.testing.assert_close(total, sum(terms.values()))
    for wrong in ([], ["labels"]):
        with pytest.raises(ValueError, match="loss terms are feature, label, sample"):
            R4CLoss(parts=wrong)
    with pytest.raises(ValueError, match="neither is among the loss terms"):
        R4CLoss(parts=["feature"], bound=True)


def test_good_scores_and_features_have_lower_losses():
    labels = torch.eye(3).repeat(4, 1)
    together, apart = 5 * labels, torch.arange(36.0).reshape(12, 3)
    _, good = R4CLoss()(together, 4 * (2 * labels - 1), labels)
    _, bad = R4CLoss()(apart, -4 * (2 * labels - 1), labels)
    assert all(3 * good[term] < bad[term] for term in good), (good, bad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", ALL_LOSSES, ids=str)
def test_full_precision_under_autocast(options, dtype):
    features, logits, labels = batch(8, 17, dim=64, dtype=torch.float32)
    low_features, low_logits, labels = features.to(dtype), logits.to(dtype), labels_for(options["name"], labels)
    expected, _ = build_loss(**options)(low_features.float(), low_logits.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = build_loss(**options)(low_features, low_logits, labels)
    assert total.dtype == torch.float32 and total == expected


def test_the_readme_example_of_full_precision():
    exact, coarse = (torch.sigmoid(100 * (torch.tensor(0.503, dtype=dtype) - 0.5))
                     for dtype in (torch.float64, torch.bfloat16))
    assert (round(exact.item(), 3), round(coarse.item(), 3)) == (0.574, 0.598)


def test_common_labels_are_counted_exactly_under_autocast():
    """bfloat16 cannot represent odd numbers above 256: a matrix product would miscount."""
    features, _, labels = batch(6, 900, share=0.6, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss_under_autocast = feature_ranking_loss(features, labels)
    assert loss_under_autocast == feature_ranking_loss(features, labels)


@pytest.mark.parametrize("options", ALL_LOSSES, ids=str)
def test_no_loss_synchronises_host_and_device(options):
    """Fake tensors have shapes but no values: reading one, or selecting by a mask, raises."""
    with FakeTensorMode():
        features, logits = torch.randn(8, 16, requires_grad=True), torch.randn(8, 5, requires_grad=True)
        labels = (torch.rand(8, 5) < 0.5).float()
        with pytest.raises(DataDependentOutputException):
            labels.sum().item()
        total, _ = build_loss(**options)(features, logits, labels)
        total.backward()
        assert logits.grad.shape == logits.shape


def test_baselines_are_the_published_formulas():
    _, logits, labels = batch(5, 4)
    p, y = torch.sigmoid(logits), labels
    p_shifted = (p - 0.05).clamp(min=0)
    expected = {
        "bce": -(y * p.log() + (1 - y) * (1 - p).log()),
        "focal": -(0.25 * y * (1 - p) ** 2 * p.log() + 0.75 * (1 - y) * p**2 * (1 - p).log()),
        "asl": -(y * (1 - p) * p.log() + (1 - y) * p_shifted**4 * (1 - p_shifted).log()),
    }
    for name, entries in expected.items():
        total, terms = build_loss(name)(None, logits, labels)
        torch.testing.assert_close(total, entries.mean())
        assert terms.keys() == {name} and not terms[name].requires_grad
    plain, _ = build_loss("focal", gamma=0.0, alpha=-1)(None, logits, labels)
    unshifted, _ = build_loss("asl", gamma_neg=0.0, gamma_pos=0.0, clip=0.0)(None, logits, labels)
    torch.testing.assert_close(plain, expected["bce"].mean())
    torch.testing.assert_close(unshifted, expected["bce"].mean())


@pytest.mark.parametrize("gamma", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("clip", [0.0, 0.001, 0.05, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_asymmetric_loss_of_saturated_scores(dtype, clip, gamma):
    """By loops in float64, with log(1 - p) = -log(1 + exp(logit)) in place of the logarithm of a rounded difference."""
    values = [-1e30, -1000.0, -40.0, -3.0, 0.0, 2.0, 8.0, 17.0, 18.0, 20.0, 40.0, 100.0, 1000.0, 1e30]
    logits = torch.tensor([values, values], dtype=dtype, requires_grad=True)
    labels = torch.tensor([[0.0], [1.0]]).expand_as(logits)
    asl = build_loss("asl", gamma_neg=gamma, gamma_pos=gamma, clip=clip)
    entries = asl.losses(logits, labels)
    entries.sum().backward()
    assert entries.isfinite().all() and logits.grad.isfinite().all()
    for logit, loss_of_absent, loss_of_present, gradient in zip(values, *entries.tolist(), logits.grad[0].tolist()):
        p, q = (1 / (1 + math.exp(-x)) if x > -700 else 0 for x in (logit, -logit))
        softplus, softplus_of_minus = (x if x > 700 else math.log1p(math.exp(x)) for x in (logit, -logit))
        shifted = max(p - clip, 0)
        minus_log = softplus if clip == 0 else -math.log(min(q + clip, 1))
        assert loss_of_absent == pytest.approx(shifted**gamma * minus_log, rel=1e-5, abs=1e-7)
        assert loss_of_present == pytest.approx(q**gamma * softplus_of_minus, rel=1e-5, abs=1e-7)
        expected = 0 if shifted == 0 else p * q * minus_log * gamma * shifted**(gamma - 1) + shifted**gamma * (
            p if clip == 0 else p * q / (q + clip))
        assert gradient == pytest.approx(expected, rel=1e-5, abs=2e-6)
    if clip == 0:
        torch.testing.assert_close(logits.grad[0, 7:], torch.ones_like(logits.grad[0, 7:]), rtol=1e-5, atol=1e-5)
    moderate = logits[:, 1:10].detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: asl.losses(x, labels[:, 1:10].double()), moderate)


@pytest.mark.parametrize("size, num_labels", [(1, 2), (5, 1), (7, 4)])
def test_softmax_cross_entropy_is_the_formula(size, num_labels):
    logits = torch.randn(size, num_labels, dtype=torch.float64)
    classes = torch.randint(num_labels, (size,))
    expected = 0.0
    for row, target in zip(logits.tolist(), classes.tolist()):
        expected -= math.log(math.exp(row[target]) / sum(math.exp(logit) for logit in row)) / size
    total, terms = build_loss("ce")(None, logits, torch.eye(num_labels)[classes])
    assert total.item() == pytest.approx(expected, rel=1e-12, abs=1e-15) and terms.keys() == {"ce"}


@pytest.mark.parametrize("name", ["bce", "ce", "focal", "asl"])
def test_baseline_gradients(name):
    _, logits, labels = batch(3, 4)
    labels = labels_for(name, labels)
    assert torch.autograd.gradcheck(lambda x: build_loss(name)(None, x, labels)[0], logits.requires_grad_())


WRONG_LABELS = [math.nan, math.inf, -1, 255, 1.05]


@pytest.mark.parametrize("name", loss.LOSSES)
def test_labels_are_checked(name):
    """Labels of 0 and 1 in any type; soft ones too where no list is made of them."""
    features, logits, labels = batch(6, 4, dtype=torch.float32)
    criterion, labels = build_loss(name), labels_for(name, labels)
    expected, _ = criterion(features, logits, labels)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64):
        assert criterion(features, logits, labels.to(dtype))[0] == expected
    soft = labels * 0.9 + (0.025 if name == "ce" else 0.05)  # of four, a sum of 1
    if name in ("bce", "ce", "focal", "asl"):
        assert criterion(features, logits, soft)[0] != expected
    else:
        with pytest.raises(ValueError, match="labels must be 0 or 1 .*, not 0.05"):
            criterion(features, logits, soft.clamp(max=0.05))
    for wrong in WRONG_LABELS:
        labels[2, 1] = wrong
        labels[2, [0, 2, 3]] = 0
        with pytest.raises(ValueError, match=rf"labels must be .*, not {wrong}"):
            criterion(features, logits, labels)
    with pytest.raises(ValueError, match=f"not {4 * 255 if name == 'ce' else 255}$"):
        criterion(features, logits, torch.full((6, 4), 255, dtype=torch.uint8))


@pytest.mark.parametrize("row", [[0.0, 0, 0], [1, 1, 0], [0, -1, 0], [-1, 1, 1], [0.5, 0.4, 0]])
def test_cross_entropy_takes_one_label_per_image(row):
    with pytest.raises(ValueError, match=f"one-hot, or soft with a sum of 1, .* not {sum(row):g}"):
        build_loss("ce")(None, torch.randn(2, 3), torch.tensor([[0, 1, 0], row]))


def test_cross_entropy_of_bool_labels():
    logits, labels = torch.randn(2, 4, 3), torch.eye(3, dtype=torch.bool)[torch.tensor([[0, 1, 2, 0], [1, 1, 0, 2]])]
    with pytest.raises(ValueError, match="one-hot, or soft with a sum of 1, .* not 2"):
        build_loss("ce")(None, logits[0], labels[0] | labels[1])
    losses = torch.func.vmap(lambda x, y: build_loss("ce")(None, x, y)[0])(logits, labels)  # which cannot check
    assert losses.tolist() == pytest.approx([build_loss("ce")(None, *pair)[0].item() for pair in zip(logits, labels)])


def test_one_part_as_a_word():
    assert R4CLoss(parts="label").parts == ("label",)


@pytest.mark.parametrize("function", [label_ranking_loss, sample_ranking_loss])
def test_scores_of_a_ranking_loss_alone_are_checked(function):
    """Logits are for `bound` only."""
    scores, labels = torch.rand(5, 4), torch.eye(5)[:, :4]
    for wrong in (1.01, -0.01, 100, math.inf):
        scores[2, 1] = wrong
        with pytest.raises(ValueError, match=rf"scores must lie in \[0, 1\] .*, not {wrong}"):
            function(scores, labels)
        assert function(scores.clamp(max=9), labels, 4, 0.1, 100.0, True) > 0
        assert function(scores.clamp(max=9), labels, bound=True) > 0
    scores[2, 1] = math.nan
    assert function(scores, labels).isnan()


@pytest.mark.parametrize("function", [exact_ndcg_loss, ndcg_bound_loss, lambda *lists: approx_ndcg_loss(*lists, 10)])
@pytest.mark.parametrize("shapes", [((3, 4), (3, 1)), ((3, 4), (1, 4)), ((2, 4, 4), (2, 4, 4)), ((4,), (4,))], ids=str)
def test_lists_are_rows(function, shapes):
    scores, relevance = map(torch.ones, shapes)
    with pytest.raises(ValueError) as error:
        function(scores, relevance)
    assert "scores and relevances must be 2-D with the same shape, not {} and {}".format(*shapes) in str(error.value)


@pytest.mark.parametrize("function", RANKING_LOSSES)
def test_labels_of_a_ranking_loss_alone_are_checked(function):
    for wrong in (*WRONG_LABELS, 0.05):
        with pytest.raises(ValueError, match=rf"labels must be 0 or 1 .*, not {wrong}"):
            function(torch.rand(3, 1), torch.tensor([[0.0], [wrong], [1.0]]))
    with pytest.raises(ValueError, match="class ids as one-hot rows.*, not 3"):
        function(torch.rand(3, 1), torch.tensor([0, 3, 1])[:, None])


@pytest.mark.parametrize("options", ALL_LOSSES, ids=str)
@pytest.mark.parametrize("device", ["cpu", "cuda", "meta"])
def test_labels_are_asserted_once_on_the_device(monkeypatch, options, device):
    devices = []
    monkeypatch.setattr(torch, "_assert_async", lambda valid, message: devices.append(valid.device.type))
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # which does not know meta
    with nullcontext() if device == "meta" else FakeTensorMode(), torch.device(device):
        build_loss(**options)(torch.empty(8, 16), torch.empty(8, 5), torch.empty(8, 5))
    assert devices == [device]
    with FakeTensorMode():
        APPROX_NDCG.check_labels(torch.empty(8, 5, device="mps"))
    assert devices == [device]  # which other devices may not know


@pytest.mark.parametrize("name", ["r4c", "bce"])
def test_a_compiled_loss_checks_labels_in_one_graph(name):
    features, logits, labels = batch(6, 4)
    torch._dynamo.reset()
    compiled = torch.compile(build_loss(name), backend="eager", fullgraph=True)
    assert compiled(features, logits, labels)[0] == build_loss(name)(features, logits, labels)[0]
    with pytest.raises(RuntimeError, match="labels must be"):
        compiled(features, logits, -labels)
    torch._dynamo.reset()


@pytest.mark.parametrize("name, options, message", [
    ("r4c", {"lambdas": -1}, "lambda must be at least 0, not -1"), ("r4c", {"lambdas": math.nan}, "not nan"),
    *(("r4c", {f"number_{term}": number}, f"not {number} and 0.1") for term in ("label", "sample") for number in (-1, 2.5)),
    *(("r4c", {f"range_{term}": halfwidth}, f"range from 0 to 0.5, not .* and {halfwidth}")
      for term in ("label", "sample") for halfwidth in (-0.1, 0.7, math.nan)),
    ("focal", {"gamma": -2}, "0 or at least 1, not -2"), ("focal", {"gamma": math.nan}, "not nan"),
    ("focal", {"alpha": None}, "between 0 and 1, not None"), ("asl", {"gamma_neg": math.nan}, "not nan"),
    ("twoway", {"temperature_neg": math.nan}, "not 4.0 and nan"), ("smoothap", {"tau": math.nan}, "not nan")], ids=str)
def test_settings_that_the_command_line_rejects(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_loss(name, **options)


def test_neutral_items_of_a_ranking_loss_alone():
    for function in RANKING_LOSSES[1:]:
        for wrong in ((-1, 0.1), (2.5, 0.1), (4, -0.1), (4, 0.7)):
            with pytest.raises(ValueError, match="neutral items need"):
                function(torch.rand(4, 3), torch.zeros(4, 3), *wrong)


def test_parts_from_a_generator():
    features, logits, labels = batch(6, 4)
    total, terms = R4CLoss(parts=(term for term in ("label", "sample")))(features, logits, labels)
    assert terms.keys() == {"label", "sample"} and total == sum(terms.values())


def test_wrong_arguments():
    with pytest.raises(ValueError, match="choose from r4c, bce"):
        build_loss("hinge")
    with pytest.raises(ValueError, match="gamma must be"):
        build_loss("asl", gamma_neg=0.5)
    for alpha in (-0.5, 0.0, 1.0):
        with pytest.raises(ValueError, match="alpha must be"):
            build_loss("focal", alpha=alpha)
    with pytest.raises(ValueError, match="clip must be"):
        build_loss("asl", clip=1.0)
    with pytest.raises(ValueError, match="gamma must be 0 or at least 1, not 0.5"):
        build_loss("focal", gamma=0.5)
    for function in RANKING_LOSSES:
        with pytest.raises(ValueError, match="expected two 2-D tensors"):
            function(torch.rand(4, 3), torch.zeros(5, 3))
    for function in RANKING_LOSSES[1:]:
        with pytest.raises(ValueError, match="scores and labels must be 2-D with the same shape"):
            function(torch.rand(4, 3), torch.zeros(4, 1))
    for name in loss.LOSSES:
        with pytest.raises(ValueError, match="scores and labels must be 2-D with the same shape"):
            build_loss(name)(torch.rand(4, 6), torch.rand(4, 3), torch.zeros(4, 1))
