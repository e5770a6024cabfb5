"""A picture becomes a sequence: each pixel once, none lost, mean 0 and deviation 1; batches end in zeros."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.sequences import NO_TARGET, SequenceBatch, from_steps, hilbert, pad, standardise, to_steps
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


@pytest.mark.parametrize("sequence", [Rows(size=16), Patches(size=16, patch=4)])
def test_many_pictures_at_once_give_the_steps_of_each(sequence: Rows | Patches) -> None:
    pictures = np.random.default_rng(0).random((2, 3, 16, 16))
    together = to_steps(torch.from_numpy(pictures), sequence)
    for index in np.ndindex(2, 3):
        assert np.array_equal(together[index].numpy(), to_steps(pictures[index], sequence))


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
    assert taken.targets.tolist() == index
    assert taken.lengths.tolist() == [i % 3 + 1 for i in index]
    assert taken.steps[:, 0, 0].tolist() == index


def test_concatenation_keeps_cases_together_and_in_order() -> None:
    joined = SequenceBatch.concatenate([batch(2), batch(0), batch(3, first=2)])
    whole = batch(5)
    assert all(torch.equal(getattr(joined, f), getattr(whole, f)) for f in ("steps", "lengths", "targets"))


def cases_of(*lengths: int) -> list[torch.Tensor]:
    """One case of each length, two features wide, of values that tell the case and the step."""
    return [torch.arange(2.0 * n).reshape(n, 2) + 100 * (i + 1) for i, n in enumerate(lengths)]


def test_padded_cases_are_whole_and_have_zeros_behind() -> None:
    cases = cases_of(3, 1, 5)
    found = pad(cases, torch.tensor([2, 0, 1]))
    assert found.steps.shape == (3, 5, 2)
    assert found.lengths.tolist() == [3, 1, 5]
    assert found.targets.tolist() == [2, 0, 1]
    for case, steps in zip(cases, found.steps, strict=True):
        assert torch.equal(steps[: len(case)], case)
        assert not steps[len(case) :].any()


def test_batch_of_no_cases_is_empty_and_joins_any_other() -> None:
    nothing, some = pad([], torch.zeros(0, dtype=torch.int64)), pad(cases_of(2, 3), torch.tensor([0, 1]))
    assert len(nothing) == 0
    for parts in ([nothing, some], [some, nothing], [some]):
        joined = SequenceBatch.concatenate(parts)
        assert torch.equal(joined.steps, some.steps) and joined.lengths.tolist() == [2, 3]
    assert len(SequenceBatch.concatenate([nothing, nothing])) == 0


def test_concatenation_pads_to_the_longest() -> None:
    lengths = [2, 4, 1, 3]
    cases, labels = cases_of(*lengths), torch.tensor([0, 1, 0, 1])
    parts = [pad(cases[:2], labels[:2]), pad(cases[2:3], labels[2:3]), pad(cases[3:], labels[3:])]
    joined, whole = SequenceBatch.concatenate(parts), pad(cases, labels)
    assert all(torch.equal(getattr(joined, f), getattr(whole, f)) for f in ("steps", "lengths", "targets"))


def test_taken_cases_are_as_long_as_their_longest() -> None:
    taken = pad(cases_of(2, 6, 3), torch.tensor([0, 1, 1])).take(torch.tensor([2, 0]))
    assert taken.steps.shape == (2, 3, 2)
    assert taken.lengths.tolist() == [3, 2]
    assert torch.equal(taken.steps[0], cases_of(2, 6, 3)[2])
    assert not taken.steps[1, 2:].any()


def test_lengths_stay_on_the_cpu_and_steps_know_their_size() -> None:
    moved = batch(4).to(torch.device("meta"))
    assert (moved.steps.device.type, moved.targets.device.type, moved.lengths.device.type) == (
        "meta",
        "meta",
        "cpu",
    )
    assert batch(4).size_bytes == 4 * 3 * 2 * 4


@pytest.mark.parametrize("side", [1, 2, 4, 8, 16])
def test_hilberts_curve_visits_every_place_from_one_beside_it(side: int) -> None:
    visited = hilbert(side)
    assert sorted(visited.tolist()) == list(range(side * side))
    rows, columns = np.divmod(visited, side)
    assert (np.abs(np.diff(rows)) + np.abs(np.diff(columns)) == 1).all()


@pytest.mark.parametrize(
    "sequence",
    [Rows(size=16), Patches(size=16, patch=4), Patches(size=16, patch=4, order="hilbert")],
    ids=["rows", "raster", "hilbert"],
)
def test_pictures_come_back_from_their_steps(sequence: Rows | Patches) -> None:
    pictures = torch.arange(2 * 16 * 16.0).reshape(2, 16, 16)
    assert torch.equal(from_steps(to_steps(pictures, sequence), sequence), pictures)


def test_targets_by_step_are_padded_as_their_steps_are() -> None:
    masks = [torch.ones(2, 4, dtype=torch.uint8), torch.ones(3, 4, dtype=torch.uint8)]
    batch = pad([torch.zeros(2, 4), torch.zeros(3, 4)], masks)
    assert batch.targets.shape == (2, 3, 4) and (batch.targets[0, 2] == NO_TARGET).all()
    assert batch.take(torch.tensor([0])).targets.shape == (1, 2, 4)
    longer = pad([torch.zeros(5, 4)], [torch.zeros(5, 4, dtype=torch.uint8)])
    joined = SequenceBatch.concatenate([batch, longer])
    assert joined.targets.shape == (3, 5, 4) and (joined.targets[1, 3:] == NO_TARGET).all()
    assert torch.equal(joined.targets[2], torch.zeros(5, 4, dtype=torch.uint8))
