"""R4C: ranking for classification. Three ranking losses, no cross-entropy."""

import torch
from torch import Tensor, nn

from .approx_ndcg import full_precision
from .feature_ranking_loss import feature_ranking_loss
from .label_ranking_loss import label_ranking_loss
from .sample_ranking_loss import sample_ranking_loss


class R4CLoss(nn.Module):
    """total = L2R-feature + lambda * (L2R-label + L2R-sample).

    Args:
        number_sample, range_sample: virtual neutral images of L2R-sample (how many, how far around 0.5).
        number_label, range_label: virtual neutral labels of L2R-label.
        lambdas: weight of the two score losses against the feature loss.
    """

    activation = "sigmoid"  # what makes scores of the logits

    def __init__(self, number_sample: int = 16, number_label: int = 4, range_sample: float = 0.1,
                 range_label: float = 0.1, lambdas: float = 1.0):
        super().__init__()
        self.number_sample, self.range_sample = number_sample, range_sample
        self.number_label, self.range_label = number_label, range_label
        self.lambdas = lambdas

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """features (B, D), logits (B, C), labels (B, C) of 0 and 1 -> (scalar, its parts).

        The parts "feature", "label" and "sample" are detached and stay on the device: reading one makes
        the host wait, so do it once an epoch, not once a step.
        """
        scores = torch.sigmoid(full_precision(logits))
        feature = feature_ranking_loss(features, labels)
        label = label_ranking_loss(scores, labels, self.number_label, self.range_label)
        sample = sample_ranking_loss(scores, labels, self.number_sample, self.range_sample)
        total = feature + self.lambdas * (label + sample)
        return total, {"feature": feature.detach(), "label": label.detach(), "sample": sample.detach()}
