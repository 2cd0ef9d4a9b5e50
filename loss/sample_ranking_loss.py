"""L2R-sample: for each label, images with it rank above a buffer interval around 0.5, images without it below."""

from torch import Tensor

from .approx_ndcg import in_full_precision
from .label_ranking_loss import rank_with_neutral_items


@in_full_precision
def sample_ranking_loss(scores: Tensor, labels: Tensor, number_sample: int = 16, range_sample: float = 0.1,
                        alpha: float = 100.0, bound: bool = False) -> Tensor:
    """Each label ranks the B images of the batch together with `number_sample` virtual neutral images.

    Relevance: 2 for an image that has the label, 1 for a neutral image, 0 for an image without it. Reduction: **sum**
    over the labels; a label without a positive image in the batch still counts (neutrals above negatives).

    Args:
        scores: (B, C) in [0, 1]; with `bound`, logits.
        labels: (B, C) of 0 and 1.
        number_sample, range_sample: number of virtual images, and half-width of their scores' interval around 0.5.
        alpha: sharpness of the ranks; not used with `bound`.
        bound: rank the logits by `ndcg_bound_loss` instead of `approx_ndcg_loss`: deviates from the paper.
    Returns:
        scalar >= 0.
    """
    return rank_with_neutral_items(scores.T, labels.T, number_sample, range_sample, alpha, bound).sum()
