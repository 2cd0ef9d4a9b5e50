"""Baselines: binary and softmax cross-entropy, focal and asymmetric loss, called like R4C.

All are means: softmax cross-entropy over the B images of the batch, the others over its B * C entries. They ignore the
features. `forward(features, logits, labels)` returns (scalar, loss terms by name), as `R4CLoss` does.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from .approx_ndcg import check_labels, check_same_shape, check_values, in_full_precision


class BaselineLoss(nn.Module):
    """The mean of `losses(logits, labels)`, of entries or of lists, as the loss term `name`.

    `forward` raises ValueError if the shapes differ, and for labels that are not 0 or 1; with `soft_labels`, not from 0
    to 1 (on a GPU, see `check_labels`).
    """

    name: str
    soft_labels = True

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        check_same_shape(logits, labels)
        self.check_labels(labels)
        total = in_full_precision(self.losses)(logits, labels, labels_checked=True).mean()
        return total, {self.name: total.detach()}

    def check_labels(self, labels: Tensor) -> None:
        check_labels(labels, self.soft_labels)


class BCELoss(BaselineLoss):
    """Binary cross-entropy on logits."""

    name = "bce"

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


class CrossEntropyLoss(BaselineLoss):
    """Softmax cross-entropy, for exactly one label per image: labels must be one-hot, or soft with a sum of 1."""

    name = "ce"

    def check_labels(self, labels: Tensor) -> None:
        sums = labels.sum(1)
        valid = (labels >= 0).all(1) & ((sums - 1).abs() < 1e-3)
        check_values(sums, valid, "labels must be one-hot, or soft with a sum of 1, for cross-entropy")

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")


class FocalLoss(BaselineLoss):
    """Lin et al., "Focal loss for dense object detection" (2017), eq. 5, as torchvision computes it.

    Args:
        gamma: focusing exponent; 0 with alpha = -1 is BCE.
        alpha: weight of the positives, 1 - alpha that of the negatives; -1 weights neither (eq. 4).
    Raises:
        ValueError: unless alpha is -1 or between 0 and 1, which themselves would leave out the positives or the
            negatives; and unless gamma is 0 or at least 1, as between them the gradient is NaN where the probability
            rounds to 0 or 1.
    """

    name = "focal"

    def __init__(self, gamma: float = 2.0, alpha: float = 0.25):
        super().__init__()
        if alpha is None or alpha != -1 and not 0 < alpha < 1:
            raise ValueError(f"focal loss: alpha must be -1 or between 0 and 1, not {alpha}")
        if not (gamma == 0 or 1 <= gamma < math.inf):
            raise ValueError(f"focal loss: gamma must be 0 or at least 1, not {gamma}")
        self.gamma, self.alpha = gamma, alpha

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return sigmoid_focal_loss(logits, labels, self.alpha, self.gamma, reduction="none")


class AsymmetricLoss(BaselineLoss):
    """Ridnik et al., "Asymmetric loss for multi-label classification" (2021), eq. 7.

    Negatives: focusing gamma_neg on the shifted probability max(p - clip, 0). Positives: focusing gamma_pos.
    As in the equation, the gradient also flows through the focusing weights (the authors' code detaches them).

    Raises:
        ValueError: for a gamma between 0 and 1, whose gradient is infinite at probability 0; and unless clip is at
            least 0 and below 1, which would leave out the negatives.
    """

    name = "asl"

    def __init__(self, gamma_neg: float = 4.0, gamma_pos: float = 1.0, clip: float = 0.05):
        super().__init__()
        if not all(gamma == 0 or 1 <= gamma < math.inf for gamma in (gamma_neg, gamma_pos)):
            raise ValueError(f"asymmetric loss: gamma must be 0 or at least 1, not {gamma_neg} and {gamma_pos}")
        if not 0 <= clip < 1:
            raise ValueError(f"asymmetric loss: clip must be at least 0 and below 1, not {clip}")
        self.gamma_neg, self.gamma_pos, self.clip = gamma_neg, gamma_pos, clip

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        p = torch.sigmoid(logits)
        p_shifted = (p - self.clip).clamp(min=0)
        positive = (1 - p) ** self.gamma_pos * F.logsigmoid(logits)
        # log(1 - p_shifted) = log(min(1 - p + clip, 1)), without computing 1 - p, which rounds to 0 at large logits and
        # then has no gradient.
        log_clip = logits.new_full((), math.log(self.clip) if self.clip else -math.inf)
        negative = p_shifted**self.gamma_neg * torch.logaddexp(F.logsigmoid(-logits), log_clip).clamp(max=0)
        return -(labels * positive + (1 - labels) * negative)
