"""One combination put to the test: it is built and learns from uneven cases, or it is refused by name."""

from __future__ import annotations

import pytest

from common.errors import InvalidValue
from common.learning import learning_of
from common.models import build_model
from tests.unit.models.combinations import LENGTHS, Combination, batch


def assert_learns_or_is_refused(each: Combination) -> None:
    """Pass if a gradient reaches every weight of the model, or the study that asks for it is refused."""
    if each.refusal():
        with pytest.raises(InvalidValue, match=rf"{each.encoder}|{each.cell}|{each.task}"):
            each.study()
        return
    study = each.study()
    model, learning = build_model(study), learning_of(study)
    cases = batch(study, LENGTHS[each.sequence])
    output = model.on(cases)
    assert output.isfinite().all()
    learning.loss(output, cases).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
