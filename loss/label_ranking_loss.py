"""L2R-label: in each image, present labels rank above a buffer around 0.5, absent ones below it."""

import torch
from torch import Tensor

from .approx_ndcg import approx_ndcg_loss, check_same_shape, in_full_precision
from .ndcg_bound import ndcg_bound_loss


@in_full_precision
def label_ranking_loss(scores: Tensor, labels: Tensor, number_label: int = 4, range_label: float = 0.1,
                       alpha: float = 100.0, bound: bool = False) -> Tensor:
    """Each image ranks its C labels together with `number_label` virtual neutral labels.

    Relevance: 2 for a positive label, 1 for a neutral, 0 for a negative one. Reduction: the loss of each
    image divided by its number of positive labels, then **sum** over images. An image without a positive
    label adds 0: it has nothing to rank above the buffer.

    Args:
        scores: (B, C) in [0, 1]; with `bound`, logits.
        labels: (B, C) of 0 and 1.
        number_label, range_label: how many virtual labels, and how far their scores reach around 0.5.
        alpha: sharpness of the ranks; `bound` has none.
        bound: rank the logits by `ndcg_bound_loss` in place of `approx_ndcg_loss`: not the method as published.
    Returns:
        scalar >= 0.
    """
    losses = rank_with_neutral_items(scores, labels, number_label, range_label, alpha, bound)
    positives = labels.sum(1)
    return torch.where(positives > 0, losses / positives.clamp(min=1), 0).sum()


def rank_with_neutral_items(scores: Tensor, labels: Tensor, number: int, reach: float, alpha: float,
                            bound: bool) -> Tensor:
    """The loss of every list, virtual neutral items appended: the buffer interval of L2R-label and L2R-sample.

    Their scores are constants, evenly spaced over [0.5 - reach, 0.5 + reach], ends included (a single one
    sits at the lower end), so they carry no gradient; they drive positives above the buffer and negatives
    below it, which lets the threshold 0.5 separate them.

    Args:
        scores, labels: (L, N), a list per row; logits with `bound`, where the neutral items are the logits of theirs.
    Returns:
        (L,), of lists of N + number items of relevance 2 (positive), 1 (neutral) and 0 (negative).
    """
    check_same_shape(scores, labels)
    neutral = torch.linspace(0.5 - reach, 0.5 + reach, number, device=scores.device, dtype=scores.dtype)
    if bound:
        neutral = torch.logit(neutral, eps=torch.finfo(neutral.dtype).eps)
    neutral = neutral.expand(len(scores), number)
    lists = torch.cat([scores, neutral], 1), torch.cat([2 * labels, torch.ones_like(neutral)], 1)
    return ndcg_bound_loss(*lists) if bound else approx_ndcg_loss(*lists, alpha)
