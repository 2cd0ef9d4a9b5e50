"""The exploration's own pieces: what it says of gradients, and the losses that are nowhere else."""

import json
import math

import pytest
import torch

from benchmark import explore
from loss import R4CLoss, ndcg_bound_loss
from utils.errors import InputError


def test_gradient_statistics():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.2]], requires_grad=True)
    logits = features @ torch.randn(2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1.0, 0], [1, 1], [0, 0]])
    # The first label: both images that have it are below the one that has not, one of them near; the second: in order.
    shown = logits + (torch.logit(torch.tensor([[0.3, 0.1], [0.47, 0.9], [0.49, 0.3]])) - logits).detach()
    statistics = explore.gradient_statistics(features, shown, labels)
    assert (statistics["wrong pairs"], statistics["usable pairs"]) == (2, 1)
    assert statistics["in buffer"] == pytest.approx(2 / 6)
    for term in ("feature", "label", "sample"):
        total, _ = R4CLoss(parts=[term])(features, shown, labels)
        gradient, = torch.autograd.grad(total, features, retain_graph=True)
        assert statistics[f"norm {term}"] == pytest.approx(gradient.norm().item()) != 0


def test_the_losses_that_were_dropped_are_their_formulas():
    scores, relevance = torch.tensor([[0.3, -1.0, 2.0, 0.5]]), torch.tensor([[2.0, 1.0, 0.0, 1.0]])
    gains, ideal_ranks, discounted, ideal, logarithm = [3, 1, 0, 1], [1, 3, 4, 2], 0.0, 0.0, 0.0
    for i, gain in enumerate(gains):
        v = sum(math.log2(1 + math.exp(scores[0, j] - scores[0, i])) for j in range(4) if gains[j] < gain)
        ideal += gain / math.log2(ideal_ranks[i] + 1)
        discounted += gain / math.log2(ideal_ranks[i] + v + 1)
        logarithm += gain / sum(gains) * math.log2(1 + v / (ideal_ranks[i] + 1))
    assert explore.bounded_ranks(scores, relevance).item() == pytest.approx(1 - discounted / ideal, rel=1e-5)
    assert explore.bounded_logarithm(scores, relevance).item() == pytest.approx(logarithm, rel=1e-5)


def test_score_lists_are_those_of_r4c():
    logits, labels = torch.randn(5, 4), (torch.rand(5, 4) < 0.5).float()
    labels[:, 0] = 1  # no image without a label, as in the data
    total, _ = explore.ScoreLists(ndcg_bound_loss)(None, logits, labels)
    expected, _ = R4CLoss(parts=("label", "sample"), bound=True)(None, logits, labels)
    torch.testing.assert_close(total, expected)


def test_the_other_forms_of_r4c_change_just_what_they_say():
    features, labels = torch.randn(6, 5, requires_grad=True), (torch.rand(6, 4) < 0.5).float()
    logits = features @ torch.randn(5, 4)
    published, parts = R4CLoss()(features, logits, labels)
    annealed, _ = explore.ROWS["annealed"].loss(0.5)(features, logits, labels)
    torch.testing.assert_close(annealed, published)
    assert explore.ROWS["annealed"].loss(0).alpha == 10 and explore.ROWS["annealed"].loss(0.95).alpha == 100
    unit, unit_parts = explore.UnitFeatures()(3 * features, logits, labels)
    torch.testing.assert_close(unit - unit_parts["feature"], published - parts["feature"])
    length = features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(unit_parts["feature"], R4CLoss(parts=["feature"])(features / length, logits, labels)[0])
    assert "bce" in explore.ROWS["warm_up"].loss(0.15)(features, logits, labels)[1]
    assert "sample" in explore.ROWS["warm_up"].loss(0.2)(features, logits, labels)[1]


@pytest.mark.parametrize("row, rest, bound", [("r4c_memory", ("feature", "label"), False),
                                                ("bound_memory", ("label",), True)])
def test_a_memory_ranks_a_batch_with_the_three_before_it(row, rest, bound):
    loss, recorded, gradients = explore.ROWS[row].loss(0), [], []
    for _ in range(6):
        features, labels = torch.randn(4, 5), (torch.rand(4, 3) < 0.5).float()
        logits = torch.randn(4, 3, requires_grad=True)
        recorded.append((logits, labels))
        ranked, marked = (torch.cat(both) for both in zip(*recorded[-4:]))
        total, parts = loss(features, logits, labels)
        expected, _ = R4CLoss(parts=rest, bound=bound)(features, logits, labels)
        lists, _ = R4CLoss(parts=("sample",), bound=bound)(None, ranked, marked)
        torch.testing.assert_close(total, expected + lists)
        assert {*parts} == {*rest, "sample"}
        gradient, = torch.autograd.grad(expected + lists, logits)
        total.backward()
        gradients.append(gradient)
    for (logits, _), gradient in zip(recorded, gradients):  # of its own step alone
        torch.testing.assert_close(logits.grad, gradient)


def test_the_learning_rate_of_an_epoch():
    assert [explore.ROWS["bce"].rate(epoch) for epoch in (1, 10)] == pytest.approx([5e-4, 5e-5])
    assert [explore.ROWS["bce_400_epochs"].rate(epoch) for epoch in (199, 200)] == pytest.approx([5e-4, 5e-5])
    assert [explore.ROWS["bce_cosine"].rate(epoch) for epoch in (1, 11)] == pytest.approx([5e-4, 2.5e-4])


def test_balanced_parts_have_gradients_of_one_norm():
    features, labels = torch.randn(6, 5, requires_grad=True), (torch.rand(6, 4) < 0.5).float()
    logits = features @ torch.randn(5, 4)
    total, parts = explore.Balanced()(features, logits, labels)
    gradients = {term: torch.autograd.grad(loss, features, retain_graph=True)[0] for term, loss in parts.items()}
    mean = sum(gradient.norm() for gradient in gradients.values()) / 3
    expected = sum(gradient / gradient.norm() * mean for gradient in gradients.values())
    torch.testing.assert_close(torch.autograd.grad(total, features)[0], expected)


def test_a_run_is_kept_with_averaged_weights_and_views_and_the_table_shows_it(tmp_path, monkeypatch):
    monkeypatch.setattr(explore, "RESULTS", tmp_path)
    monkeypatch.setattr(explore, "EPOCHS", 2)
    monkeypatch.setattr(explore, "BLOCK", 18)
    averaged = []

    class Averaged(explore.AveragedModel):
        def update_parameters(self, model):
            averaged.append(model)
            super().update_parameters(model)

    monkeypatch.setattr(explore, "AveragedModel", Averaged)
    labels = torch.tensor([[1.0, 0] * 8 + [1], [0, 1] * 8 + [0]])
    stored = {term: (torch.randn(8, 2 * pairs, 320, 3, 3), labels.repeat(pairs, 1))
            for term, pairs in (("train", 16), ("val", 4), ("test", 3))}
    for seed in (1, 2):
        result = explore.train("bound_cosine", seed, stored, None)
        assert [values["epoch"] for values in result["epochs"]] == [1, 2] and len(averaged) == seed * 2 * 32 / 16
        assert result["best"]["val"]["micro F1"] == max(values["val"]["micro F1"] for values in result["epochs"])
        assert all(0 <= result[how][term][name] <= 1 for how in ("best", "averaged", "views")
                   for term in ("val", "test") for name in ("mAP", "micro F1"))
        (tmp_path / f"bound_cosine_seed{seed}.json").write_text(json.dumps(result))
    averaged.clear()
    explore.train("bce_batch_64", 1, stored, None)
    assert len(averaged) == 2
    monkeypatch.setattr(explore, "EPOCHS", 1)
    assert [values["epoch"] for values in explore.train("bce_400_epochs", 1, stored, None)["epochs"]] == [20]
    rows = [line.split(" | ") for line in explore.table().splitlines() if line.startswith("| bound_cosine")]
    assert rows[0][1:4] == ["`bound`, cosine schedule", "0.0005", "2"] and len(rows) == 2
    assert explore.draw()
    (tmp_path / "bound_cosine_seed1.json").write_text("{")
    with pytest.raises(InputError, match="bound_cosine_seed1.json is damaged .* remove it and run its command again"):
        explore.results()


def test_scores_are_means_over_views():
    activations, labels = torch.randn(8, 4, 3), torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])

    class Network(torch.nn.Module):
        def forward(self, batch):
            return None, batch[:, :2]

    stored = {"val": (activations, labels), "test": (activations, labels)}
    for views in (1, 8):
        scores = torch.sigmoid(activations[:views, :, :2]).mean(0)
        expected = explore.multilabel_metrics(scores.numpy(), labels.numpy())
        assert explore.evaluate(Network(), stored, views)["test"] == {"mAP": expected["mAP"], "micro F1": expected["OF1"]}
