"""loss.LOSSES: each record is complete and fits its class."""

import inspect

import pytest
import torch

from loss import LOSSES, build_loss
from utils.engine import _ACTIVATIONS


@pytest.mark.parametrize("name", LOSSES)
def test_a_record_fits_its_class(name):
    record = LOSSES[name]
    parameters = inspect.signature(record.module).parameters.values()
    # Every argument has an option; a class without arguments shows nn.Module's *args and **kwargs.
    assert set(record.options.values()) == {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert record.title and record.activation in _ACTIVATIONS
    assert record.buffer_halfwidth is None or record.buffer_halfwidth in record.options
    total, terms = build_loss(name)(torch.randn(3, 5), torch.randn(3, 3), torch.eye(3))
    assert total.ndim == 0 and terms and all(not term.requires_grad for term in terms.values())


def test_titles_are_unique():
    assert len({record.title for record in LOSSES.values()}) == len(LOSSES)


def test_options_of_train_exist_for_every_record():
    import Train

    assert {option for record in LOSSES.values() for option in record.options} <= Train.defaults().keys()
