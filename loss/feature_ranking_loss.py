"""L2R-feature: images that share labels should lie close together in feature space."""

import torch
from torch import Tensor

from .approx_ndcg import approx_ndcg_loss, in_full_precision

# Feature differences in memory at a time: 1 GB of float32.
_DIFFERENCES_AT_ONCE = 2**28


@in_full_precision
def feature_ranking_loss(features: Tensor, labels: Tensor, alpha: float = 10.0) -> Tensor:
    """Each image is a query that ranks the other B - 1 images of the batch.

    Score: the negative Euclidean distance of the features. Relevance: the Jaccard index of the two label
    sets, real-valued. Reduction: **sum** over the queries (a query without a relevant image adds 0), so the
    value grows with B; Adam's step does not depend on that factor.

    Args:
        features: (B, D), the input of the classifier.
        labels: (B, C) of 0 and 1.
        alpha: sharpness of the ranks, in units of 1 / distance.
    Returns:
        scalar >= 0; 0 for a batch of one image.
    """
    distances, relevance = euclidean_distances(features), jaccard_index(labels)
    return approx_ndcg_loss(-without_diagonal(distances), without_diagonal(relevance), alpha).sum()


def euclidean_distances(features: Tensor) -> Tensor:
    """(B, D) -> (B, B). The gradient at distance 0 is 0, where that of a square root would be NaN."""
    # On CUDA the gradient of cdist stores all differences (B, B, D): a few rows at a time bound that memory.
    rows = features.split(max(1, _DIFFERENCES_AT_ONCE // max(1, features.numel())))
    # cdist's shortcut by a matrix product suffers from cancellation for features close together.
    return torch.cat([torch.cdist(chunk, features, compute_mode="donot_use_mm_for_euclid_dist") for chunk in rows])


def jaccard_index(labels: Tensor) -> Tensor:
    """(B, C) of 0 and 1 -> (B, B): |a and b| / |a or b| of each pair of label sets; 0 if both are empty."""
    common = labels @ labels.T
    sizes = labels.sum(1)
    union = sizes.unsqueeze(0) + sizes.unsqueeze(1) - common
    return common / union.clamp(min=1)


def without_diagonal(square: Tensor) -> Tensor:
    """(B, B) -> (B, B - 1), by strides alone: a boolean mask would synchronise host and device."""
    size = len(square)
    # After the first diagonal element, each run of B + 1 elements ends with the next diagonal element.
    return square.flatten()[1:].view(size - 1, size + 1)[:, :-1].reshape(size, size - 1)
