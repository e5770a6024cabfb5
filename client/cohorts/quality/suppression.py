"""Counts in which nobody can be found: small cells hidden, and enough others that they cannot be worked out.

A cell below the minimum is *small*. If the total of a table is known, one hidden cell is the total less the
others; so further cells, which are not small, are hidden too. A reader then knows of the hidden cells their
sum S, that the k small ones hold 0 (or 1) to m - 1 each, and that the c others hold at least m each. A small
cell can be anything from the least to m - 1 exactly if

    S >= m c + (m - 1) + (k - 1) least     and     c >= 1,

for the others have no upper bound. Cells are hidden until that holds; if it never does, the whole table is
withheld. Which cells are hidden, and in which order they stand, depends on their names alone: to hide the
least cell that suffices would tell a reader who knows this rule that it is not above those shown. What such a
reader does learn, where the first cell did not suffice, is that a small cell does not hold exactly m - 1.

Method: complementary suppression with full protection intervals (Hundepool et al. 2012, "Statistical
Disclosure Control", ch. 4), for one table at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

Published = dict[str, int | str]


def suppressed(
    values: Mapping[str, int], min_cell: int, small: Collection[str] = (), *, least: int = 1
) -> Published:
    """A table that may leave the site though its total is known; empty if it may not.

    Args:
        values: Every cell.
        min_cell: The least that may be shown.
        small: Further cells that count as small, such as those of too few patients.
        least: What a reader knows that every cell holds at least: 1 if cells stand in the table because they
            are not empty, 0 if they stand there in any case.

    Returns:
        Each cell's number, ``<10`` for a small one, ``>=10`` for one hidden so that a small one stays so.
    """
    few = {name for name, value in values.items() if value < min_cell or name in small}
    cover = _cover(values, few, min_cell, least)
    if few and not cover:
        return {}
    return {
        name: below(min_cell) if name in few else above(min_cell) if name in cover else values[name]
        for name in sorted(values)
    }


def part(value: int, total: int, min_cell: int) -> int | str:
    """A part of a total that is known: neither it nor the rest is shown if small."""
    if value < min_cell:
        return below(min_cell)
    return above(min_cell) if total - value < min_cell else value


def below(min_cell: int) -> str:
    """What stands for a small cell."""
    return f"<{min_cell}"


def above(min_cell: int) -> str:
    """What stands for a cell that is hidden so that a small one stays so."""
    return f">={min_cell}"


def _cover(values: Mapping[str, int], few: Collection[str], min_cell: int, least: int) -> Collection[str]:
    """Cells to hide beside the small ones; empty if none need be, or if all of them do not suffice."""
    if not few:
        return ()
    hidden = sum(values[name] for name in few)
    chosen: list[str] = []
    for name in sorted(set(values) - set(few)):
        chosen.append(name)
        hidden += values[name]
        if hidden >= min_cell * len(chosen) + (min_cell - 1) + (len(few) - 1) * least:
            return chosen
    return ()
