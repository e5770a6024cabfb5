"""Every update is checked before it counts; what does not pass costs itself and nothing else."""

from __future__ import annotations

import numpy as np

from common.errors import UpdateRefused
from common.update import Contribution
from common.weights import Weights


def admit(contribution: Contribution, site: str, round_number: int, base: Weights, base_digest: str) -> None:
    """Let a contribution pass.

    Args:
        contribution: As read from the reply.
        site: Who sent it, by the Grid's word and not its own.
        round_number: The round it must be for.
        base: The model it must be an update of.
        base_digest: That model's digest.

    Raises:
        UpdateRefused: Another site, round or base; other names, shapes or dtypes; values that are not
            finite; a weight or loss that is none.
    """
    if (contribution.site, contribution.round) != (site, round_number):
        raise UpdateRefused(f"says it is {contribution.site!r}, round {contribution.round}")
    if contribution.base_digest != base_digest:
        raise UpdateRefused("update of another base model")
    if contribution.cases <= 0:
        raise UpdateRefused(f"weight of {contribution.cases} cases")
    losses = [contribution.loss, *([] if contribution.base_loss is None else [contribution.base_loss])]
    if not all(np.isfinite(loss) and loss >= 0 for loss in losses):
        raise UpdateRefused("loss is not a finite number")
    _check_arrays(contribution.delta, base)


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
