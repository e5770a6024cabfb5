"""Which pictures of a stack belong to the same moment: a grid of moments by places.

Pictures of one place differ by ``Frame.time``, else by ``Frame.number``. Which of them belong together across
places is decided by the first that holds:

1. Every place has the same number of pictures: the n-th of each place belong together.
2. The leading parts of ``time`` that tell pictures of a place apart take as many values as a place has
   pictures: equal values belong together.
3. The instance numbers run through the places, or through the moments, at an even step.
4. The n-th picture of each place belong together, though some places have fewer.

A moment that lacks a place is no whole volume. It is left aside, unless it is the places that are poor:
one slice of a heart with a single phase must not cost the 25 phases of the others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from client.dicom.geometry.findings import Finding, Irregularity
from client.dicom.place import Frame

PLACES_ARE_POOR = 2
"""Places are given up instead of moments where that keeps more than so many times the pictures."""

Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Pictures by moment and place.

    Attributes:
        grid: ``grid[t][z]`` is an index into the frames; every row is full.
        places: The number of the place that each column stands for, increasing.
        aside: Indices that belong to no full moment, or repeat another picture.
        unplaced: Indices that nothing puts in order.
        findings: What was irregular.
    """

    grid: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]
    aside: tuple[int, ...] = ()
    unplaced: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()


def timeline_of(frames: Sequence[Frame], place_of: Mapping[int, int]) -> Timeline:
    """The pictures of a stack by moment and place.

    Args:
        frames: All frames of the series.
        place_of: For the index of each picture of the stack, the number of its place.
    """
    kept, repeated, unordered = _told_apart(frames, place_of)
    if not kept:
        finding = Finding(Irregularity.no_order, (float(len(unordered)),))
        return Timeline((), (), tuple(repeated), tuple(unordered), (finding,))
    cells = _cells(frames, {index: place_of[index] for index in kept})
    moments, places = _whole(set(cells))
    grid = tuple(tuple(cells[moment, place] for place in places) for moment in moments)
    used = {index for row in grid for index in row}
    ragged = [index for index in kept if index not in used]
    findings = []
    if unordered:
        findings.append(Finding(Irregularity.no_order, (float(len(unordered)),)))
    if repeated:
        findings.append(Finding(Irregularity.duplicate_positions, (float(len(repeated)),)))
    if ragged:
        findings.append(Finding(Irregularity.ragged_times, (float(len(ragged)),)))
    if len(grid) > 1 and not _separating(frames, _by_place({i: place_of[i] for i in used})):
        findings.append(Finding(Irregularity.times_by_number, (float(len(grid)),)))
    return Timeline(grid, places, tuple(sorted(repeated + ragged)), tuple(sorted(unordered)), tuple(findings))


def _by_place(place_of: Mapping[int, int]) -> dict[int, list[int]]:
    """The pictures of each place."""
    found: dict[int, list[int]] = defaultdict(list)
    for index, place in place_of.items():
        found[place].append(index)
    return dict(found)


def _told_apart(
    frames: Sequence[Frame], place_of: Mapping[int, int]
) -> tuple[list[int], list[int], list[int]]:
    """Pictures that something tells apart; repetitions; and pictures that nothing puts in order.

    A few pictures that agree in place, time and number were sent twice, and the first of them stands for
    all. Where most places have such pictures they are moments whose order nobody knows.
    """
    same: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, place in place_of.items():
        same[place, frames[index].time, frames[index].number].append(index)
    tied = [group for group in same.values() if len(group) > 1]
    tied_places = {place_of[group[0]] for group in tied}
    if 2 * len(tied_places) > len(set(place_of.values())) > 1:
        lost = {index for group in tied for index in group}
        return [index for index in place_of if index not in lost], [], sorted(lost)
    repeated = {index for group in tied for index in sorted(group)[1:]}
    return [index for index in place_of if index not in repeated], sorted(repeated), []


def _cells(frames: Sequence[Frame], place_of: Mapping[int, int]) -> dict[Cell, int]:
    """The picture at each (moment, place)."""
    by_place = _by_place(place_of)
    for indices in by_place.values():
        indices.sort(key=lambda index: (frames[index].time, frames[index].number))
    ranked = {(rank, place): index for place, row in by_place.items() for rank, index in enumerate(row)}
    if len({len(row) for row in by_place.values()}) == 1:
        return ranked
    return _by_value(frames, by_place) or _by_step(frames, place_of) or ranked


def _by_value(frames: Sequence[Frame], by_place: Mapping[int, list[int]]) -> dict[Cell, int] | None:
    """Cells by equal leading parts of ``time``, or None if those are not shared by the places."""
    leading = _separating(frames, by_place)
    values = {index: frames[index].time[:leading] for row in by_place.values() for index in row}
    moments = {value: moment for moment, value in enumerate(sorted(set(values.values())))}
    if not leading or len(moments) > max(map(len, by_place.values())):
        return None
    return {(moments[values[index]], place): index for place, row in by_place.items() for index in row}


def _separating(frames: Sequence[Frame], by_place: Mapping[int, list[int]]) -> int:
    """How many leading parts of ``time`` tell the pictures of every place apart; 0 if even all do not."""
    longest = max(len(frames[index].time) for row in by_place.values() for index in row)
    for leading in range(1, longest + 1):
        if all(len({frames[index].time[:leading] for index in row}) == len(row) for row in by_place.values()):
            return leading
    return 0


def _by_step(frames: Sequence[Frame], place_of: Mapping[int, int]) -> dict[Cell, int] | None:
    """Cells by instance number, where numbers run evenly through the places or through the moments."""
    counter = _counter(frames, place_of)
    if counter is None:
        return None
    return _through_places(counter, place_of) or _through_moments(counter, place_of)


def _through_places(counter: Mapping[int, int], place_of: Mapping[int, int]) -> dict[Cell, int] | None:
    """Cells where numbers go through all places before the next moment begins; None where they do not."""
    places, least = len(set(place_of.values())), min(counter.values())
    slots = {index: (number - least) % places for index, number in counter.items()}
    if not _agree(slots, place_of):
        return None
    rank = {place: rank for rank, place in enumerate(sorted(set(place_of.values())))}
    in_slots = dict(sorted((slots[index], rank[place]) for index, place in place_of.items()))
    start = _start(least, list(in_slots.values()))
    return {((counter[index] - start) // places, place): index for index, place in place_of.items()}


def _start(least: int, places: Sequence[int]) -> int:
    """The number that the first moment begins with, though its first slices may be missing.

    Args:
        least: The least number there is.
        places: The place of each number from there on, counted from 0 without gaps.
    """
    count = len(places)
    for first, step in ((0, 1), (count - 1, -1)):
        shift = places.index(first)
        if all(places[(shift + n) % count] == first + step * n for n in range(count)):
            return least + shift - count if shift else least
    # Interleaved slices: nothing but the habit of counting from 1 tells where a moment begins.
    return 1 if 1 <= least <= count else least


def _through_moments(counter: Mapping[int, int], place_of: Mapping[int, int]) -> dict[Cell, int] | None:
    """Cells where numbers go through all moments of a place before the next place; None where they do not."""
    moments, least = max(Counter(place_of.values()).values()), min(counter.values())
    for start in range(least, least - moments, -1):
        if _agree({index: (number - start) // moments for index, number in counter.items()}, place_of):
            return {((counter[i] - start) % moments, place): i for i, place in place_of.items()}
    return None


def _agree(slots: Mapping[int, int], place_of: Mapping[int, int]) -> bool:
    """Whether each slot is one place, and each place one slot."""
    pairs = {(slot, place_of[index]) for index, slot in slots.items()}
    return len(pairs) == len({slot for slot, _ in pairs}) == len({place for _, place in pairs})


def _counter(frames: Sequence[Frame], place_of: Mapping[int, int]) -> dict[int, int] | None:
    """A running number of the pictures: their instances', or within their only instance; else None."""
    for part in (0, 1):
        numbers = {index: frames[index].number[part] for index in place_of}
        if len(set(numbers.values())) == len(numbers):
            return numbers
    return None


def _whole(cells: set[Cell]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Moments and places such that each of the moments has each of the places."""
    moments: dict[int, set[int]] = defaultdict(set)
    places: dict[int, set[int]] = defaultdict(set)
    for moment, place in sorted(cells):
        moments[moment].add(place)
        places[place].add(moment)
    fullest = max(moments.values(), key=len)
    shared = [moment for moment, has in moments.items() if has >= fullest]
    everywhere = [place for place, has in places.items() if len(has) == len(moments)]
    if len(moments) * len(everywhere) > PLACES_ARE_POOR * len(shared) * len(fullest):
        return tuple(sorted(moments)), tuple(sorted(everywhere))
    return tuple(sorted(shared)), tuple(sorted(fullest))
