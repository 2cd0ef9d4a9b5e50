"""The paper's losses, and the baselines. Each works alone in another project: nothing here knows devices or data."""

from torch import nn

from .approx_ndcg import approx_ndcg_loss, exact_ndcg_loss
from .baseline_loss import AsymmetricLoss, BCELoss, CrossEntropyLoss, FocalLoss
from .feature_ranking_loss import feature_ranking_loss
from .label_ranking_loss import label_ranking_loss
from .ndcg_bound import ndcg_bound_loss
from .r4c_loss import TERMS, R4CLoss
from .sample_ranking_loss import sample_ranking_loss

LOSSES = {"r4c": R4CLoss, "bce": BCELoss, "ce": CrossEntropyLoss, "focal": FocalLoss, "asl": AsymmetricLoss}


def build_loss(name: str, **options) -> nn.Module:
    """The loss called `name`, one of LOSSES; `options` are those of its class.

    All of them are called the same way: `total, parts = loss(features, logits, labels)`.

    Raises:
        ValueError: for a name that is not in LOSSES.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss '{name}': choose from {', '.join(LOSSES)}")
    return LOSSES[name](**options)
