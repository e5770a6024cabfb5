"""Counts of segmentations agree with slow ones made pixel by pixel; what cannot be counts is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.metrics.segmentation import SegmentationSums
from common.metrics.surfaces import farthest_of_most

Array = NDArray[Any]
NAMES = ("background", "left", "right")


def blobs(
    seed: int, cases: int = 4, pictures: int = 3, side: int = 14, classes: int = 3
) -> tuple[Array, Array]:
    """(N, pictures, side, side) predicted and true classes: rectangles, and the same moved a little."""
    rng = np.random.default_rng(seed)
    true = np.zeros((cases, pictures, side, side), dtype=np.uint8)
    found = np.zeros_like(true)
    for case, picture, number in np.ndindex(cases, pictures, classes - 1):
        top, left = rng.integers(0, side - 6, 2)
        high, wide = rng.integers(2, 6, 2)
        down, right = rng.integers(0, 3, 2)
        if rng.random() < 0.8:
            true[case, picture, top : top + high, left : left + wide] = number + 1
        if rng.random() < 0.8:
            found[case, picture, top + down : top + down + high, left + right : left + right + wide] = (
                number + 1
            )
    true[rng.random(true.shape) < 0.05] = 255
    return found, true


def counted(seed: int, keep: bool = True, **shape: int) -> SegmentationSums:
    found, true = blobs(seed, **shape)
    return SegmentationSums.count(found, true, np.full(len(true), 0.5), 3, keep=keep)


def slow_dice(found: Array, true: Array, number: int) -> float:
    both = either = 0
    for guess, is_class in zip(found.flat, true.flat, strict=True):
        if is_class != 255:
            both += guess == number and is_class == number
            either += int(guess == number) + int(is_class == number)
    return 2 * both / either


def edge_of(region: Array) -> list[tuple[int, int]]:
    """Pixels of which one of four neighbours is not of the region."""
    height, width = region.shape
    return [
        (y, x)
        for y, x in zip(*np.nonzero(region), strict=True)
        if any(
            not (0 <= y + down < height and 0 <= x + right < width) or not region[y + down, x + right]
            for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1))
        )
    ]


def slow_hd95(found: Array, true: Array) -> float:
    """All pairs of edge pixels, picture by picture."""
    ways: tuple[list[float], list[float]] = ([], [])
    for one, other in zip(found, true, strict=True):
        edges = edge_of(one), edge_of(other)
        for way, here, there in ((ways[0], *edges), (ways[1], *edges[::-1])):
            for y, x in here:
                distances = [np.hypot(y - b, x - a) for b, a in there]
                way.append(min(distances, default=float(np.hypot(*one.shape))))
    return max(float(np.percentile(way, 95)) for way in ways if way)


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_counted_pixel_by_pixel(seed: int) -> None:
    found, true = blobs(seed)
    figures = SegmentationSums.count(found, true, np.zeros(4), 3, keep=False).figures(NAMES)
    for number, name in ((1, "left"), (2, "right")):
        having = [case for case in range(4) if (true[case] == number).any()]
        each = [slow_dice(found[case], true[case], number) for case in having]
        assert figures["dice_by_class"][name] == pytest.approx(np.mean(each))
        assert figures["dice_deviation_by_class"][name] == pytest.approx(np.std(each, ddof=1))
        assert figures["pooled_dice_by_class"][name] == pytest.approx(slow_dice(found, true, number))
        known = np.where(true == 255, 255, found)
        far = [slow_hd95(known[case] == number, true[case] == number) for case in having]
        assert figures["hd95_by_class"][name] == pytest.approx(np.mean(far))
        assert figures["labels"][name] == len(having)
    assert figures["dice"] == pytest.approx(np.mean(list(figures["dice_by_class"].values())))


def test_perfect_segmentation_has_dice_one_and_no_distance() -> None:
    _, true = blobs(1)
    figures = SegmentationSums.count(true, true, np.zeros(4), 3, keep=False).figures(NAMES)
    assert (figures["dice"], figures["pooled_dice"], figures["hd95"]) == (1.0, 1.0, 0.0)


def test_class_that_is_not_found_lies_a_diagonal_away() -> None:
    region = np.zeros((1, 3, 4), dtype=bool)
    region[0, 1, 1] = True
    assert farthest_of_most(np.zeros_like(region), region) == 5.0


def test_class_that_no_case_has_counts_only_where_it_is_found() -> None:
    found, true = np.zeros((2, 1, 4, 4), dtype=np.uint8), np.zeros((2, 1, 4, 4), dtype=np.uint8)
    true[:, :, 0] = found[:, :, 0] = 1
    nowhere = SegmentationSums.count(found, true, np.zeros(2), 3, keep=False).figures(NAMES)
    assert nowhere["dice_by_class"] == {"left": 1.0, "right": None}
    assert nowhere["pooled_dice_by_class"]["right"] is None
    found[:, :, 1] = 2
    invented = SegmentationSums.count(found, true, np.zeros(2), 3, keep=False).figures(NAMES)
    assert (invented["dice_by_class"]["right"], invented["pooled_dice_by_class"]["right"]) == (None, 0.0)


def test_no_case_has_no_figures() -> None:
    none = SegmentationSums.none(3)
    none.check(3)
    figures = none.figures(NAMES)
    assert (figures["n"], figures["dice"], figures["hd95"], figures["loss"]) == (0, None, None, None)


@pytest.mark.parametrize("keep", [True, False])
def test_sum_of_the_sites_is_the_count_of_all_cases(keep: bool) -> None:
    (found, true), losses = blobs(5, cases=7), np.arange(7.0)
    whole = SegmentationSums.count(found, true, losses, 3, keep=keep)
    parts = [
        SegmentationSums.count(found[a:b], true[a:b], losses[a:b], 3, keep=keep)
        for a, b in ((0, 2), (2, 2), (2, 7))
    ]
    total = SegmentationSums.total([SegmentationSums.none(3), *parts])
    total.check(3)
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(getattr(total, name), array, atol=1e-9)
    assert total.loss == pytest.approx(whole.loss)


def test_rows_of_cases_give_their_sums_again() -> None:
    sums = counted(3)
    again = SegmentationSums.of(sums.segments, np.full(4, 0.5), keep=True)
    for name, array in sums.arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array)


def tampered(name: str, where: tuple[int, ...], value: float) -> SegmentationSums:
    sums = counted(2)
    array = getattr(sums, name).copy()
    array[where] = value
    changed: dict[str, Any] = {name: array}
    return replace(sums, **changed)


@pytest.mark.parametrize(
    "broken",
    [
        tampered("segmented", (0,), -1),
        tampered("pixels", (1, 0), 10**6),
        tampered("pixels", (1, 1), 3),
        tampered("dice", (1, 0), 2.5),
        tampered("dice", (1, 0), 99.0),
        tampered("dice", (1, 1), 5.0),
        tampered("dice", (1, 1), np.nan),
        tampered("dice", (1, 2), 0.0),
        tampered("edges", (1,), 1e9),
        tampered("edges", (1,), np.inf),
        tampered("segments", (0, 1, 1), 4000.0),
        tampered("segments", (0, 1, 0), -1.0),
        tampered("segments", (0, 1, 3), -0.5),
        tampered("segments", (0, 1, 3), np.nan),
        replace(counted(2), segments=counted(2).segments[:2]),
        replace(counted(2), segments=counted(2).segments.astype(np.float32)),
        replace(counted(2), edges=np.zeros(5)),
        replace(counted(2), pixels=counted(2).pixels.astype(np.float64)),
    ],
)
def test_what_cannot_be_counts_is_refused(broken: SegmentationSums) -> None:
    counted(2).check(3)
    with pytest.raises(ValueError, match=r"."):
        broken.check(3)
