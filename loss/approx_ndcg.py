"""ApproxNDCG: the one relaxation behind R4C's three ranking losses.

Qin, Liu & Li, "A general approximation framework for direct optimization of information retrieval
measures", Information Retrieval 13 (2010): the rank of an item, a sum of steps over all other items,
becomes a sum of sigmoids, and with it nDCG becomes differentiable.
"""

import functools
import math

import torch
from torch import Tensor

# Pairs of items whose differences are held at a time, twice: 2 MB of float32, which a core's cache holds.
_PAIRS_AT_ONCE = 2**18


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


def check_same_shape(scores: Tensor, others: Tensor, name: str = "labels") -> None:
    """Raise ValueError unless scores have as many `others`: broadcasting one column would be silently wrong."""
    if scores.shape != others.shape:
        raise ValueError(f"scores and {name} must have the same shape, as many {name} as scores: "
                         f"{tuple(scores.shape)} and {tuple(others.shape)}")


def approx_ndcg_loss(scores: Tensor, relevance: Tensor, alpha: float) -> Tensor:
    """1 - nDCG of every list, with soft ranks.

    rank_i = 1 + sum over j != i of sigmoid(alpha * (s_j - s_i))
    DCG    = sum_i (2^r_i - 1) / log2(rank_i + 1)

    Args:
        scores: (L, N), a list of N items per row; higher is better.
        relevance: (L, N), real and >= 0.
        alpha: sharpness of the step; as it grows the ranks become the true ones.
    Returns:
        (L,) in [0, 1]; 0 for a list in which nothing is relevant (its IDCG is 0). Differentiable by the scores, by
        autograd and once; not by torch.func.
    Raises:
        ValueError: where the two have different shapes.
    """
    check_same_shape(scores, relevance, "relevances")
    return _ApproxNDCGLoss.apply(scores, relevance, alpha)


class _ApproxNDCGLoss(torch.autograd.Function):
    """The loss and its gradient in one go, a few lists at a time: memory grows with L * N and not with L * N * N.

    Of each list, loss and gradient need the same N * N steps. With g_i = d loss / d rank_i,
    d loss / d s_k = alpha * sum_j step'(alpha * (s_j - s_k)) * (g_j - g_k), for step' is even.
    """

    @staticmethod
    def forward(ctx, scores: Tensor, relevance: Tensor, alpha: float) -> Tensor:
        weights, is_ranked = _weights(relevance)
        losses, gradient = torch.empty_like(is_ranked), torch.empty_like(scores)
        length = scores.shape[1]
        at_once = max(1, _PAIRS_AT_ONCE // max(1, length**2))
        # Two buffers for everything: fresh memory for each step costs more than the arithmetic.
        buffers = scores.new_empty(2, min(at_once, len(scores)), length, length)
        for s, weight, loss, grad in zip(*(x.split(at_once) for x in (alpha * scores, weights, losses, gradient))):
            steps, differences = buffers[:, :len(s)]
            _differences(s, out=steps).sigmoid_()
            # The sum runs over j = i too, which adds sigmoid(0) = 1/2: hence 0.5 more and not 1.
            ranks_plus_1 = steps.sum(2) + 1.5
            log_ranks = torch.log2(ranks_plus_1)
            gains = weight / log_ranks
            torch.sum(gains, 1, out=loss)
            if ctx.needs_input_grad[0]:
                slopes = steps.addcmul_(steps, steps, value=-1)
                of_ranks = gains / (log_ranks * ranks_plus_1)
                torch.sum(slopes.mul_(_differences(of_ranks, out=differences)), 2, out=grad)
        ctx.save_for_backward(gradient.mul_(alpha / math.log(2)))
        return is_ranked - losses

    @staticmethod
    def backward(ctx, of_losses: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # create_graph=True: to autograd, the gradient would be a constant
            raise RuntimeError("approx_ndcg_loss has no second derivative")
        gradient, = ctx.saved_tensors
        return of_losses.unsqueeze(1) * gradient, None, None


@torch.no_grad()
def exact_ndcg_loss(scores: Tensor, relevance: Tensor) -> Tensor:
    """1 - nDCG of every list with the true ranks: `approx_ndcg_loss` as alpha goes to infinity.

    For tests and reports; it has no gradient. Arguments and result as there. Items of equal score share
    the mean of their ranks, which is where the soft ranks tend.
    """
    weights, is_ranked = _weights(relevance)
    ranks = 0.5 + (0.5 * _differences(scores).sign() + 0.5).sum(2)
    return is_ranked - (weights / torch.log2(ranks + 1)).sum(1)


def _differences(values: Tensor, out: Tensor | None = None) -> Tensor:
    """(L, N) -> (L, i, j): v_j - v_i."""
    return torch.sub(values.unsqueeze(1), values.unsqueeze(2), out=out)


def _weights(relevance: Tensor) -> tuple[Tensor, Tensor]:
    """(2^r - 1) / IDCG of every item (L, N), and 1 for each list (L,); 0 both where nothing is relevant."""
    gains = torch.exp2(relevance) - 1
    positions_plus_1 = torch.arange(2, relevance.shape[1] + 2, device=relevance.device, dtype=relevance.dtype)
    idcg = (gains.sort(dim=1, descending=True).values / torch.log2(positions_plus_1)).sum(1, keepdim=True)
    # Where IDCG is 0 all gains are 0 as well: whatever they are divided by, but not by 0.
    return gains / idcg.clamp(min=torch.finfo(idcg.dtype).tiny), (idcg.squeeze(1) > 0).to(idcg.dtype)
