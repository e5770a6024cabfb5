"""A series is arranged the same in whatever order its files come, and no picture is lost on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from client.dicom.geometry.arranging import Arrangement, arrange
from client.dicom.place import Frame, Plane, Vector


def vector(values: Any) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z


@st.composite
def directions(draw: st.DrawFn) -> tuple[Vector, Vector]:
    """Two unit vectors at right angles."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return vector(axes[:, 0]), vector(axes[:, 1])


@st.composite
def scans(draw: st.DrawFn) -> tuple[list[Frame], int, int, float]:
    """A regular scan in any direction, its moments and slices numbered as scanners do; T, Z and spacing."""
    row, column = draw(directions())
    moments, slices = draw(st.integers(1, 4)), draw(st.integers(2, 7))
    spacing = draw(st.sampled_from([0.3, 1.0, 4.5]))
    timed, through_slices = draw(st.booleans()), draw(st.booleans())
    tilt = draw(st.sampled_from([0.0, 0.3]))
    step = spacing * (np.cross(row, column) + tilt * np.array(column))
    frames = []
    for t in range(moments):
        for z in range(slices):
            number = t * slices + z if through_slices else z * moments + t
            plane = Plane(vector(np.array([-20.0, 30.0, 5.0]) + z * step), row, column, (0.9, 0.8))
            frames.append(Frame(plane, (0.9, 0.8), "", (float(t),) if timed else (), (number + 1, 1)))
    return frames, moments, slices, spacing


def named(arrangement: Arrangement, frames: list[Frame]) -> list[Any]:
    """What was arranged, by the frames and not by where they stood."""
    return [
        ([[frames[index] for index in row] for row in stack.grid], stack.spacing_mm, stack.findings)
        for stack in arrangement.stacks
    ]


@given(scans(), st.randoms(use_true_random=False))
def test_order_of_the_files_changes_nothing(scan: tuple[list[Frame], int, int, float], random: Any) -> None:
    frames, moments, slices, spacing = scan
    shuffled = random.sample(frames, len(frames))
    found = named(arrange(frames), frames)
    assert named(arrange(shuffled), shuffled) == named(arrange(frames[::-1]), frames[::-1]) == found
    ((grid, found_spacing, _),) = found
    assert (len(grid), len(grid[0])) == (moments, slices)
    assert found_spacing is not None and abs(found_spacing[0] - spacing) < 1e-5
    forward = [[frames[t * slices + z] for z in range(slices)] for t in range(moments)]
    assert grid in (forward, [row[::-1] for row in forward])


@given(scans(), st.data())
def test_no_picture_is_lost_and_none_used_twice(
    scan: tuple[list[Frame], int, int, float], data: st.DataObject
) -> None:
    frames = data.draw(st.lists(st.sampled_from(scan[0]), max_size=20))
    shapes = [data.draw(st.sampled_from([(4, 4), (8, 4)])) for _ in frames]
    found = arrange(frames, shapes)
    placed = [index for stack in found.stacks for row in stack.grid for index in row]
    aside = [index for stack in found.stacks for index in stack.aside]
    assert sorted([*placed, *aside, *found.unplaced]) == list(range(len(frames)))
    for stack in found.stacks:
        assert len({len(row) for row in stack.grid}) == 1
        assert len({shapes[index] for row in stack.grid for index in row}) == 1


@given(scans(), st.data(), st.randoms(use_true_random=False))
def test_a_volume_with_a_hole_says_so(
    scan: tuple[list[Frame], int, int, float], data: st.DataObject, random: Any
) -> None:
    frames, moments, slices, _ = scan
    if slices < 4:
        return
    lost = data.draw(st.integers(1, slices - 2))
    rest = [frame for at, frame in enumerate(frames) if at % slices != lost]
    random.shuffle(rest)
    (stack,) = arrange(rest).stacks
    assert (len(stack.grid), len(stack.grid[0])) == (moments, slices - 1)
    (missing,) = (finding.numbers for finding in stack.findings if finding.code.value == "missing-slices")
    assert missing in ((1, lost - 1), (1, slices - 2 - lost))  # from either end
