"""What changed between two contracts, in lines that a person reads before approving the second."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from common.contract.contract import Contract

_OF_STUDY = {"study", "name", "requirements", "rounds", "privacy", "leaves", "tasks", "bounds"}
"""Follow from the study, whose own settings are compared one by one."""
_WORDS = {
    "code_digest": "the code that touches data",
    "model_digest": "the form of the model's arrays",
}
_SHOWN = 12


def differences(old: Contract, new: Contract) -> tuple[str, ...]:
    """What is another in ``new``, one line each; none if and only if the contracts are the same."""
    return (*_leaving(old, new), *_settings(old, new), *_others(old, new))


def _leaving(old: Contract, new: Contract) -> Iterator[str]:
    yield from (f"leaves the hospital now: {each}" for each in new.leaves if each not in old.leaves)
    yield from (f"leaves the hospital no longer: {each}" for each in old.leaves if each not in new.leaves)


def _settings(old: Contract, new: Contract) -> Iterator[str]:
    before, after = (dict(_leaves(json.loads(contract.study))) for contract in (old, new))
    for key in [*before, *(key for key in after if key not in before)]:
        if (key in before, before.get(key)) != (key in after, after.get(key)):
            yield f"{key}: {_word(before, key)} -> {_word(after, key)}"
    if [key for key in before if key in after] != [key for key in after if key in before]:
        # The first label that names a class says its number, the first variable its place in the input.
        yield "labels or variables: another order, so another class or input may be the first"


def _others(old: Contract, new: Contract) -> Iterator[str]:
    before, after = old.document, new.document
    for key in before:
        if key in _OF_STUDY or before[key] == after[key]:
            continue
        was, becomes = str(before[key]), str(after[key])
        if key in _WORDS:
            yield f"{_WORDS[key]}: {was[:_SHOWN]} -> {becomes[:_SHOWN]}"
        else:
            yield f"{key}: {was} -> {becomes}"


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield prefix, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{prefix}.{key}" if prefix else key)


def _word(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "not there"
    return "not set" if settings[key] is None else json.dumps(settings[key])
