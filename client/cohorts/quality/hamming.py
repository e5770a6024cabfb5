"""All pairs of fingerprints that differ in few bits, without comparing each with each.

Multi-index hashing (Norouzi, Punjani, Fleet 2012, "Fast search in Hamming space with multi-index hashing"):
cut into m parts, two fingerprints that differ in fewer than m bits agree wholly in at least one part, so only
those that share a part are compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PARTS = 13
MOST_BITS = PARTS - 1
"""The farthest apart that is found for certain: 144 bits in 13 parts of 11 or 12 bits."""

_ONES = np.array([number.bit_count() for number in range(2**16)], dtype=np.uint8)


def distances(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int64]:
    """In how many bits fingerprints differ, row by row.

    Args:
        a: (N, bytes) uint8, an even number of bytes.
        b: The same.

    Returns:
        (N,) int64.
    """
    return _apart(a.view(np.uint16), b.view(np.uint16))


def pairs_within(
    prints: NDArray[np.uint8], bits: int, most: int = 1_000_000
) -> tuple[NDArray[np.int64], bool]:
    """Every pair of fingerprints at most ``bits`` apart.

    Args:
        prints: (N, bytes) uint8, an even number of bytes.
        bits: At most ``MOST_BITS``.
        most: The search ends when it has found more pairs than this.

    Returns:
        (M, 2) int64, each pair once with the lesser index first, in ascending order; and whether these are
        all there are.

    Raises:
        ValueError: ``bits`` is not within 0 and ``MOST_BITS``.
    """
    if not 0 <= bits <= MOST_BITS:
        raise ValueError(f"pairs 0 to {MOST_BITS} bits apart can be searched, not {bits}")
    number = max(len(prints), 1)
    words = np.ascontiguousarray(prints).view(np.uint16)
    found = np.empty(0, dtype=np.int64)
    for keys in _parts(prints):
        codes, whole = _agreeing(keys, words, bits, most)
        found = np.union1d(found, codes)
        if not whole or len(found) > most:
            return np.stack(np.divmod(found[:most], number), axis=1), False
    return np.stack(np.divmod(found, number), axis=1), True


def _parts(prints: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(PARTS, N) int64: each part as a number; its bits lie scattered over the picture.

    Neighbouring bits of a picture are much alike. Cut into blocks, one part would hold nothing but the black
    background of every picture, and all would share it.
    """
    bits = np.unpackbits(prints, axis=1).astype(np.int64)
    own = [bits[:, part::PARTS] for part in range(PARTS)]
    return np.stack([part @ (1 << np.arange(part.shape[1])) for part in own])


def _agreeing(
    keys: NDArray[np.int64], words: NDArray[np.uint16], bits: int, most: int
) -> tuple[NDArray[np.int64], bool]:
    """Pairs that share a key and are near, as ``lesser * N + greater``; and whether these are all."""
    order = np.argsort(keys, kind="stable")  # equal keys keep ascending indices: the lesser comes first
    keys, words = keys[order], words[order]
    found: list[NDArray[np.int64]] = []
    here, total = np.arange(len(keys)), 0
    for step in range(1, len(keys)):
        here = here[here + step < len(keys)]
        here = here[keys[here] == keys[here + step]]  # sorted: who has no equal at this step has none beyond
        if not len(here):
            break
        near = here[_apart(words[here], words[here + step]) <= bits]
        found.append(order[near] * len(keys) + order[near + step])
        total += len(near)
        if total > most:
            return np.concatenate(found), False
    return np.concatenate([np.empty(0, dtype=np.int64), *found]), True


def _apart(a: NDArray[np.uint16], b: NDArray[np.uint16]) -> NDArray[np.int64]:
    apart: NDArray[np.int64] = _ONES[a ^ b].sum(axis=1, dtype=np.int64)
    return apart
