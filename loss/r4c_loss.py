"""R4C: ranking for classification. Three ranking losses, no cross-entropy."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .approx_ndcg import check_labels, full_precision
from .feature_ranking_loss import feature_ranking_loss
from .label_ranking_loss import check_neutral_items, label_ranking_loss
from .sample_ranking_loss import sample_ranking_loss

TERMS = ("feature", "label", "sample")


class R4CLoss(nn.Module):
    """total = L2R-feature + lambda * (L2R-label + L2R-sample).

    Args:
        number_sample, range_sample: number of L2R-sample's virtual neutral images, half-width of their interval.
        number_label, range_label: the same for L2R-label's virtual neutral labels.
        lambdas: weight of the two score losses relative to the feature loss.
        parts: the loss terms to sum, of TERMS; the paper sums all three.
        bound: L2R-label and L2R-sample rank logits by a bound on nDCG (`ndcg_bound_loss`): deviates from the paper.
    Raises:
        ValueError: if `parts` is empty or has an unknown term, if `bound` applies to none of them, if `lambdas` is
            negative or is 0 without the feature loss, or if a number is not whole or a range not from 0 to 0.5.
    """

    def __init__(self, number_sample: int = 16, number_label: int = 4, range_sample: float = 0.1,
                 range_label: float = 0.1, lambdas: float = 1.0, parts: Sequence[str] = TERMS, bound: bool = False):
        super().__init__()
        parts = (parts,) if isinstance(parts, str) else tuple(parts)  # a generator would be empty after the first look
        check_neutral_items(number_sample, range_sample)
        check_neutral_items(number_label, range_label)
        if not parts or not set(parts) <= set(TERMS):
            raise ValueError(f"R4C's loss terms are {', '.join(TERMS)}, not {', '.join(parts) or 'none'}")
        if bound and set(parts) == {"feature"}:
            raise ValueError("R4C's bound changes L2R-label and L2R-sample, but neither is among the loss terms")
        if not 0 <= lambdas < math.inf:
            raise ValueError(f"R4C's lambda must be at least 0, not {lambdas}")
        if not lambdas and "feature" not in parts:
            raise ValueError("R4C's lambda of 0 needs L2R-feature among the loss terms, or the loss is always 0")
        self.number_sample, self.range_sample = number_sample, range_sample
        self.number_label, self.range_label = number_label, range_label
        self.lambdas, self.parts, self.bound = lambdas, parts, bound
        self.trains_classifier = lambdas > 0 and set(parts) != {"feature"}

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """features (B, D), logits (B, C), labels (B, C) of 0 and 1 -> (scalar, loss terms by name).

        The terms are detached and stay on the device: reading one synchronises host and device, so do it once an epoch,
        not once a step. Raises ValueError if the shapes do not fit or a label is not 0 or 1 (on a GPU, see
        `check_labels`).
        """
        check_labels(labels)
        scores = logits if self.bound else torch.sigmoid(full_precision(logits))
        terms = {}
        if "feature" in self.parts:
            terms["feature"] = feature_ranking_loss(features, labels, labels_checked=True)
        if "label" in self.parts:
            terms["label"] = label_ranking_loss(scores, labels, self.number_label, self.range_label, bound=self.bound,
                                                labels_checked=True)
        if "sample" in self.parts:
            terms["sample"] = sample_ranking_loss(scores, labels, self.number_sample, self.range_sample,
                                                  bound=self.bound, labels_checked=True)
        total = sum(term if name == "feature" else self.lambdas * term for name, term in terms.items())
        return total, {name: term.detach() for name, term in terms.items()}


def without_effect(parts: Sequence[str] | None, lambdas: float, **values: float) -> dict[str, str]:
    """The options of Train.py that R4C ignores, given all options' values -> why."""
    ignored = {}
    for term in ("label", "sample"):
        if parts and term not in parts:
            ignored |= dict.fromkeys((f"number_{term}", f"range_{term}"), f"with --parts {' '.join(parts)}")
        elif not lambdas:
            ignored |= dict.fromkeys((f"number_{term}", f"range_{term}", "bound"), "with --lambdas 0")
        elif not values[f"number_{term}"]:
            ignored[f"range_{term}"] = f"with --number_{term} 0"
    return ignored | ({"lambdas": "with --parts feature"} if parts and set(parts) == {"feature"} else {})
