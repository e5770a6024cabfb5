"""What a hospital reads of how an update is written."""

from __future__ import annotations

from typing import Any

import pytest

from common.contract import differences, leavings_of
from common.contract.task import require_within
from tests.unit.contract.drafts import contract_with, study_with, task_of

PRIVACY = {"noise_multiplier": 1.5}
CARRIED = "what this leaves out is added to the next one"
CODECS: dict[str, dict[str, Any]] = {
    "": {},
    ", in bf16": {"codec": "bf16"},
    f", in int8; {CARRIED}": {"codec": "int8"},
    f", the largest 10 % of each array; {CARRIED}": {"codec": "topk"},
    f", the largest 0.25 % of each array; {CARRIED}": {"codec": "topk", "codec_fraction": 0.0025},
}
codecs = pytest.mark.parametrize(("words", "federation"), CODECS.items(), ids=lambda c: str(c)[:30])


def update_of(**sections: Any) -> str:
    (found,) = (str(each) for each in leavings_of(study_with(**sections)) if each.what == "update")
    return found


@codecs
def test_the_codec_is_named(words: str, federation: dict[str, Any]) -> None:
    assert (
        update_of(federation=federation) == f"update (the change of the model's weights{words}), every round"
    )
    private = update_of(federation=federation, privacy=PRIVACY)
    assert f"weights{words}), every round, under noise of 1.5 times" in private


@codecs
def test_its_tasks_are_within_the_contract(words: str, federation: dict[str, Any]) -> None:
    contract = contract_with(study_with(federation=federation))
    for message_type in ("query", "train", "evaluate"):
        require_within(contract, message_type, task_of(contract, message_type))


def test_another_codec_is_an_amendment_that_says_so() -> None:
    lines = differences(contract_with(), contract_with(study_with(federation={"codec": "bf16"})))
    assert (
        lines[0]
        == "leaves the hospital now: update (the change of the model's weights, in bf16), every round"
    )
    assert 'federation.codec: "float32" -> "bf16"' in lines
