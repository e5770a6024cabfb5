"""From the frames of one series to stacks: volumes, films and single pictures, in their right order.

Every frame ends in exactly one of: a stack's grid, a stack's ``aside``, or ``unplaced``. The result does
not depend on the order of the frames, but for pictures that agree in all they say: of those the one that
comes first is used, so callers should sort objects by their UID.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from client.dicom.geometry.findings import Finding, Irregularity
from client.dicom.geometry.slices import irregularities, slices_of
from client.dicom.geometry.splitting import Shape, alike, clustered, parallel, same_spacing
from client.dicom.geometry.timeline import timeline_of
from client.dicom.place import Frame, Plane

__all__ = ["Arrangement", "Finding", "Irregularity", "Stack", "arrange"]


@dataclass(frozen=True, slots=True)
class Stack:
    """Pictures that are a sequence of each other.

    Attributes:
        grid: ``grid[t][z]`` is an index into the frames: moment t, slice z along the normal. A plain volume
            has one row, a film one column, a single picture one of both.
        spacing_mm: Between slices, rows, columns; between slices it is the median, and 0 where there is
            one slice only or no position is known. None where even the pixels' size is not known.
        findings: What is irregular about it.
        aside: Indices of pictures that belong here and are not used; a finding says why.
    """

    grid: tuple[tuple[int, ...], ...]
    spacing_mm: tuple[float, float, float] | None
    findings: tuple[Finding, ...] = ()
    aside: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A series in order.

    Attributes:
        stacks: By the least instance number in each.
        unplaced: Indices of pictures that neither position nor number puts in order.
        findings: What is irregular about the series as a whole.
    """

    stacks: tuple[Stack, ...]
    unplaced: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()


def arrange(frames: Sequence[Frame], shapes: Sequence[Shape] | None = None) -> Arrangement:
    """The stacks of one series.

    Args:
        frames: All its frames.
        shapes: Height and width of each picture; None if they are all the same.

    Returns:
        Each frame's place in a stack, or why it has none.
    """
    groups = alike(frames, shapes)
    found = [_stack(frames, group) for group in groups]
    stacks = sorted((stack for stack, _ in found if stack.grid), key=lambda stack: _order(frames, stack))
    unplaced = sorted(index for _, lost in found for index in lost)
    aside = [index for stack, _ in found if not stack.grid for index in stack.aside]
    findings = _of_series(frames, groups, shapes)
    if unplaced:
        findings.append(Finding(Irregularity.no_order, (float(len(unplaced)),)))
    return Arrangement(tuple(stacks), tuple(sorted(unplaced + aside)), tuple(findings))


def _order(frames: Sequence[Frame], stack: Stack) -> tuple[object, ...]:
    """Stacks in the order in which they were begun."""
    members = [frames[index] for row in stack.grid for index in row]
    plane = frames[stack.grid[0][0]].plane
    place = (plane.position_mm, plane.row, plane.column) if plane else ()
    return min(frame.number for frame in members), members[0].stack, place, -len(members)


def _stack(frames: Sequence[Frame], group: list[int]) -> tuple[Stack, tuple[int, ...]]:
    """The stack that a group of like frames makes, and those of them that cannot be placed."""
    planes = [plane for index in group if (plane := frames[index].plane) is not None]
    return _by_position(frames, group, planes) if planes else _by_number(frames, group)


def _by_position(
    frames: Sequence[Frame], group: list[int], planes: list[Plane]
) -> tuple[Stack, tuple[int, ...]]:
    """A stack in the order of positions along the normal, and of moments at each position."""
    slices = slices_of(planes)
    timeline = timeline_of(frames, dict(zip(group, slices.places, strict=True)))
    if not timeline.grid:
        return Stack((), None, timeline.findings, timeline.aside), timeline.unplaced
    used = slices_of([plane for index in timeline.grid[0] if (plane := frames[index].plane) is not None])
    pixels = planes[0].spacing_mm
    findings = (*irregularities(used, pixels), *timeline.findings)
    spacing = (round(used.usual_gap_mm, 6), *pixels)
    return Stack(timeline.grid, spacing, findings, timeline.aside), timeline.unplaced


def _by_number(frames: Sequence[Frame], group: list[int]) -> tuple[Stack, tuple[int, ...]]:
    """A stack of pictures without position: a film if they are moments of one object, else slices."""
    keys = [(frames[index].time, frames[index].number) for index in group]
    film = len({number for _, (number, _) in keys}) == 1 and len({time for time, _ in keys}) == len(group)
    if not film:
        keys = [((), frames[index].number) for index in group]
    often = Counter(keys)
    lost = tuple(index for index, key in zip(group, keys, strict=True) if often[key] > 1)
    order = [index for key, index in sorted(zip(keys, group, strict=True)) if often[key] == 1]
    pixels = frames[group[0]].spacing_mm
    spacing = (0.0, *pixels) if pixels else None
    if not order:
        return Stack((), None), lost
    if film:
        return Stack(tuple((index,) for index in order), spacing), lost
    return Stack((tuple(order),), spacing, _numbered(frames, order)), lost


def _numbered(frames: Sequence[Frame], order: Sequence[int]) -> tuple[Finding, ...]:
    """That slices stand in the order of their numbers, and which numbers are missing between them."""
    if len(order) < 2:
        return ()
    part = 1 if len({frames[index].number[0] for index in order}) == 1 else 0
    numbers = [frames[index].number[part] for index in order]
    gaps = [after - before for before, after in pairwise(numbers)]
    steps = [gap for gap in gaps if gap > 0] or [1]
    usual = min(steps, key=lambda gap: (-steps.count(gap), gap))  # the commonest, the least of several
    missing = [
        Finding(Irregularity.missing_slices, (float(gap // usual - 1), float(at)))
        for at, gap in enumerate(gaps)
        if gap // usual > 1
    ]
    return Finding(Irregularity.order_by_number, (float(len(order)),)), *missing


def _of_series(
    frames: Sequence[Frame], groups: Sequence[list[int]], shapes: Sequence[Shape] | None
) -> list[Finding]:
    """What is irregular about the series as a whole."""
    heads = [group[0] for group in groups]
    planes = {index: plane for index in heads if (plane := frames[index].plane) is not None}
    directions = clustered(planes, lambda one, other: parallel(planes[one], planes[other]))

    def same_size(one: int, other: int) -> bool:
        known = shapes is None or shapes[one] == shapes[other]
        return known and same_spacing(frames[one].spacing_mm, frames[other].spacing_mm)

    sizes = clustered(heads, same_size)
    counts = (
        (Irregularity.several_stacks, len(groups)),
        (Irregularity.mixed_orientations, len(directions)),
        (Irregularity.mixed_sizes, len(sizes)),
    )
    return [Finding(code, (float(count),)) for code, count in counts if count > 1]
