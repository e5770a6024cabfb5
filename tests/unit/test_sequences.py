"""A picture becomes a sequence: each pixel once, none lost, mean 0 and deviation 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.sequences import SequenceBatch, standardise, to_steps
from common.study import Patches, Rows

sides = (
    st.tuples(st.integers(2, 8), st.integers(1, 8))
    .map(lambda t: (t[0], t[0] * t[1]))
    .filter(lambda t: t[1] >= 8)
)


def numbered(size: int) -> np.ndarray:
    """A picture whose pixels are all different."""
    return np.arange(size * size, dtype=np.float32).reshape(size, size)


@given(sides)
def test_patches_keep_every_pixel_exactly_once(side: tuple[int, int]) -> None:
    sequence = Patches(size=side[1], patch=side[0])
    steps = to_steps(numbered(side[1]), sequence)
    assert steps.shape == (sequence.steps, sequence.frame[0] * sequence.frame[1])
    assert np.array_equal(np.sort(steps.ravel()), numbered(side[1]).ravel())


@given(st.integers(8, 40))
def test_rows_keep_every_pixel_exactly_once(size: int) -> None:
    sequence = Rows(size=size)
    steps = to_steps(numbered(size), sequence)
    assert steps.shape == (sequence.steps, sequence.frame[0] * sequence.frame[1])
    assert np.array_equal(np.sort(steps.ravel()), numbered(size).ravel())


@given(sides)
def test_patches_are_squares_of_the_picture_in_raster_order(side: tuple[int, int]) -> None:
    patch, size = side
    steps = to_steps(numbered(size), Patches(size=size, patch=patch)).reshape(-1, patch, patch)
    places = [(top, left) for top in range(0, size, patch) for left in range(0, size, patch)]
    for step, (top, left) in zip(steps, places, strict=True):
        assert np.array_equal(step, numbered(size)[top : top + patch, left : left + patch])


def test_rows_are_the_picture_s_rows_from_top_to_bottom() -> None:
    assert np.array_equal(to_steps(numbered(8), Rows(size=8))[2], numbered(8)[2])


pictures = st.builds(
    lambda seed, scale, shift: (np.random.default_rng(seed).random((9, 7)) * scale + shift).astype(
        np.float32
    ),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-3, 1.0, 255.0, 65535.0]),
    st.sampled_from([0.0, -1.0, 1000.0]),
)


@given(pictures)
def test_standardised_picture_has_mean_0_and_deviation_1(picture: np.ndarray) -> None:
    found = standardise(picture)
    assert (found.dtype, found.shape) == (np.float32, picture.shape)
    if picture.std() > 1e-3 * abs(picture).max():
        assert abs(found.mean()) < 1e-3
        assert found.std() == pytest.approx(1, abs=1e-3)


@given(pictures)
def test_standardising_keeps_the_order_of_pixels(picture: np.ndarray) -> None:
    assert (np.diff(standardise(picture).ravel()[picture.ravel().argsort()]) >= 0).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 1e-20, 4095.0, 1e6])
def test_constant_picture_becomes_zeros(value: float) -> None:
    found = standardise(np.full((11, 13), value, dtype=np.float32))
    assert not found.any() and not np.isnan(found).any()


def test_standardising_leaves_the_picture_as_it_was() -> None:
    picture = numbered(8)
    standardise(picture)
    assert np.array_equal(picture, numbered(8))


def batch(cases: int, first: int = 0) -> SequenceBatch:
    numbers = torch.arange(first, first + cases)
    steps = numbers[:, None, None].expand(cases, 3, 2).float()
    return SequenceBatch(steps, numbers % 3 + 1, numbers)


@pytest.mark.parametrize("index", [[], [2], [3, 0, 3], [0, 1, 2, 3]])
def test_take_gives_these_cases_in_this_order(index: list[int]) -> None:
    taken = batch(4).take(torch.tensor(index, dtype=torch.int64))
    assert len(taken) == len(index)
    assert taken.labels.tolist() == index
    assert taken.lengths.tolist() == [i % 3 + 1 for i in index]
    assert taken.steps[:, 0, 0].tolist() == index


def test_concatenation_keeps_cases_together_and_in_order() -> None:
    joined = SequenceBatch.concatenate([batch(2), batch(0), batch(3, first=2)])
    whole = batch(5)
    assert all(torch.equal(getattr(joined, f), getattr(whole, f)) for f in ("steps", "lengths", "labels"))


def test_lengths_stay_on_the_cpu_and_steps_know_their_size() -> None:
    moved = batch(4).to(torch.device("meta"))
    assert (moved.steps.device.type, moved.labels.device.type, moved.lengths.device.type) == (
        "meta",
        "meta",
        "cpu",
    )
    assert batch(4).size_bytes == 4 * 3 * 2 * 4
