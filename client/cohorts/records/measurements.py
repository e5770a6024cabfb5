"""Measured values: read from texts, gathered in any order, and laid out as a sequence for each case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import RecordsInvalid

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int32]

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "."})
"""What stands for a missing value, in lower case."""

SECONDS_PER_HOUR = 3600.0
MAX_CELLS = 2**30
"""Largest number of times by variables, of four bytes each."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Texts as numbers.

    Attributes:
        values: (N,) float64; NaN where there is none.
        missing: (N,) where the text says so.
        unreadable: (N,) where the text is something else than a number that float32 holds.
    """

    values: Floats
    missing: Flags
    unreadable: Flags


class NumberReader:
    """Reads numbers.

    Args:
        missing: What stands for a missing value besides ``MISSING``; ``-1`` is also ``-1.0``.
        decimal_comma: ``1,5`` is a number, as where values stand between semicolons.
    """

    def __init__(self, missing: Sequence[str] = (), *, decimal_comma: bool = False) -> None:
        self._words = MISSING | {word.strip().lower() for word in missing}
        markers = np.array([_number(word) for word in missing], dtype=np.float64)
        self._markers = markers[np.isfinite(markers)]
        self._decimal_comma = decimal_comma

    def read(self, texts: Sequence[str]) -> Numbers:
        """The texts as numbers, in their order."""
        values = self._floats(texts)
        missing = np.isin(values, self._markers)
        with np.errstate(invalid="ignore"):
            odd = np.flatnonzero(~(np.abs(values) <= np.finfo(np.float32).max))  # NaN, infinite or too large
        for index in odd.tolist():
            missing[index] = texts[index].strip().lower() in self._words
        unreadable = np.zeros(len(values), dtype=np.bool_)
        unreadable[odd] = ~missing[odd]
        values[missing | unreadable] = np.nan
        return Numbers(values, missing, unreadable)

    def _floats(self, texts: Sequence[str]) -> Floats:
        # Python reads 1_000 too; whoever wrote that did not mean a number.
        if "_" not in "".join(texts):
            try:
                return np.fromiter(map(float, texts), dtype=np.float64, count=len(texts))
            except ValueError:
                pass
        if self._decimal_comma:
            texts = [text.replace(",", ".") if text.count(",") == 1 else text for text in texts]
        return np.fromiter(map(_number, texts), dtype=np.float64, count=len(texts))


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


TimeKind = Literal["number", "local", "zoned"]


def time_kind(texts: Sequence[str]) -> TimeKind | None:
    """How the first text that is a time writes it: a number, or ISO 8601 without or with a time zone."""
    for text in texts:
        if math.isfinite(_number(text)):
            return "number"
        moment = _moment(text)
        if moment is not None:
            return "zoned" if moment.tzinfo else "local"
    return None


def read_times(texts: Sequence[str], kind: TimeKind) -> Floats:
    """(N,) float64: numbers as they stand, ISO 8601 as seconds; NaN where a text is not of that kind."""
    if kind == "number":
        times = np.fromiter(map(_number, texts), dtype=np.float64, count=len(texts))
        times[~np.isfinite(times)] = np.nan
        return times
    seconds = np.full(len(texts), np.nan)
    for index, text in enumerate(texts):
        moment = _moment(text)
        if moment is not None and (moment.tzinfo is not None) == (kind == "zoned"):
            seconds[index] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return seconds


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """A sequence for each case.

    Attributes:
        times: (S,) float64 of all cases' steps, case by case, ascending in each.
        values: (S, V) float32; NaN where a variable was not measured.
        ends: (C,) where each case's steps end.
        repeated: Values that another one of the same case, time and variable followed.
    """

    times: Floats
    values: NDArray[np.float32]
    ends: NDArray[np.int64]
    repeated: int

    def of(self, case: int) -> tuple[Floats, NDArray[np.float32]]:
        """Times and values of one case."""
        steps = slice(int(self.ends[case - 1]) if case else 0, int(self.ends[case]))
        return self.times[steps], self.values[steps]


class Measurements:
    """Values as they come, each of a case, a time and a variable; NaN makes a step and measures nothing."""

    def __init__(self) -> None:
        self._parts: list[tuple[Indices, Floats, Indices, NDArray[np.float32]]] = []

    def add(self, cases: NDArray[Any], times: Floats, variables: NDArray[Any], values: Floats) -> None:
        """More values, all (N,)."""
        self._parts.append(
            (
                cases.astype(np.int32, copy=False),
                times,
                variables.astype(np.int32, copy=False),
                values.astype(np.float32),
            )
        )

    def sequences(self, case_count: int, columns: Indices, *, since_first: bool = False) -> Sequences:
        """All that came, laid out; the last of several values of one case, time and variable counts.

        Args:
            case_count: How many cases there are; each has at least one value.
            columns: (V,) the column of each variable.
            since_first: The times are seconds, and become hours since the case's first.

        Raises:
            RecordsInvalid: There would be more than ``MAX_CELLS``.
        """
        cases, times, variables, values = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        self._parts.clear()
        order = np.lexsort((times, cases))  # stable: where these are equal, the file's order remains
        cases, times, variables, values = cases[order], times[order], variables[order], values[order]
        first = np.ones(len(cases), dtype=np.bool_)  # of its step
        first[1:] = (cases[1:] != cases[:-1]) | (times[1:] != times[:-1])
        table, repeated = _laid_out(np.cumsum(first) - 1, columns[variables], values, len(columns))
        step_cases, step_times = cases[first], times[first]
        ends = np.searchsorted(step_cases, np.arange(case_count), side="right")
        if since_first:
            starts = np.concatenate(([0], ends[:-1]))
            step_times = (step_times - step_times[starts][step_cases]) / SECONDS_PER_HOUR
        return Sequences(step_times, table, ends, repeated)


def _laid_out(
    steps: NDArray[np.int64], columns: Indices, values: NDArray[np.float32], width: int
) -> tuple[NDArray[np.float32], int]:
    """(S, ``width``) with the last value of each cell, and how many values were not the last."""
    height = int(steps[-1]) + 1
    if height * width > MAX_CELLS:
        raise RecordsInvalid(f"{height} times and {width} variables are more than can be held")
    measured = ~np.isnan(values)
    cells = (steps * width + columns)[measured]
    distinct, last = np.unique(cells[::-1], return_index=True)
    table = np.full(height * width, np.nan, dtype=np.float32)
    table[distinct] = values[measured][::-1][last]
    return table.reshape(height, width), len(cells) - len(distinct)
