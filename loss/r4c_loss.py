"""R4C: ranking for classification. Three ranking losses, no cross-entropy."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .approx_ndcg import full_precision
from .feature_ranking_loss import feature_ranking_loss
from .label_ranking_loss import label_ranking_loss
from .sample_ranking_loss import sample_ranking_loss

TERMS = ("feature", "label", "sample")


class R4CLoss(nn.Module):
    """total = L2R-feature + lambda * (L2R-label + L2R-sample).

    Args:
        number_sample, range_sample: virtual neutral images of L2R-sample (how many, how far around 0.5).
        number_label, range_label: virtual neutral labels of L2R-label.
        lambdas: weight of the two score losses against the feature loss.
        parts: those of TERMS that are summed; the method has all three.
        bound: L2R-label and L2R-sample rank logits by a bound of nDCG (`ndcg_bound_loss`); off in the method.
    Raises:
        ValueError: for no part, unknown ones, or `bound` where neither L2R-label nor L2R-sample is one.
    """

    def __init__(self, number_sample: int = 16, number_label: int = 4, range_sample: float = 0.1,
                 range_label: float = 0.1, lambdas: float = 1.0, parts: Sequence[str] = TERMS, bound: bool = False):
        super().__init__()
        if not parts or not set(parts) <= set(TERMS):
            raise ValueError(f"R4C's parts are some of {', '.join(TERMS)}, not {', '.join(parts) or 'none'}")
        if bound and set(parts) == {"feature"}:
            raise ValueError("R4C's bound changes L2R-label and L2R-sample, and neither is among the parts")
        self.number_sample, self.range_sample = number_sample, range_sample
        self.number_label, self.range_label = number_label, range_label
        self.lambdas, self.parts, self.bound = lambdas, parts, bound

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """features (B, D), logits (B, C), labels (B, C) of 0 and 1 -> (scalar, its parts).

        The parts are detached and stay on the device: reading one makes the host wait, so do it once an epoch, not
        once a step.
        """
        scores = logits if self.bound else torch.sigmoid(full_precision(logits))
        parts = {}
        if "feature" in self.parts:
            parts["feature"] = feature_ranking_loss(features, labels)
        if "label" in self.parts:
            parts["label"] = label_ranking_loss(scores, labels, self.number_label, self.range_label, bound=self.bound)
        if "sample" in self.parts:
            parts["sample"] = sample_ranking_loss(scores, labels, self.number_sample, self.range_sample,
                                                  bound=self.bound)
        total = sum(part if name == "feature" else self.lambdas * part for name, part in parts.items())
        return total, {name: part.detach() for name, part in parts.items()}
