"""A bound on nDCG whose gradient never vanishes: the option `bound` of L2R-label and L2R-sample, which deviates from
the paper.

ApproxNDCG is flat for an item that ranks far from its ideal position, for two reasons: the slope of the sigmoid
vanishes, and 1 / log2 of the rank hardly changes beyond the first ranks. Bounds that keep rising replace both.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .approx_ndcg import check_same_shape


def ndcg_bound_loss(scores: Tensor, relevance: Tensor) -> Tensor:
    """Return an upper bound on how far the gain-weighted mean rank of each list exceeds its ideal.

    w_i  = (2^r_i - 1) / sum_j (2^r_j - 1)
    loss = sum over pairs with r_i > r_j of (w_i - w_j) * log2(1 + exp(s_j - s_i))

    A pair in the wrong order raises the mean rank sum_i w_i rank_i by w_i - w_j, and log2(1 + exp(s_j - s_i)) is at
    least 1 for it. So that mean is at most loss + sum_i w_i i, with r in descending order, and because 1 / log2(1 + x)
    is convex,

    DCG / sum_j (2^r_j - 1) = sum_i w_i / log2(1 + rank_i) >= 1 / log2(1 + loss + sum_i w_i i).

    The last sum does not depend on the scores: reducing the loss raises this lower bound of nDCG. (It is "ARP loss 2"
    of Wang et al., "The LambdaLoss framework for ranking metric optimization", 2018, with nDCG's gains as relevances.)

    Args:
        scores: (L, N), a list of N items per row; higher is better. Unbounded, like logits: the step has width 1.
        relevance: (L, N), real and >= 0.
    Returns:
        (L,) >= 0; tends to 0 for a sorted list with growing distances between items of different relevance; 0 without
        relevant items. Memory grows with L * N * N.
    Raises:
        ValueError: if they are not 2-D, or the shapes differ.
    """
    check_same_shape(scores, relevance, "relevances")
    gains = torch.exp2(relevance) - 1
    weights = gains / gains.sum(1, keepdim=True).clamp(min=torch.finfo(gains.dtype).tiny)
    steps = F.softplus(scores.unsqueeze(1) - scores.unsqueeze(2)) / math.log(2)  # (L, i, j)
    costs = (weights.unsqueeze(2) - weights.unsqueeze(1)).clamp(min=0)
    return (costs * steps).sum((1, 2))
