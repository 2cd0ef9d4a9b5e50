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
    """The logarithms of the ranks' excess over the ideal ones, mean over the gains of a list.

    w_i  = (2^r_i - 1) / sum_j (2^r_j - 1)
    p_i  = 1 + the number of j with r_j > r_i, or r_j = r_i and s_j > s_i     the rank of i with no lower item above it
    v_i  = sum over j with r_j < r_i of log2(1 + exp(s_j - s_i))              >= the number of lower items above it
    loss = sum_i w_i (log2(p_i + v_i + 1) - log2(p_i + 1))

    p_i + v_i is no less than the true rank, and a harmonic mean is no larger than the arithmetic mean, so

    DCG / sum_j (2^r_j - 1) >= 1 / (loss + sum_i w_i log2(p_i + 1)),

    whose last sum does not depend on the order: what makes the loss small makes nDCG large.

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
    above = scores.unsqueeze(1) - scores.unsqueeze(2)  # (L, i, j): s_j - s_i
    more_relevant = relevance.unsqueeze(1) - relevance.unsqueeze(2)
    ideal_ranks = 1 + ((more_relevant > 0) | (more_relevant == 0) & (above > 0)).sum(2)
    violations = (F.softplus(above) * (more_relevant < 0)).sum(2) / math.log(2)
    return (weights * torch.log2(1 + violations / (ideal_ranks + 1))).sum(1)
