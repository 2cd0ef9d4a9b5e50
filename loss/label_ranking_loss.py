"""L2R-label: in each image, present labels rank above a buffer interval around 0.5, absent labels below it."""

from numbers import Integral

import torch
from torch import Tensor

from .approx_ndcg import approx_ndcg_loss, check_same_shape, in_full_precision
from .ndcg_bound import ndcg_bound_loss


@in_full_precision
def label_ranking_loss(scores: Tensor, labels: Tensor, number_label: int = 4, range_label: float = 0.1,
                       alpha: float = 100.0, bound: bool = False) -> Tensor:
    """Each image ranks its C labels together with `number_label` virtual neutral labels.

    Relevance: 2 for a positive, 1 for a neutral, 0 for a negative label. Reduction: the loss of each
    image is divided by its number of positive labels, then **summed** over the images. An image without a
    positive label adds 0: it has nothing to rank above the buffer.

    Args:
        scores: (B, C) in [0, 1]; with `bound`, logits.
        labels: (B, C) of 0 and 1.
        number_label, range_label: number of virtual labels, and half-width of their scores' interval around 0.5.
        alpha: sharpness of the ranks; not used with `bound`.
        bound: rank the logits by `ndcg_bound_loss` instead of `approx_ndcg_loss`: deviates from the paper.
    Returns:
        scalar >= 0.
    """
    losses = rank_with_neutral_items(scores, labels, number_label, range_label, alpha, bound)
    positives = labels.sum(1)
    return torch.where(positives > 0, losses / positives.clamp(min=1), 0).sum()


def check_neutral_items(number: int, halfwidth: float) -> None:
    """Raise ValueError unless number is a whole number of at least 0, and halfwidth from 0 to 0.5."""
    if not isinstance(number, Integral) or number < 0 or not 0 <= halfwidth <= 0.5:
        raise ValueError("neutral items need a whole number of at least 0 and a range from 0 to 0.5, not "
                         f"{number} and {halfwidth}")


def rank_with_neutral_items(scores: Tensor, labels: Tensor, number: int, halfwidth: float, alpha: float,
                            bound: bool) -> Tensor:
    """Return the loss of each list with virtual neutral items, the buffer interval of L2R-label and L2R-sample.

    Their scores are constants, evenly spaced over [0.5 - halfwidth, 0.5 + halfwidth], ends included (a single
    item sits at the lower end), so they carry no gradient. They drive positives above the buffer and negatives
    below it, so that the threshold 0.5 separates them.

    Args:
        scores, labels: (L, N), a list per row. With `bound`, scores are logits, and so are those of the neutral items.
    Returns:
        (L,), for lists of N + number items of relevance 2 (positive), 1 (neutral) and 0 (negative).
    """
    check_same_shape(scores, labels)
    check_neutral_items(number, halfwidth)
    neutral = torch.linspace(0.5 - halfwidth, 0.5 + halfwidth, number, device=scores.device, dtype=scores.dtype)
    if bound:
        neutral = torch.logit(neutral, eps=torch.finfo(neutral.dtype).eps)
    neutral = neutral.expand(len(scores), number)
    lists = torch.cat([scores, neutral], 1), torch.cat([2 * labels, torch.ones_like(neutral)], 1)
    return ndcg_bound_loss(*lists) if bound else approx_ndcg_loss(*lists, alpha)
