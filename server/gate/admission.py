"""The form of one update, checked as it arrives: what does not pass costs itself and nothing else.

An update that is admitted has the base's names, shapes and dtypes, all of them and no others; its values are
finite; its counters and variances can be added to the base's; it says the site, round and base that were
asked; its weight is a whole number from 1 to the cases that the site registered; and its figures are numbers
of their kind. Order of names and of memory do not matter. Nothing is broadcast, cast or filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UpdateRefused
from common.update import Contribution
from common.weights import ArraySpec, Weights, spec_of
from server.gate.buffers import check_buffer, is_buffer

_HEAD = re.compile(r"[0-9]{1,12}:[0-9a-f]{64}")
_LARGEST = 1e300
"""Of a figure: above it a whole number may be one that no float holds."""


def admit(
    contribution: Contribution,
    site: str,
    round_number: int,
    base: Weights,
    base_digest: str,
    *,
    private: bool = False,
    registered: int | None = None,
) -> None:
    """Let a contribution pass.

    Args:
        contribution: As read from the reply. Its arrays are looked at one by one, and none is kept.
        site: Who sent it, by the Grid's word and not its own.
        round_number: The round it must be for.
        base: The model it must be an update of.
        base_digest: That model's digest.
        private: Whether the study's sites train with differential privacy.
        registered: Training cases that the site described; None where that is checked elsewhere.

    Raises:
        UpdateRefused: Another site, round or base; other names, shapes or dtypes; values that are not
            finite; a counter or variance that cannot be; a weight or loss that is none; from private training
            no epsilon, or a loss, on which no noise would be; and an epsilon from training that was not
            private.
    """
    if contribution.site != site or not _is(contribution.round, round_number):
        said = f"{str(contribution.site)[:100]!r}, round {_shown(contribution.round)}"
        raise UpdateRefused(f"says it is {said}")
    if contribution.base_digest != base_digest:
        raise UpdateRefused("update of another base model")
    _check_weight(contribution.cases, registered)
    if private:
        _check_private(contribution)
    else:
        _check_plain(contribution)
    _check_ledger(contribution)
    _check_arrays(contribution.delta, base)


def _is(value: object, number: int) -> bool:
    """Whether a value is this whole number; a truth value and a float are none."""
    return type(value) is int and value == number


def _shown(value: object) -> str:
    """A value as a message quotes it: Python writes no whole number of thousands of digits."""
    return "too many" if type(value) is int and abs(value) >= 2**63 else str(value)[:40]


def _check_weight(cases: object, registered: int | None) -> None:
    if type(cases) is not int or cases <= 0:
        raise UpdateRefused(f"weight of {_shown(cases)} cases")
    if registered is not None and cases > registered:
        raise UpdateRefused(f"weight of {_shown(cases)} cases, {registered} described")


def _check_plain(contribution: Contribution) -> None:
    if not _measures(contribution.loss) or not (
        contribution.base_loss is None or _measures(contribution.base_loss)
    ):
        raise UpdateRefused("loss is not a finite number")
    if contribution.epsilon is not None or contribution.target_delta is not None:
        raise UpdateRefused("an epsilon in a study whose sites do not train privately")


def _check_private(contribution: Contribution) -> None:
    delta = contribution.target_delta
    if contribution.loss is not None or contribution.base_loss is not None:
        raise UpdateRefused("a loss, which would leave a private study without noise")
    if not _measures(contribution.epsilon):
        raise UpdateRefused("no finite epsilon in a study whose sites train privately")
    if not _measures(delta) or not 0 < delta < 1:  # type: ignore[operator]  # a number, as just seen
        raise UpdateRefused("an epsilon without a delta between 0 and 1")


def _check_ledger(contribution: Contribution) -> None:
    clip_norm, head = contribution.clip_norm, contribution.ledger_head
    if clip_norm is not None and (not _measures(clip_norm) or clip_norm == 0):
        raise UpdateRefused("clip norm is not a finite positive number")
    if head is not None and not _HEAD.fullmatch(head):
        raise UpdateRefused("ledger head is not a number and a digest")


def _measures(value: object) -> bool:
    """Whether there is a finite number that is not negative; a truth value is no number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _check_arrays(delta: Weights, base: Weights) -> None:
    if set(delta) != set(base):
        raise UpdateRefused(f"arrays missing or unknown: {_some(set(delta) ^ set(base))}")
    for name in base:
        array, expected = np.asarray(delta[name]), spec_of(base, name)
        if array.shape != expected.shape or array.dtype != expected.dtype:
            raise UpdateRefused(f"{name} is {_form(array)}, not {_form(expected)}")
        if not np.isfinite(array).all():
            raise UpdateRefused(f"{name} holds values that are not finite")
        if is_buffer(name, expected):
            check_buffer(name, array, base[name])


def _some(names: Iterable[object]) -> list[str]:
    """The first few of the names, as much of them as a person reads."""
    return sorted(str(name)[:60] for name in names)[:5]


def _form(array: NDArray[Any] | ArraySpec) -> str:
    return f"{str(array.dtype)[:60]}{str(array.shape)[:60]}"
