"""Every update is checked before it counts; what does not pass costs itself and nothing else."""

from __future__ import annotations

import re

import numpy as np

from common.errors import UpdateRefused
from common.update import Contribution
from common.weights import Weights

_HEAD = re.compile(r"[0-9]{1,12}:[0-9a-f]{64}")


def admit(
    contribution: Contribution,
    site: str,
    round_number: int,
    base: Weights,
    base_digest: str,
    *,
    private: bool = False,
) -> None:
    """Let a contribution pass.

    Args:
        contribution: As read from the reply.
        site: Who sent it, by the Grid's word and not its own.
        round_number: The round it must be for.
        base: The model it must be an update of.
        base_digest: That model's digest.
        private: Whether the study's sites train with differential privacy.

    Raises:
        UpdateRefused: Another site, round or base; other names, shapes or dtypes; values that are not
            finite; a weight or loss that is none; from private training no epsilon, or a loss, on which no
            noise would be; and an epsilon from training that was not private.
    """
    if (contribution.site, contribution.round) != (site, round_number):
        raise UpdateRefused(f"says it is {contribution.site!r}, round {contribution.round}")
    if contribution.base_digest != base_digest:
        raise UpdateRefused("update of another base model")
    if contribution.cases <= 0:
        raise UpdateRefused(f"weight of {contribution.cases} cases")
    if private:
        _check_private(contribution)
    else:
        _check_plain(contribution)
    _check_ledger(contribution)
    _check_arrays(contribution.delta, base)


def _check_plain(contribution: Contribution) -> None:
    if not _measures(contribution.loss) or not (
        contribution.base_loss is None or _measures(contribution.base_loss)
    ):
        raise UpdateRefused("loss is not a finite number")
    if contribution.epsilon is not None or contribution.target_delta is not None:
        raise UpdateRefused("an epsilon in a study whose sites do not train privately")


def _check_private(contribution: Contribution) -> None:
    if contribution.loss is not None or contribution.base_loss is not None:
        raise UpdateRefused("a loss, which would leave a private study without noise")
    if not _measures(contribution.epsilon):
        raise UpdateRefused("no finite epsilon in a study whose sites train privately")
    if contribution.target_delta is None or not 0 < contribution.target_delta < 1:
        raise UpdateRefused("an epsilon without a delta between 0 and 1")


def _check_ledger(contribution: Contribution) -> None:
    clip_norm, head = contribution.clip_norm, contribution.ledger_head
    if clip_norm is not None and not (np.isfinite(clip_norm) and clip_norm > 0):
        raise UpdateRefused("clip norm is not a finite positive number")
    if head is not None and not _HEAD.fullmatch(head):
        raise UpdateRefused("ledger head is not a number and a digest")


def _measures(value: float | None) -> bool:
    """Whether there is a finite value that is not negative."""
    return value is not None and bool(np.isfinite(value)) and value >= 0


def _check_arrays(delta: Weights, base: Weights) -> None:
    if set(delta) != set(base):
        raise UpdateRefused(f"arrays missing or unknown: {sorted(set(delta) ^ set(base))[:5]}")
    for name, array in delta.items():
        if array.shape != base[name].shape or array.dtype != base[name].dtype:
            raise UpdateRefused(
                f"{name} is {array.dtype}{array.shape}, not {base[name].dtype}{base[name].shape}"
            )
        if not np.isfinite(array).all():
            raise UpdateRefused(f"{name} holds values that are not finite")
