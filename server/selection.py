"""Which sites train in a round."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from common.seeds import generator


def select_sites(
    sites: Sequence[str], fraction: float, at_least: int, seed: int, round_number: int
) -> list[str]:
    """A seeded sample of the sites, sorted by name: a function of (seed, round) and of who is there.

    At least ``at_least`` are chosen where there are so many; it never waits.
    """
    share = math.ceil(round(fraction * len(sites), 9))  # 0.28 * 25 is 7.000000000000001
    count = min(len(sites), max(at_least, share))
    return sorted(generator(seed, "selection", round_number).sample(sorted(sites), count))


def poisson_sample(sites: Iterable[str], rate: float, source: random.Random) -> list[str]:
    """Each site with probability ``rate``, whatever becomes of the others, sorted by name; it may be nobody.

    The sampling that the accountants' amplification holds for. ``source`` must be one that no site knows.
    """
    return [site for site in sorted(sites) if source.random() < rate]
