"""A bound of nDCG with a slope everywhere: the option `bound` of L2R-label and L2R-sample, no part of the method as
published.

ApproxNDCG is flat for an item that ranks far from where it belongs, twice over: the slope of the step vanishes, and
1 / log2 of the rank hardly falls any more beyond the first ranks. Both are replaced by bounds that go on rising.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .approx_ndcg import check_same_shape


def ndcg_bound_loss(scores: Tensor, relevance: Tensor) -> Tensor:
    """How many less relevant items rank above an item, bounded from above, mean over the gains of a list.

    w_i  = (2^r_i - 1) / sum_j (2^r_j - 1)
    v_i  = sum over j with r_j < r_i of log2(1 + exp(s_j - s_i))     >= the number of less relevant items above i
    loss = sum_i w_i v_i

    With p_i, the rank of i once no less relevant item is above it, rank_i <= p_i + v_i. 1 / log2(1 + x) is convex, so

    DCG / sum_j (2^r_j - 1) = sum_i w_i / log2(1 + rank_i) >= 1 / log2(1 + sum_i w_i p_i + loss),

    where sum_i w_i p_i does not depend on the scores: what makes the loss small makes nDCG large. (For two grades of
    relevance this is the logistic bound of the mean rank of the relevant items, "ARP loss 1" in Wang et al., "The
    LambdaLoss framework for ranking metric optimization", 2018, without its pairs of equal relevance.)

    Args:
        scores: (L, N), a list of N items per row; higher is better. Unbounded, as logits are: the step is one of 1.
        relevance: (L, N), real and >= 0.
    Returns:
        (L,) >= 0, towards 0 as a list is sorted with ever larger distances between items of different relevance; 0
        where nothing is relevant. Memory grows with L * N * N.
    Raises:
        ValueError: where the two have different shapes.
    """
    check_same_shape(scores, relevance, "relevances")
    gains = torch.exp2(relevance) - 1
    weights = gains / gains.sum(1, keepdim=True).clamp(min=torch.finfo(gains.dtype).tiny)
    steps = F.softplus(scores.unsqueeze(1) - scores.unsqueeze(2)) / math.log(2)  # (L, i, j)
    is_less_relevant = relevance.unsqueeze(1) < relevance.unsqueeze(2)
    return (weights * (steps * is_less_relevant).sum(2)).sum(1)
