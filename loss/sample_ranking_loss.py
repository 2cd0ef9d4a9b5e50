"""L2R-sample: for each label, images that have it rank above a buffer around 0.5, the others below it."""

from torch import Tensor

from .approx_ndcg import in_full_precision
from .label_ranking_loss import rank_with_neutral_items


@in_full_precision
def sample_ranking_loss(scores: Tensor, labels: Tensor, number_sample: int = 16, range_sample: float = 0.1,
                        alpha: float = 100.0, bound: bool = False) -> Tensor:
    """Each label ranks the B images of the batch together with `number_sample` virtual neutral images.

    Relevance: 2 for an image that has the label, 1 for a neutral one, 0 for the others. Reduction: **sum**
    over the labels; one without a positive image in the batch still counts (neutrals above negatives).

    Args:
        scores: (B, C) in [0, 1]; with `bound`, logits.
        labels: (B, C) of 0 and 1.
        number_sample, range_sample: how many virtual images, and how far their scores reach around 0.5.
        alpha: sharpness of the ranks; `bound` has none.
        bound: rank the logits by `ndcg_bound_loss` in place of `approx_ndcg_loss`: not the method as published.
    Returns:
        scalar >= 0.
    """
    return rank_with_neutral_items(scores.T, labels.T, number_sample, range_sample, alpha, bound).sum()
