"""Cases that were made from the same source pixels, whatever their names say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, islice, product

import numpy as np
from numpy.typing import NDArray

_WIDESPREAD = 20
"""A picture in more different cases than this is blank or a test pattern; sharing it says nothing."""


def copies(digests: Sequence[Sequence[str]], most: int) -> tuple[NDArray[np.int64], bool]:
    """Pairs of cases that share all their source pixels, or at least half of the shorter case's.

    Args:
        digests: For each case the digests of its source pixels.
        most: No more pairs than this are given.

    Returns:
        (M, 2) int64, each pair once with the lesser index first, in ascending order; and whether these are
        all there are.
    """
    groups: dict[frozenset[str], list[int]] = {}
    for index, own in enumerate(digests):
        if own:
            groups.setdefault(frozenset(own), []).append(index)
    pairs = list(islice(_pairs(groups), most + 1))
    rows = np.array(sorted(pairs[:most]), dtype=np.int64).reshape(-1, 2)
    return rows, len(pairs) <= most


def _pairs(groups: dict[frozenset[str], list[int]]) -> Iterator[tuple[int, int]]:
    for members in groups.values():
        yield from combinations(members, 2)
    for one, other in _overlapping(list(groups)):
        for a, b in product(groups[one], groups[other]):
            yield (a, b) if a < b else (b, a)


def _overlapping(sets: Sequence[frozenset[str]]) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """Pairs of different sets that share at least half of the smaller one."""
    owners: dict[str, list[int]] = {}
    for index, own in enumerate(sets):
        for digest in own:
            owners.setdefault(digest, []).append(index)
    shared: Counter[tuple[int, int]] = Counter()
    for those in owners.values():
        if 1 < len(those) <= _WIDESPREAD:
            shared.update(combinations(those, 2))
    for (one, other), number in shared.items():
        if 2 * number >= min(len(sets[one]), len(sets[other])):
            yield sets[one], sets[other]
