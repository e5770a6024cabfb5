"""What an update weighs that comes after the round that it was trained for."""

from __future__ import annotations

import math

from common.update import Contribution


def weight_of(contribution: Contribution, round_number: int) -> float:
    """The weight of an update in a mean of a round: its cases over ``sqrt(1 + rounds late)``.

    FedBuff (Nguyen et al. 2022, arXiv:2106.06639, section 5) weighs so what was trained from an older model.

    Args:
        contribution: The update.
        round_number: The round that it counts in, not before the one that it was trained for.
    """
    late = round_number - contribution.round
    return contribution.cases / math.sqrt(1 + late) if late > 0 else contribution.cases
