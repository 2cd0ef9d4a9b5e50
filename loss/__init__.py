"""The paper's losses and the baselines. Each works on its own in another project: no devices, no data sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from .approx_ndcg import approx_ndcg_loss, exact_ndcg_loss
from .baselines import AsymmetricLoss, BCELoss, CrossEntropyLoss, FocalLoss
from .feature_ranking_loss import feature_ranking_loss
from .label_ranking_loss import label_ranking_loss
from .ndcg_bound import ndcg_bound_loss
from .r4c_loss import TERMS, R4CLoss, without_effect
from .ranking_baselines import SmoothAPLoss, TwoWayLoss, ZLPRLoss
from .sample_ranking_loss import sample_ranking_loss


@dataclass(frozen=True)
class Loss:
    """One choice of `--loss`; all of them are called `total, terms = loss(features, logits, labels)`.

    Attributes:
        module: the class.
        title: its name in figures and tables.
        options: maps options of Train.py to arguments of the class.
        activation: the function from logits to scores, "sigmoid" or "softmax".
        buffer_halfwidth: the option for the half-width of the buffer interval around 0.5; None without a buffer.
        without_effect: from all options' values to those that have no effect beside the others, and why.
    """

    module: type[nn.Module]
    title: str
    options: dict[str, str] = field(default_factory=dict)
    activation: str = "sigmoid"
    buffer_halfwidth: str | None = None
    without_effect: Callable[..., dict[str, str]] = lambda **options: {}


_R4C_OPTIONS = ("number_sample", "number_label", "range_sample", "range_label", "lambdas", "parts", "bound")
LOSSES = {
    "r4c": Loss(R4CLoss, "R4C", dict(zip(_R4C_OPTIONS, _R4C_OPTIONS)), buffer_halfwidth="range_label",
                without_effect=without_effect),
    "bce": Loss(BCELoss, "BCE"),
    "ce": Loss(CrossEntropyLoss, "CE", activation="softmax"),
    "focal": Loss(FocalLoss, "Focal", {"focal_gamma": "gamma", "focal_alpha": "alpha"}),
    "asl": Loss(AsymmetricLoss, "ASL",
                {"asl_gamma_neg": "gamma_neg", "asl_gamma_pos": "gamma_pos", "asl_clip": "clip"}),
    "twoway": Loss(TwoWayLoss, "Two-way", {"twoway_tp": "temperature_pos", "twoway_tn": "temperature_neg"}),
    "zlpr": Loss(ZLPRLoss, "ZLPR"),
    "smoothap": Loss(SmoothAPLoss, "Smooth-AP", {"smoothap_tau": "tau"}),
}


def build_loss(name: str, **arguments) -> nn.Module:
    """Build the loss called `name`, one of LOSSES; `arguments` go to its class.

    Raises:
        ValueError: if `name` is not in LOSSES, or the class rejects an argument.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss '{name}': choose from {', '.join(LOSSES)}")
    return LOSSES[name].module(**arguments)


def options_without_effect(name: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The options of LOSSES that do not change the loss `name`, given all options' values -> why: "with ..."."""
    foreign = {option: f"with --loss {name}, only with --loss {other}" for other, loss in LOSSES.items()
               for option in loss.options if option not in LOSSES[name].options}
    return {**foreign, **LOSSES[name].without_effect(**values)}
