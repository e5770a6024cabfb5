"""Where the learning rate stands: a function of how far the study is, and of nothing that was before."""

from __future__ import annotations

import math

from common.study import Training

FLOOR = 0.01
"""Share of the learning rate at which warming up begins, and a schedule that falls ends."""


def rate_share(training: Training, rounds: int, progress: float) -> float:
    """Share of the study's learning rate that holds at a moment, in [FLOOR, 1].

    It rises linearly during ``warmup_rounds`` and then goes by the schedule, over the rounds that are left:
    ``cosine`` as ``(1 + cos(pi t)) / 2`` (Loshchilov and Hutter 2017, without restarts), ``linear`` as
    ``1 - t``.

    Args:
        training: The study's ``[training]``.
        rounds: Of the study.
        progress: Share of all its rounds that is done, parts of the present one included.
    """
    at, warmup = progress * rounds, training.warmup_rounds
    if at < warmup:
        return _above_floor(at / warmup)
    left = min(1.0, (at - warmup) / (rounds - warmup))
    match training.schedule:
        case "constant":
            return 1.0
        case "linear":
            return _above_floor(1 - left)
        case "cosine":
            return _above_floor((1 + math.cos(math.pi * left)) / 2)


def _above_floor(share: float) -> float:
    return FLOOR + (1 - FLOOR) * share
