"""ApproxNDCG: the one relaxation behind R4C's three ranking losses.

Qin, Liu & Li, "A general approximation framework for direct optimization of information retrieval
measures", Information Retrieval 13 (2010): the rank of an item, a sum of steps over all other items,
becomes a sum of sigmoids, and with it nDCG becomes differentiable.
"""

import functools

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """At least float32: with alpha = 100, bfloat16 moves sigmoid(100 * 0.003) from 0.574 to 0.598."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def in_full_precision(loss):
    """Decorate a loss of (outputs, labels, ...): compute it in full precision, whatever the autocast state.

    The decorated loss raises ValueError unless both are matrices of as many rows.
    """

    @functools.wraps(loss)
    def wrapper(outputs: Tensor, labels: Tensor, *args, **kwargs) -> Tensor:
        if outputs.ndim != 2 or labels.ndim != 2 or len(outputs) != len(labels):
            raise ValueError(f"{loss.__name__}: two matrices of as many rows are wanted, "
                             f"not {tuple(outputs.shape)} and {tuple(labels.shape)}")
        with torch.autocast(outputs.device.type, enabled=False):
            outputs = full_precision(outputs)
            return loss(outputs, labels.to(outputs.dtype), *args, **kwargs)

    return wrapper


def check_same_shape(scores: Tensor, labels: Tensor) -> None:
    """Raise ValueError unless both are (B, C): broadcasting one column would be silently wrong."""
    if scores.shape != labels.shape:
        raise ValueError(f"scores and labels must have as many labels: {tuple(scores.shape)} and {tuple(labels.shape)}")


def approx_ndcg_loss(scores: Tensor, relevance: Tensor, alpha: float) -> Tensor:
    """1 - nDCG of every list, with soft ranks.

    rank_i = 1 + sum over j != i of sigmoid(alpha * (s_j - s_i))
    DCG    = sum_i (2^r_i - 1) / log2(rank_i + 1)

    Args:
        scores: (L, N), a list of N items per row; higher is better.
        relevance: (L, N), real and >= 0.
        alpha: sharpness of the step; as it grows the ranks become the true ones.
    Returns:
        (L,) in [0, 1]; 0 for a list in which nothing is relevant (its IDCG is 0).
    """
    # The sum below runs over j = i too, which adds sigmoid(0) = 1/2: hence 0.5 and not 1.
    margins = scores.unsqueeze(1) - scores.unsqueeze(2)  # (L, i, j): s_j - s_i
    ranks = 0.5 + torch.sigmoid(alpha * margins).sum(2)
    return _one_minus_ndcg(ranks, relevance)


def exact_ndcg_loss(scores: Tensor, relevance: Tensor) -> Tensor:
    """1 - nDCG of every list with the true ranks: `approx_ndcg_loss` as alpha goes to infinity.

    For tests and reports; it has no gradient. Arguments and result as there. Items of equal score share
    the mean of their ranks, which is where the soft ranks tend.
    """
    margins = scores.unsqueeze(1) - scores.unsqueeze(2)
    ranks = 0.5 + (0.5 * margins.sign() + 0.5).sum(2)
    return _one_minus_ndcg(ranks, relevance)


def _one_minus_ndcg(ranks: Tensor, relevance: Tensor) -> Tensor:
    ideal = relevance.sort(dim=1, descending=True).values
    ideal_ranks = torch.arange(1, relevance.shape[1] + 1, device=ranks.device, dtype=ranks.dtype)
    dcg = ((torch.exp2(relevance) - 1) / torch.log2(ranks + 1)).sum(1)
    idcg = ((torch.exp2(ideal) - 1) / torch.log2(ideal_ranks + 1)).sum(1)
    # Divide by 1 where IDCG is 0: `where` alone would let 0/0 into the gradient.
    return torch.where(idcg > 0, 1 - dcg / idcg.where(idcg > 0, 1), 0)
