"""Lengths and directions found array by array are those of whole vectors."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from server.gate.vectors import PIECE, directions, length

RNG = np.random.default_rng(3)


def split(vector: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    vector = vector.astype(np.float32)
    return {"a": vector[:10].reshape(2, 5), "b": vector[10:], "none": np.zeros((0, 4), np.float32)}


def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


class Reading(Mapping[str, NDArray[Any]]):
    """Arrays made anew each time one is asked for, as if read from disk; ``most`` were there at once."""

    made: ClassVar[list[weakref.ref[NDArray[Any]]]] = []
    most: ClassVar[int] = 0

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = arrays

    def __getitem__(self, name: str) -> NDArray[Any]:
        array = self.arrays[name].copy()
        Reading.made.append(weakref.ref(array))
        Reading.most = max(Reading.most, sum(one() is not None for one in Reading.made))
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def test_a_length_is_the_whole_vectors() -> None:
    vector = RNG.standard_normal(3 * PIECE + 17)
    assert length(split(vector)) == pytest.approx(float(np.linalg.norm(vector)), rel=1e-6)
    assert length({}) == 0
    assert length({"a": np.array(3.0, np.float32), "b": np.array([[4.0]], np.float32)}) == 5


@pytest.mark.parametrize("scale", [1e-38, 1e-25, 1e-18, 1.0, 1e18, 1e25, 1e36])
def test_a_length_is_right_however_small_or_large(scale: float) -> None:
    vector = (RNG.standard_normal(2 * PIECE) * scale).astype(np.float32)
    assert length({"a": vector}) == pytest.approx(float(np.linalg.norm(vector.astype(np.float64))), rel=1e-5)


def test_a_length_that_float64_cannot_hold_is_infinite_and_warns_nobody() -> None:
    assert length({"a": np.full(3, 1e200)}) == np.inf
    assert np.isfinite(length({"a": np.full(3, 3e38, np.float32)}))


def test_a_transposed_array_is_read_in_the_order_of_its_places() -> None:
    vector = RNG.standard_normal((40, 30)).astype(np.float32)
    scale = float(np.linalg.norm(vector))
    same = directions([{"a": vector}, {"a": np.asfortranarray(vector)}], [scale, scale], [True, True])
    assert same[0] is not None and same[0].cosine == pytest.approx(1)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_directions_are_those_of_the_others_whatever_the_lengths(count: int) -> None:
    vectors = [RNG.standard_normal(PIECE + 99) + 0.3 for _ in range(count)]
    scaled = [split(v * 10.0 ** RNG.integers(-3, 9)) for v in vectors]
    units = [v / np.linalg.norm(v) for v in vectors]
    found = directions(scaled, [length(s) for s in scaled], [True] * count)
    for index, one in enumerate(found):
        others = units[:index] + units[index + 1 :]
        pairs = [cosine(a, b) for i, a in enumerate(others) for b in others[i + 1 :]]
        assert one is not None and one.others == count - 1
        assert one.cosine == pytest.approx(cosine(units[index], np.sum(others, axis=0)), abs=1e-5)
        assert one.agreement == pytest.approx(float(np.mean(pairs)) if pairs else 0.0, abs=1e-5)


def test_one_that_is_not_heard_is_compared_and_has_no_voice() -> None:
    vectors = [RNG.standard_normal(500) for _ in range(4)]
    parts = [split(v) for v in vectors]
    sizes = [length(p) for p in parts]
    heard = directions(parts[:3], sizes[:3], [True] * 3)
    found = directions(parts, sizes, [True, True, True, False])
    for one, other in zip(heard, found[:3], strict=True):
        assert one is not None and other is not None and one.cosine == pytest.approx(other.cosine, abs=1e-6)
    units = [v / np.linalg.norm(v) for v in vectors]
    assert found[3] is not None and found[3].others == 3
    assert found[3].cosine == pytest.approx(cosine(units[3], np.sum(units[:3], axis=0)), abs=1e-5)


def test_where_there_is_no_direction_there_is_none() -> None:
    one, zero = split(np.ones(20)), split(np.zeros(20))
    assert directions([], [], []) == []
    assert directions([one], [length(one)], [True]) == [None]
    assert directions([one, zero], [length(one), 0.0], [True, True]) == [None, None]
    opposed = split(-np.ones(20))
    found = directions([one, one, opposed], [length(one)] * 3, [True] * 3)
    assert found[2] is not None and found[2].cosine == pytest.approx(-1)
    assert found[0] is None and found[1] is None  # the other two cancel


def test_one_array_is_held_at_a_time() -> None:
    updates = [Reading(split(RNG.standard_normal(5000))) for _ in range(6)]
    sizes = [length(update) for update in updates]
    directions(updates, sizes, [True] * 6)
    assert len(Reading.made) == 6 * 3 * 3 + 3 and Reading.most == 1
    assert not [one for one in Reading.made if one() is not None]
