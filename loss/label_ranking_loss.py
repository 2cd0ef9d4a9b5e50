"""L2R-label: in each image, present labels rank above a buffer around 0.5, absent ones below it."""

import torch
from torch import Tensor

from .approx_ndcg import approx_ndcg_loss, check_same_shape, in_full_precision


@in_full_precision
def label_ranking_loss(scores: Tensor, labels: Tensor, number_label: int = 4, range_label: float = 0.1,
                       alpha: float = 100.0) -> Tensor:
    """Each image ranks its C labels together with `number_label` virtual neutral labels.

    Relevance: 2 for a positive label, 1 for a neutral, 0 for a negative one. Reduction: the loss of each
    image divided by its number of positive labels, then **sum** over images. An image without a positive
    label adds 0: it has nothing to rank above the buffer.

    Args:
        scores: (B, C) in [0, 1].
        labels: (B, C) of 0 and 1.
        number_label, range_label: how many virtual labels, and how far their scores reach around 0.5.
        alpha: sharpness of the ranks.
    Returns:
        scalar >= 0.
    """
    losses = approx_ndcg_loss(*with_neutral_items(scores, labels, number_label, range_label), alpha)
    positives = labels.sum(1)
    return torch.where(positives > 0, losses / positives.clamp(min=1), 0).sum()


def with_neutral_items(scores: Tensor, labels: Tensor, number: int, reach: float) -> tuple[Tensor, Tensor]:
    """Append virtual neutral items to every list: the buffer interval of L2R-label and L2R-sample.

    Their scores are constants, evenly spaced over [0.5 - reach, 0.5 + reach], ends included (a single one
    sits at the lower end), so they carry no gradient; they drive positives above the buffer and negatives
    below it, which lets the threshold 0.5 separate them.

    Args:
        scores, labels: (L, N), a list per row.
    Returns:
        scores and relevances (2 positive, 1 neutral, 0 negative), (L, N + number) each.
    """
    check_same_shape(scores, labels)
    neutral = torch.linspace(0.5 - reach, 0.5 + reach, number, device=scores.device, dtype=scores.dtype)
    neutral = neutral.expand(len(scores), number)
    return torch.cat([scores, neutral], 1), torch.cat([2 * labels, torch.ones_like(neutral)], 1)
