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


def test_bounded_ranks_are_their_formula():
    scores, relevance = torch.tensor([[0.3, -1.0, 2.0, 0.5]]), torch.tensor([[2.0, 1.0, 0.0, 1.0]])
    gains, ideal_ranks, discounted, ideal = [3, 1, 0, 1], [1, 3, 4, 2], 0.0, 0.0
    for i, gain in enumerate(gains):
        v = sum(math.log2(1 + math.exp(scores[0, j] - scores[0, i])) for j in range(4) if gains[j] < gain)
        ideal += gain / math.log2(ideal_ranks[i] + 1)
        discounted += gain / math.log2(ideal_ranks[i] + v + 1)
    assert explore.bounded_ranks(scores, relevance).item() == pytest.approx(1 - discounted / ideal, rel=1e-5)


def test_score_lists_are_those_of_r4c():
    logits, labels = torch.randn(5, 4), (torch.rand(5, 4) < 0.5).float()
    labels[:, 0] = 1  # no image without a label, as in the data
    total, _ = explore.ScoreLists(ndcg_bound_loss)(None, logits, labels)
    expected, _ = R4CLoss(parts=("label", "sample"), bound=True)(None, logits, labels)
    torch.testing.assert_close(total, expected)


def test_a_run_has_the_epoch_that_validation_selected_and_the_table_shows_it(tmp_path, monkeypatch):
    monkeypatch.setattr(explore, "RESULTS", tmp_path)
    monkeypatch.setattr(explore, "EPOCHS", 3)
    monkeypatch.setattr(explore, "BLOCK", 18)
    labels = torch.tensor([[1.0, 0] * 8 + [1], [0, 1] * 8 + [0]])
    data = {split: (torch.randn(8, 2 * pairs, 320, 3, 3), labels.repeat(pairs, 1))
            for split, pairs in (("train", 16), ("val", 4), ("test", 3))}
    runs = [explore.train("bound", seed, data, None) for seed in (1, 2)]
    for run in runs:
        assert [epoch["epoch"] for epoch in run["epochs"]] == [1, 2, 3]
        highest = max(epoch["val"]["micro F1"] for epoch in run["epochs"])
        assert run["best"] == [epoch for epoch in run["epochs"] if epoch["val"]["micro F1"] == highest][-1]
        (tmp_path / f"bound_seed{run['seed']}.json").write_text(json.dumps(run))
    (tmp_path / "bound_memory_seed1.json").write_text("of an earlier version")
    row, = (line.split(" | ") for line in explore.table().splitlines() if line.startswith("| bound"))
    mean = 50 * sum(run["best"]["test"]["mAP"] for run in runs)
    assert row[1:4] == ["... and no discount: `--bound --parts label sample`", "0.0005", "2"]
    assert row[6].startswith(f"{mean:.2f} ± ")
    assert explore.draw()
    (tmp_path / "bound_seed1.json").write_text("{")
    with pytest.raises(InputError, match="bound_seed1.json is damaged .* remove it and run its command again"):
        explore.results()


def test_scores_are_those_of_the_images_as_they_are():
    activations, labels = torch.randn(8, 4, 3), torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])

    class Network(torch.nn.Module):
        def forward(self, batch):
            return None, batch[:, :2]

    scores = torch.sigmoid(activations[0, :, :2])
    expected = explore.multilabel_metrics(scores.numpy(), labels.numpy())
    metrics = explore.evaluate(Network(), {"val": (activations, labels), "test": (activations, labels)})
    assert metrics["val"] == metrics["test"] == {"mAP": expected["mAP"], "micro F1": expected["OF1"]}
