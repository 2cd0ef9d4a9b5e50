"""ApproxNDCG: the relaxation of nDCG that R4C's three ranking losses share.

Qin, Liu & Li, "A general approximation framework for direct optimization of information retrieval
measures", Information Retrieval 13 (2010): the rank of an item, a sum of unit steps over all other items,
becomes a sum of sigmoids, which makes nDCG differentiable.
"""

import functools
import inspect
import math

import torch
from torch import Tensor

# Pairs of items whose differences are in memory at a time, in two buffers. On a CPU: 2 MB of float32, which fits a
# core's cache. On a GPU, where starting an operation costs more than most compute: 1 GB.
_PAIRS_AT_ONCE, _PAIRS_AT_ONCE_ON_GPU = 2**18, 2**27


def full_precision(values: Tensor) -> Tensor:
    """Convert to at least float32: with alpha = 100, bfloat16 moves sigmoid(100 * 0.003) from 0.574 to 0.598."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def in_full_precision(loss):
    """Decorate a loss of (outputs, labels, ...): compute it in full precision, regardless of autocast.

    The decorated loss raises ValueError unless both are 2-D with equal batch size, and for labels other than 0 and 1,
    unless the caller has checked them (`labels_checked=True`); likewise for `scores` that are logits, unless `bound`.
    """
    names = [*inspect.signature(loss).parameters]

    @functools.wraps(loss)
    def wrapper(outputs: Tensor, labels: Tensor, *args, labels_checked: bool = False, **kwargs) -> Tensor:
        if outputs.ndim != 2 or labels.ndim != 2 or len(outputs) != len(labels):
            raise ValueError(f"{loss.__name__}: expected two 2-D tensors with equal batch size, "
                             f"not {tuple(outputs.shape)} and {tuple(labels.shape)}")
        if not labels_checked:
            check_labels(labels)
            if names[0] == "scores" and not {**dict(zip(names[2:], args)), **kwargs}.get("bound"):
                # NaN is not outside: the loss will be NaN too.
                valid = ~((outputs < 0) | (outputs > 1))
                check_values(outputs, valid, "scores must lie in [0, 1] (take the sigmoid of logits)")
        with torch.autocast(outputs.device.type, enabled=False):
            outputs = full_precision(outputs)
            return loss(outputs, labels.to(outputs.dtype), *args, **kwargs)

    return wrapper


def check_same_shape(scores: Tensor, targets: Tensor, name: str = "labels") -> None:
    """Raise ValueError unless both are 2-D with equal shapes: to broadcast, or to sum over other dimensions, would be
    silently wrong."""
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(f"scores and {name} must be 2-D with the same shape, not {tuple(scores.shape)} and "
                         f"{tuple(targets.shape)}")


def check_labels(labels: Tensor, soft: bool = False) -> None:
    """`check_values` for labels that must be 0 or 1; `soft`: from 0 to 1."""
    if labels.dtype != torch.bool:
        valid = labels == (labels.clamp(0, 1) if soft else labels.sign().abs())
        rule = "from 0 to 1" if soft else "0 or 1 (class ids as one-hot rows)"
        check_values(labels, valid, f"labels must be {rule}")


def check_values(values: Tensor, valid: Tensor, rule: str) -> None:
    """Raise ValueError with the first of the `values` for which `valid`, of the same shape, is False.

    On CUDA, where reading a value would synchronise host and device, an assertion on the device fails instead, which a
    later operation reports as RuntimeError; so does a compiled loss. Other devices are not checked, nor is
    torch.func.vmap, which knows no assertion.
    """
    if values.device.type not in ("cpu", "cuda", "meta"):
        return
    all_valid = valid.all()
    try:
        torch._assert_async(all_valid, rule)
    except RuntimeError as error:
        if "Batching rule" not in str(error):
            raise ValueError(f"{rule}, not {values[~valid][0]:g}") from None


def approx_ndcg_loss(scores: Tensor, relevance: Tensor, alpha: float) -> Tensor:
    """Return 1 - nDCG of each list, with soft ranks.

    rank_i = 1 + sum over j != i of sigmoid(alpha * (s_j - s_i))
    DCG    = sum_i (2^r_i - 1) / log2(rank_i + 1)

    Args:
        scores: (L, N), a list of N items per row; higher is better.
        relevance: (L, N), real and >= 0.
        alpha: sharpness of the step; as it grows, the soft ranks tend to the true ranks.
    Returns:
        (L,) in [0, 1]; 0 for a list without relevant items (its IDCG is 0). Autograd can differentiate it once
        with respect to the scores; torch.func cannot.
    Raises:
        ValueError: if they are not 2-D, or the shapes differ.
    """
    check_same_shape(scores, relevance, "relevances")
    return _ApproxNDCGLoss.apply(scores, relevance, alpha)


class _ApproxNDCGLoss(torch.autograd.Function):
    """Compute loss and gradient together, a few lists at a time: memory grows with L * N, not with L * N * N.

    For each list, loss and gradient need the same N * N steps. With g_i = d loss / d rank_i,
    d loss / d s_k = alpha * sum_j step'(alpha * (s_j - s_k)) * (g_j - g_k), because step' is even.
    """

    @staticmethod
    def forward(ctx, scores: Tensor, relevance: Tensor, alpha: float) -> Tensor:
        weights, has_relevant = _weights(relevance)
        ndcgs, gradient = torch.empty_like(has_relevant), torch.empty_like(scores)
        length = scores.shape[1]
        pairs_at_once = _PAIRS_AT_ONCE if scores.device.type == "cpu" else _PAIRS_AT_ONCE_ON_GPU
        at_once = max(1, pairs_at_once // max(1, length**2))
        # Two buffers for everything: allocating memory for each operation costs more than the arithmetic.
        buffers = scores.new_empty(2, min(at_once, len(scores)), length, length)
        for scaled, weight, ndcg, grad in zip(*(x.split(at_once) for x in (alpha * scores, weights, ndcgs, gradient))):
            steps, differences = buffers[:, :len(scaled)]
            _differences(scaled, out=steps).sigmoid_()
            # The sum includes j = i, which adds sigmoid(0) = 1/2: so rank + 1 is the sum plus 1.5, not plus 2.
            ranks_plus_1 = steps.sum(2) + 1.5
            log_ranks = torch.log2(ranks_plus_1)
            gains = weight / log_ranks
            torch.sum(gains, 1, out=ndcg)
            if ctx.needs_input_grad[0]:
                slopes = steps.addcmul_(steps, steps, value=-1)  # step' = step - step^2
                rank_gradients = gains / (log_ranks * ranks_plus_1)  # g * log(2)
                torch.sum(slopes.mul_(_differences(rank_gradients, out=differences)), 2, out=grad)
        ctx.save_for_backward(gradient.mul_(alpha / math.log(2)))
        return has_relevant - ndcgs

    @staticmethod
    def backward(ctx, grad_losses: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # create_graph=True: autograd would treat the gradient as a constant
            raise RuntimeError("approx_ndcg_loss has no second derivative")
        gradient, = ctx.saved_tensors
        return grad_losses.unsqueeze(1) * gradient, None, None


@torch.no_grad()
def exact_ndcg_loss(scores: Tensor, relevance: Tensor) -> Tensor:
    """Return 1 - nDCG of each list with the true ranks: the limit of `approx_ndcg_loss` as alpha goes to infinity.

    For tests and reports; it has no gradient. Arguments and result are the same. Items with equal scores share
    the mean of their ranks, the limit of the soft ranks.

    Raises:
        ValueError: if they are not 2-D, or the shapes differ.
    """
    check_same_shape(scores, relevance, "relevances")
    weights, has_relevant = _weights(relevance)
    ranks = 0.5 + (0.5 * _differences(scores).sign() + 0.5).sum(2)
    return has_relevant - (weights / torch.log2(ranks + 1)).sum(1)


def _differences(values: Tensor, out: Tensor | None = None) -> Tensor:
    """(L, N) -> (L, i, j): v_j - v_i."""
    return torch.sub(values.unsqueeze(1), values.unsqueeze(2), out=out)


def _weights(relevance: Tensor) -> tuple[Tensor, Tensor]:
    """(2^r - 1) / IDCG of each item (L, N), and 1 for each list (L,); both are 0 for a list without relevant items."""
    gains = torch.exp2(relevance) - 1
    positions_plus_1 = torch.arange(2, relevance.shape[1] + 2, device=relevance.device, dtype=relevance.dtype)
    idcg = (gains.sort(dim=1, descending=True).values / torch.log2(positions_plus_1)).sum(1, keepdim=True)
    # Where IDCG is 0 all gains are 0 too: any divisor but 0 will do.
    return gains / idcg.clamp(min=torch.finfo(idcg.dtype).tiny), (idcg.squeeze(1) > 0).to(idcg.dtype)
