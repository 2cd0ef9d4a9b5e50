"""R4C's losses list by list, with which `loss_speed.py` and `epoch_speed.py` compare.

Written directly from the equations: a Python loop over the lists (a query image, an image, a label), a matrix of score
differences for each, and conditions that synchronise host and device (is anything relevant?).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def ndcg_loss(scores: Tensor, relevance: Tensor, alpha: float) -> Tensor:
    """1 - nDCG of one list (N,) with soft ranks."""
    steps = torch.sigmoid(alpha * (scores[None, :] - scores[:, None]))
    ranks = 1 + steps.sum(1) - steps.diagonal()
    ideal = torch.sort(relevance, descending=True).values
    positions = torch.arange(1, len(scores) + 1, device=scores.device)
    dcg = ((2**relevance - 1) / torch.log2(ranks + 1)).sum()
    idcg = ((2**ideal - 1) / torch.log2(positions + 1)).sum()
    return 1 - dcg / idcg if idcg.item() > 0 else 0 * dcg


def with_neutrals(scores: Tensor, labels: Tensor, number: int) -> tuple[Tensor, Tensor]:
    neutral = torch.linspace(0.4, 0.6, number, device=scores.device)
    return torch.cat([scores, neutral]), torch.cat([2 * labels, torch.ones_like(neutral)])


class RowByRowLoss(nn.Module):
    """R4C with its published settings; called as `loss.R4CLoss`."""

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        features, scores = features.float(), torch.sigmoid(logits.float())
        feature = label = sample = 0
        for query in range(len(features)):
            others = torch.arange(len(features), device=features.device) != query
            distances = F.pairwise_distance(features[query], features[others], eps=1e-6)
            common = (labels[query] * labels[others]).sum(1)
            union = ((labels[query] + labels[others]) > 0).sum(1)
            feature = feature + ndcg_loss(-distances, common / union.clamp(min=1), alpha=10)
        for image_scores, image_labels in zip(scores, labels):
            positives = image_labels.sum()
            if positives.item() > 0:
                label = label + ndcg_loss(*with_neutrals(image_scores, image_labels, 4), alpha=100) / positives
        for label_scores, image_labels in zip(scores.T, labels.T):
            sample = sample + ndcg_loss(*with_neutrals(label_scores, image_labels, 16), alpha=100)
        return feature + label + sample, {"feature": feature.detach(), "label": label.detach(),
                                          "sample": sample.detach()}
