"""A series becomes stacks in the right order; what is irregular is named and not hidden."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from client.dicom.geometry.arranging import Arrangement, Finding, Irregularity, Stack, arrange
from client.dicom.place import Frame, Plane, Vector

SPACING = (0.5, 0.25)


def frame(
    z: float = 0.0,
    number: int = 1,
    *,
    time: tuple[float, ...] = (),
    at: Vector | None = None,
    row: Vector = (1, 0, 0),
    column: Vector = (0, 1, 0),
    stack: str = "",
    spacing: tuple[float, float] = SPACING,
) -> Frame:
    plane = Plane(at or (0, 0, z), row, column, spacing)
    return Frame(plane, spacing, stack, time, (number, 1))


def volume(*heights: float) -> list[Frame]:
    """Slices at these heights, numbered in this order."""
    return [frame(z, number) for number, z in enumerate(heights, start=1)]


def only(arrangement: Arrangement) -> Stack:
    (stack,) = arrangement.stacks
    return stack


def codes(findings: tuple[Finding, ...]) -> dict[Irregularity, tuple[float, ...]]:
    return {finding.code: finding.numbers for finding in findings}


def test_volume_is_read_from_foot_to_head() -> None:
    found = arrange(volume(4, 0, 2, 6))
    assert only(found).grid == ((1, 2, 0, 3),)
    assert only(found).spacing_mm == (2, *SPACING)
    assert (only(found).findings[0].code, found.unplaced, found.findings) == (
        Irregularity.anisotropic,
        (),
        (),
    )


@pytest.mark.parametrize(
    ("row", "column", "axis"),
    [
        ((1, 0, 0), (0, 1, 0), 2),  # axial: normal to the head
        ((1, 0, 0), (0, -1, 0), 2),  # the same, mirrored: normal to the feet
        ((-1, 0, 0), (0, 1, 0), 2),
        ((1, 0, 0), (0, 0, -1), 1),  # coronal: to the back
        ((0, 1, 0), (0, 0, -1), 0),  # sagittal: to the left
        ((0, -1, 0), (0, 0, -1), 0),
    ],
)
def test_sense_does_not_depend_on_how_it_was_scanned(row: Vector, column: Vector, axis: int) -> None:
    def at(distance: float) -> Vector:
        x, y, z = (distance if one == axis else 0.0 for one in range(3))
        return x, y, z

    frames = [frame(at=at(3.0 * step), row=row, column=column, number=step) for step in (0, 1)]
    assert only(arrange(frames)).grid == ((0, 1),)
    assert only(arrange(frames[::-1])).grid == ((1, 0),)


def test_a_normal_between_two_axes_has_one_sense() -> None:
    half = math.sqrt(0.5)
    for wobble in (-1e-9, 1e-9):
        along = (0, half + wobble, -half)
        frames = [
            frame(at=(0, step * half, step * half), row=(1, 0, 0), column=along, number=step)
            for step in (0, 3)
        ]
        assert only(arrange(frames)).grid == ((0, 1),)  # z counts before y


def test_position_counts_and_not_the_number() -> None:
    assert only(arrange(volume(9, 6, 3, 0))).grid == ((3, 2, 1, 0),)


def test_missing_slice_is_reported_and_the_rest_arranged() -> None:
    stack = only(arrange(volume(0, 2, 4, 8, 10, 16)))
    assert stack.grid == ((0, 1, 2, 3, 4, 5),)
    missing = [finding.numbers for finding in stack.findings if finding.code is Irregularity.missing_slices]
    assert missing == [(1, 2), (2, 4)]  # how many, after which slice
    assert stack.spacing_mm == (2, *SPACING)
    assert Irregularity.uneven_spacing not in codes(stack.findings)


def test_missing_middle_of_three() -> None:
    assert codes(only(arrange(volume(0, 1, 3))).findings)[Irregularity.missing_slices] == (1, 1)


@pytest.mark.parametrize(("last", "uneven"), [(6.03, False), (6.05, True), (5.0, True), (6.9, True)])
def test_uneven_spacing(last: float, uneven: bool) -> None:
    found = codes(only(arrange(volume(0, 2, 4, last))).findings)
    assert (Irregularity.uneven_spacing in found) is uneven
    if uneven:
        least, most = sorted((2.0, round(last - 4, 3)))
        assert found[Irregularity.uneven_spacing] == (least, most)


def test_tilted_gantry_leans() -> None:
    angle = math.radians(20)
    column = (0.0, math.cos(angle), -math.sin(angle))
    stack = only(arrange([frame(z, n, column=column) for n, z in enumerate((0, 4, 8, 12, 200))]))
    assert stack.spacing_mm is not None
    assert stack.spacing_mm[0] == pytest.approx(4 * math.cos(angle))  # along the normal, not along the table
    assert codes(stack.findings)[Irregularity.gantry_tilt] == (20,)


def test_shifted_slice() -> None:
    frames = [frame(at=(3.0 if z == 4 else 0.0, 0, z), number=z) for z in (0, 2, 4, 6, 8)]
    assert codes(only(arrange(frames)).findings)[Irregularity.shifted_slices] == (3,)


def test_time_series_by_time() -> None:
    frames = [frame(z, number=9, time=(t,)) for t in (2, 0, 1) for z in (0, 5)]
    stack = only(arrange(frames))
    assert stack.grid == ((2, 3), (4, 5), (0, 1))
    assert Irregularity.times_by_number not in codes(stack.findings)


def test_time_series_by_number_is_named() -> None:
    frames = [frame(z, number=n) for n, z in enumerate((0, 5, 10) * 4)]
    stack = only(arrange(frames))
    assert stack.grid == ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
    assert codes(stack.findings)[Irregularity.times_by_number] == (4,)


def test_each_slice_may_have_its_own_clock() -> None:
    """Slices of a moment are taken one after the other; the n-th of each place belong together."""
    frames = [frame(z, time=(10 * t + 0.3 * (5 - z),)) for t in range(3) for z in range(4)]
    assert only(arrange(frames)).grid == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))


@pytest.mark.parametrize("lost", range(12))
@pytest.mark.parametrize("clock", ["shared", "own", "none"])
def test_a_moment_that_lacks_a_slice_is_left_aside(lost: int, clock: str) -> None:
    def time(t: int, z: int) -> tuple[float, ...]:
        return {"shared": (float(t),), "own": (10 * t + 0.3 * z,), "none": ()}[clock]

    cells = [(t, z) for t in range(4) for z in range(3)]
    frames = [frame(z, number=n, time=time(t, z)) for n, (t, z) in enumerate(cells, start=1)]
    t, _ = cells[lost]
    rest = frames[:lost] + frames[lost + 1 :]
    stack = only(arrange(rest))
    numbers = [[rest[index].number[0] for index in row] for row in stack.grid]
    assert numbers == [[3 * m + 1, 3 * m + 2, 3 * m + 3] for m in range(4) if m != t]
    assert codes(stack.findings)[Irregularity.ragged_times] == (2,)
    assert len(stack.aside) == 2


@pytest.mark.parametrize("lost", range(12))
def test_numbers_may_run_through_the_moments_of_each_slice(lost: int) -> None:
    frames = [frame(z, number=4 * z + t + 1) for z in range(3) for t in range(4)]
    rest = frames[:lost] + frames[lost + 1 :]
    numbers = [[rest[index].number[0] for index in row] for row in only(arrange(rest)).grid]
    assert numbers == [[t + 1, t + 5, t + 9] for t in range(4) if t != lost % 4]


def test_one_poor_place_does_not_cost_the_moments_of_the_others() -> None:
    heart = [frame(z, number=25 * z + t, time=(float(t),)) for z in range(10) for t in range(25)]
    stack = only(arrange([*heart, frame(20, number=999, time=(0.0,))]))
    assert (len(stack.grid), len(stack.grid[0]), stack.aside) == (25, 10, (250,))


def test_slice_sent_twice_is_used_once() -> None:
    frames = [*volume(0, 2, 4), frame(2, 2)]
    stack = only(arrange(frames))
    assert (stack.grid, stack.aside) == (((0, 1, 2),), (3,))
    assert codes(stack.findings)[Irregularity.duplicate_positions] == (1,)


def test_slice_scanned_again_is_left_aside() -> None:
    stack = only(arrange([*volume(0, 2, 4), frame(2, 17)]))
    assert (stack.grid, stack.aside) == (((0, 1, 2),), (3,))


def test_moments_without_any_order_are_unplaced() -> None:
    frames = [frame(z, number=0) for _ in range(3) for z in (0, 2, 4)]
    found = arrange(frames)
    assert (found.stacks, found.unplaced) == ((), tuple(range(9)))
    assert codes(found.findings) == {Irregularity.no_order: (9,)}


def test_places_whose_pictures_nothing_puts_in_order_do_not_stop_the_others() -> None:
    # Two of three places have pictures sent twice, which count as without order; the lowest has no others.
    twice = [frame(0.0, number=1)] * 2 + [frame(1.0, number=2)] * 2
    rest = [frame(1.0, number=6), frame(2.0, number=7), frame(2.0, number=9)]
    stack = only(arrange([*twice, *rest]))
    assert stack.grid == ((4, 5),)


def test_directions_sizes_and_stacks_are_split() -> None:
    frames = [
        *volume(0, 2, 4),
        *(frame(at=(x, 0, 0), row=(0, 1, 0), column=(0, 0, -1), number=10 + x) for x in (0, 2)),
        *(frame(z, number=20 + z, spacing=(1, 1)) for z in (0, 2)),
        *(frame(z, number=30 + z, stack="echo 2") for z in (0, 2)),
    ]
    found = arrange(frames)
    assert [stack.grid for stack in found.stacks] == [((0, 1, 2),), ((3, 4),), ((5, 6),), ((7, 8),)]
    assert codes(found.findings) == {
        Irregularity.several_stacks: (4,),
        Irregularity.mixed_orientations: (2,),
        Irregularity.mixed_sizes: (2,),
    }


def test_pictures_of_several_sizes_are_split() -> None:
    found = arrange(volume(0, 2, 4, 6), shapes=[(8, 8), (4, 4), (8, 8), (4, 4)])
    assert [stack.grid for stack in found.stacks] == [((0, 2),), ((1, 3),)]
    assert codes(found.findings)[Irregularity.mixed_sizes] == (2,)


def test_rounding_splits_nothing() -> None:
    tilted = (0.0, 0.99999, 0.0045)
    frames = [frame(0, 1), frame(2, 2, column=tilted), frame(4, 3, spacing=(0.501, 0.2501))]
    assert only(arrange(frames)).grid == ((0, 1, 2),)


def test_stations_side_by_side_are_no_moments() -> None:
    places = [(z, y) for z in (0, -400, -800) for y in (0, 4, 8)]
    frames = [
        frame(at=(0, y, z), number=n, row=(1, 0, 0), column=(0, 0, -1)) for n, (z, y) in enumerate(places)
    ]
    assert [stack.grid for stack in arrange(frames).stacks] == [((0, 1, 2),), ((3, 4, 5),), ((6, 7, 8),)]


def test_film_is_one_column() -> None:
    frames = [Frame(None, SPACING, "clip", (0.04 * t,), (1, t + 1)) for t in (2, 0, 1)]
    stack = only(arrange(frames))
    assert (stack.grid, stack.spacing_mm, stack.findings) == (((1,), (2,), (0,)), (0, *SPACING), ())


def test_film_of_a_slice_is_one_column() -> None:
    frames = [frame(0, 1, time=(0.04 * t,)) for t in range(3)]
    stack = only(arrange(frames))
    assert (stack.grid, stack.findings) == (((0,), (1,), (2,)), ())


def test_slices_without_position_stand_by_number() -> None:
    frames = [Frame(None, None, "", (float(10 - n),), (n, 1)) for n in (4, 1, 2, 7)]
    stack = only(arrange(frames))
    assert (stack.grid, stack.spacing_mm) == (((1, 2, 0, 3),), None)
    assert [(finding.code, finding.numbers) for finding in stack.findings] == [
        (Irregularity.order_by_number, (4,)),
        (Irregularity.missing_slices, (1, 1)),
        (Irregularity.missing_slices, (2, 2)),
    ]


def test_neither_position_nor_number_is_unplaced() -> None:
    frames = [Frame(None, SPACING, number=(0, 1)) for _ in range(3)]
    found = arrange(frames)
    assert (found.stacks, found.unplaced) == ((), (0, 1, 2))


def test_a_single_picture_needs_no_place() -> None:
    assert arrange([Frame()]) == Arrangement((Stack(((0,),), None),))
    assert only(arrange([frame()])).spacing_mm == (0, *SPACING)


def test_nothing_is_nothing() -> None:
    assert arrange([]) == Arrangement(())


def test_findings_say_what_and_how_much() -> None:
    finding = Finding(Irregularity.missing_slices, (1, 7))
    assert str(finding) == "missing-slices (slices missing, after slice: 1, 7)"
    assert all(code.hint and code.units and str(code) == code.value for code in Irregularity)
    assert replace(finding, numbers=()).hint == Irregularity.missing_slices.hint
