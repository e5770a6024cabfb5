"""Rows of a record table, gathered: which are used, of which case they are, and what they measure.

Every row is used or left out for one reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from itertools import compress, repeat

import numpy as np
from numpy.typing import NDArray

from client.cohorts.labels import SPLITS
from client.cohorts.records.layout import Layout, RecordRules
from client.cohorts.records.measurements import (
    Measurements,
    NumberReader,
    Numbers,
    TimeKind,
    read_times,
    time_kind,
)
from common.errors import RecordsInvalid

MAX_VARIABLES = 4096

Row = list[str]


class LeftOut(StrEnum):
    """Why a row is not used; the first that holds."""

    shape = "wrong-number-of-values"
    where = "not-asked-for"
    patient = "patient-missing"
    split_unknown = "split-unknown"
    variable = "variable-missing"
    unwanted = "variable-not-wanted"
    time = "time-unreadable"


class Sieve:
    """Rows from which some are left out.

    Args:
        rows: Rows of the table.
        first: The number of the first of them, counted from 1.
        left_out: Where those that are left out are counted.
    """

    def __init__(self, rows: Sequence[Row], first: int, left_out: Counter[LeftOut]) -> None:
        self.rows = rows
        self.numbers: Sequence[int] = range(first, first + len(rows))
        self._left_out = left_out

    def column(self, index: int) -> list[str]:
        """Texts of one column, without blanks around them."""
        return [row[index].strip() for row in self.rows]

    def keep(self, flags: Collection[object], reason: LeftOut) -> None:
        """Leave out the rows whose flag is not set."""
        if not all(flags):
            kept = list(compress(self.rows, flags))
            self._left_out[reason] += len(self.rows) - len(kept)
            self.numbers, self.rows = list(compress(self.numbers, flags)), kept


class Gathering:
    """What has been gathered so far, whichever the layout.

    Args:
        layout: Where the columns are.
        rules: What is wanted.
        decimal_comma: See :class:`~client.cohorts.records.measurements.NumberReader`.
    """

    def __init__(self, layout: Layout, rules: RecordRules, *, decimal_comma: bool) -> None:
        self.layout, self.rules = layout, rules
        self.numbers = NumberReader(rules.missing, decimal_comma=decimal_comma)
        self.measurements = Measurements()
        self.rows = self.used = 0
        self.left_out: Counter[LeftOut] = Counter()
        self.cases: dict[tuple[str, str], int] = {}  # patient and case, in the order of their appearance
        self.said: dict[int, set[tuple[str, str]]] = {}  # labels and splits of each case
        self.variables: dict[str, int] = {
            name: i for i, name in enumerate(rules.variables or layout.variables)
        }
        self.first_rows: dict[str, int] = {}  # where a variable of the long layout appears first
        self.time_kind: TimeKind | None = None
        self._seen: Counter[str] = Counter()
        self._counts: NDArray[np.int64] = np.zeros((3, 0), dtype=np.int64)

    def take(self, rows: Sequence[Row]) -> None:
        """Gather more rows."""
        sieve = Sieve(rows, self.rows + 1, self.left_out)
        self.rows += len(rows)
        self._sift(sieve)
        if self.layout.long:
            self._take_long(sieve)
        else:
            self._take_wide(sieve)
        self.used += len(sieve.rows)

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of each variable: values that are missing, that cannot be read, and that are measured."""
        missing, unreadable, measured = self._padded()
        return missing, unreadable, measured

    def _sift(self, sieve: Sieve) -> None:
        """Leave out what neither layout can use."""
        places, width = self.layout.places, self.layout.width
        sieve.keep([len(row) == width for row in sieve.rows], LeftOut.shape)
        for index, value in self.layout.where:
            sieve.keep([text == value for text in sieve.column(index)], LeftOut.where)
        sieve.keep(sieve.column(places["patient"]), LeftOut.patient)
        if "split" in places:
            known = {"", *SPLITS}
            sieve.keep(
                [text.lower() in known for text in sieve.column(places["split"])], LeftOut.split_unknown
            )

    def _take_long(self, sieve: Sieve) -> None:
        places = self.layout.places
        names = sieve.column(places["variable"])
        sieve.keep(names, LeftOut.variable)
        unwanted = self._unwanted(set(names))
        if unwanted:
            wanted = [name not in unwanted for name in sieve.column(places["variable"])]
            sieve.keep(wanted, LeftOut.unwanted)
        texts = sieve.column(places["time"])
        self.time_kind = self.time_kind or time_kind(texts)
        times = read_times(texts, self.time_kind or "number")
        timed = ~np.isnan(times)
        sieve.keep(timed.tolist(), LeftOut.time)
        variables = self._variable_indices(sieve)
        numbers = self.numbers.read(sieve.column(places["value"]))
        self._count(variables, numbers)
        self.measurements.add(self._case_indices(sieve), times[timed], variables, numbers.values)

    def _take_wide(self, sieve: Sieve) -> None:
        cases = self._case_indices(sieve)
        times = np.zeros(len(cases))
        for variable, index in enumerate(self.layout.variables.values()):
            numbers = self.numbers.read(sieve.column(index))
            variables = np.full(len(cases), variable, dtype=np.int32)
            self._count(variables, numbers)
            held = np.isfinite(numbers.values) | (variable == 0)  # so that each row makes a step
            self.measurements.add(cases[held], times[held], variables[held], numbers.values[held])

    def _unwanted(self, names: set[str]) -> set[str]:
        wanted = set(self.rules.variables) or names
        return {name for name in names if name not in wanted or name in self.rules.ignore}

    def _variable_indices(self, sieve: Sieve) -> NDArray[np.int32]:
        names, variables = sieve.column(self.layout.places["variable"]), self.variables
        for name in set(names) - self.first_rows.keys():
            self.first_rows[name] = sieve.numbers[names.index(name)]
        indices = [variables.setdefault(name, len(variables)) for name in names]
        if len(variables) > MAX_VARIABLES:
            raise RecordsInvalid(f"more than {MAX_VARIABLES} variables; is their column the right one?")
        return np.array(indices, dtype=np.int32)

    def _case_indices(self, sieve: Sieve) -> NDArray[np.int32]:
        places, cases = self.layout.places, self.cases
        patients = sieve.column(places["patient"])
        turns = self._turns(patients) if "case" not in places else sieve.column(places["case"])
        indices = [cases.setdefault(key, len(cases)) for key in zip(patients, turns, strict=False)]
        blank = [""] * len(indices)
        labels = sieve.column(places["label"]) if "label" in places else blank
        splits = sieve.column(places["split"]) if "split" in places else blank
        for index, label, split in set(zip(indices, labels, splits, strict=True)):
            self.said.setdefault(index, set()).add((label, split.lower()))
        return np.array(indices, dtype=np.int32)

    def _turns(self, patients: Sequence[str]) -> Iterable[str]:
        """What tells cases apart without a column for it: nothing, or which of the patient's rows it is."""
        if self.layout.long:
            return repeat("")
        turns = []
        for patient in patients:
            self._seen[patient] += 1
            turns.append(str(self._seen[patient]) if self._seen[patient] > 1 else "")
        return turns

    def _count(self, variables: NDArray[np.int32], numbers: Numbers) -> None:
        flags = (numbers.missing, numbers.unreadable, np.isfinite(numbers.values))
        length = len(self.variables)
        counted = np.stack([np.bincount(variables[flag], minlength=length) for flag in flags])
        self._counts = self._padded() + counted

    def _padded(self) -> NDArray[np.int64]:
        new = len(self.variables) - self._counts.shape[1]
        return np.pad(self._counts, ((0, 0), (0, new)))
