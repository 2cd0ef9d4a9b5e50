"""Rival ranking losses of multilabel classification: Two-way, ZLPR and Smooth-AP, called like R4C.

Each ranks logits or scores, without virtual items. They ignore the features. `forward(features, logits, labels)`
returns (scalar, loss terms by name), as `R4CLoss` does. Where no list is left, the loss is 0, with a gradient of 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .baselines import BaselineLoss


class TwoWayLoss(BaselineLoss):
    """Kobayashi, "Two-way multi-label loss" (2023): each image ranks its labels, each label the images of the batch.

    softplus(T_neg log sum_N exp(s / T_neg) + T_pos log sum_P exp(-s / T_pos)) for the positive items P and the negative
    items N of a list; the mean over images plus the mean over labels, of those with a positive.

    Args:
        temperature_pos, temperature_neg: T_pos, T_neg > 0; the smaller, the more the hardest items count.
    Raises:
        ValueError: for a temperature that is not positive.
    """

    name = "twoway"
    soft_labels = False

    def __init__(self, temperature_pos: float = 4.0, temperature_neg: float = 1.0):
        super().__init__()
        if not (temperature_pos > 0 and temperature_neg > 0):
            raise ValueError("two-way loss: temperatures must be positive, not "
                             f"{temperature_pos} and {temperature_neg}")
        self.temperature_pos, self.temperature_neg = temperature_pos, temperature_neg

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self._one_way(logits, labels) + self._one_way(logits.T, labels.T)

    def _one_way(self, scores: Tensor, labels: Tensor) -> Tensor:
        negatives = _log_sum_exp(scores / self.temperature_neg, labels <= 0)
        positives = _log_sum_exp(-scores / self.temperature_pos, labels > 0)
        losses = F.softplus(self.temperature_neg * negatives + self.temperature_pos * positives)
        return _mean_of_lists(losses, labels)


class ZLPRLoss(BaselineLoss):
    """Su et al., "ZLPR: A novel loss for multi-label classification" (2022): each image ranks its labels and a
    threshold at logit 0, log(1 + sum_P exp(-s)) + log(1 + sum_N exp(s)); the mean over images."""

    name = "zlpr"
    soft_labels = False

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        with_threshold = F.pad(torch.stack([-logits, logits]), (1, 0))  # (2, B, 1 + C): a 0 in front
        is_in = F.pad(torch.stack([labels > 0, labels <= 0]), (1, 0), value=True)
        return _log_sum_exp(with_threshold, is_in).sum(0)


class SmoothAPLoss(BaselineLoss):
    """Brown et al., "Smooth-AP: Smoothing the path towards large-scale image retrieval" (2020), with a list per label:
    the images of the batch, by sigmoid scores.

    1 - the mean over positives i of (1 + sum_{j in P, j != i} sigmoid((s_j - s_i) / tau)) / (1 + sum_{j != i}
    sigmoid((s_j - s_i) / tau)); the mean over labels with a positive. Memory grows with C * B * B.

    Args:
        tau: > 0; as it falls, the loss tends to 1 - AP.
    Raises:
        ValueError: for a tau that is not positive.
    """

    name = "smoothap"
    soft_labels = False

    def __init__(self, tau: float = 0.01):
        super().__init__()
        if not tau > 0:
            raise ValueError(f"Smooth-AP: tau must be positive, not {tau}")
        self.tau = tau

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        scores, labels = torch.sigmoid(logits).T, labels.T
        steps = torch.sigmoid((scores.unsqueeze(1) - scores.unsqueeze(2)) / self.tau)  # (C, i, j)
        # A sum that includes j = i adds sigmoid(0) = 1/2: 1/2 more is the 1 of the formula.
        precisions = ((steps * labels.unsqueeze(1)).sum(2) + 0.5) / (steps.sum(2) + 0.5)
        return _mean_of_lists(1 - (precisions * labels).sum(1) / labels.sum(1).clamp(min=1), labels)


def _log_sum_exp(values: Tensor, is_in: Tensor) -> Tensor:
    """log sum exp over the values of each list (last dimension) that are in it; if none is, it is very small, with a
    gradient of 0."""
    return values.masked_fill(~is_in, torch.finfo(values.dtype).min / 2).logsumexp(-1)


def _mean_of_lists(losses: Tensor, labels: Tensor) -> Tensor:
    """The mean of (L,) losses over the lists whose labels (L, N) have a positive."""
    has_positive = labels.any(1)
    return torch.where(has_positive, losses, 0).sum() / has_positive.sum().clamp(min=1)
