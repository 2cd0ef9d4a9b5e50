"""loss.LOSSES: each record is complete and fits its class."""

import inspect

import pytest
import torch

from loss import LOSSES, build_loss
from utils.engine import _ACTIVATIONS


@pytest.mark.parametrize("name", LOSSES)
def test_a_record_fits_its_class(name):
    record = LOSSES[name]
    arguments = {} if record.module.__init__ is torch.nn.Module.__init__ else inspect.signature(record.module).parameters
    assert set(record.options.values()) <= set(arguments)
    assert record.title and record.activation in _ACTIVATIONS
    assert record.buffer_halfwidth is None or record.buffer_halfwidth in record.options
    labels = torch.eye(3)
    total, terms = build_loss(name)(torch.randn(3, 5), torch.randn(3, 3), labels)
    assert total.ndim == 0 and terms and all(not term.requires_grad for term in terms.values())


def test_options_of_train_exist_for_every_record():
    import Train

    assert {option for record in LOSSES.values() for option in record.options} <= Train.defaults().keys()
