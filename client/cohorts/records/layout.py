"""Which column of a record table is what.

Two layouts are known by their columns. *Long*: ``patient, time, variable, value``, a row for each value.
*Wide*: a patient and any other columns, a row for each case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from client.cohorts.sheet import Sheet, plain
from common.errors import RecordsInvalid

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "patient": ("patient", "patientid", "subject", "subjectid", "recordid", "id", "row", "rowid"),
    "case": ("case", "caseid"),
    "time": ("time", "minute", "minutes", "hour", "hours", "charttime", "timestamp", "datetime"),
    "variable": ("variable", "parameter"),
    "value": ("value",),
    "label": ("label",),
    "split": ("split",),
}
"""Spellings of each column, as :func:`client.cohorts.sheet.plain` writes them."""

LONG = ("patient", "time", "variable", "value")
ASIDE = ("patient", "case", "label", "split")
"""What no variable is, whichever the layout."""


@dataclass(frozen=True, slots=True)
class RecordRules:
    """How a record table is to be read.

    Attributes:
        columns: Our word (a key of ``SPELLINGS``) to the name of the column, where that is another one.
        variables: Those wanted, in their order; empty for all that there are.
        ignore: Variables that are not wanted, such as one that gives the label away.
        missing: What stands for a missing value besides nothing, ``?``, ``NA`` and the like: ``-1``.
        where: Columns and the value that they must have; other rows are left out.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each column stands.

    Attributes:
        places: Our words and their columns.
        variables: Of the wide layout: names of variables and their columns. Empty in the long layout.
        where: Columns and the value that they must have.
        width: How many columns there are.
    """

    places: Mapping[str, int]
    variables: Mapping[str, int]
    where: tuple[tuple[int, str], ...]
    width: int

    @property
    def long(self) -> bool:
        """Whether there is a row for each value."""
        return not self.variables


def layout_of(sheet: Sheet, rules: RecordRules) -> Layout:
    """The layout of a table.

    Raises:
        RecordsInvalid: It has none of the two, or two columns could be the same thing.
    """
    unknown = rules.columns.keys() - SPELLINGS.keys()
    if unknown:
        raise RecordsInvalid(f"columns: {sorted(unknown)[0]!r} is none of {', '.join(SPELLINGS)}")
    where = tuple((_place(sheet, column), value) for column, value in rules.where)
    found = {name: _candidates(sheet, name, rules) for name in SPELLINGS}
    long = all(found[name] for name in LONG)
    places = {
        name: _single(sheet, name, found[name]) for name in (SPELLINGS if long else ASIDE) if found[name]
    }
    if "patient" not in places:
        raise RecordsInvalid(f"{sheet.name} has no column 'patient'")
    variables = {} if long else _variables(sheet, rules, {*places.values(), *(index for index, _ in where)})
    return Layout(places, variables, where, len(sheet.columns))


def _candidates(sheet: Sheet, name: str, rules: RecordRules) -> list[int]:
    if name in rules.columns:
        return [_place(sheet, rules.columns[name])]
    return [i for i, column in enumerate(sheet.columns) if plain(column) in SPELLINGS[name]]


def _single(sheet: Sheet, name: str, candidates: list[int]) -> int:
    if len(candidates) > 1:
        raise RecordsInvalid(f"{sheet.name}: several columns could be {name!r}; say which it is")
    return candidates[0]


def _place(sheet: Sheet, column: str) -> int:
    """Where the column stands that the caller names."""
    places = [i for i, other in enumerate(sheet.columns) if plain(other) == plain(column)]
    if len(places) != 1:
        raise RecordsInvalid(f"{sheet.name} has {len(places) or 'no'} columns {column!r}")
    return places[0]


def _variables(sheet: Sheet, rules: RecordRules, taken: set[int]) -> dict[str, int]:
    """The wide layout's variables and their columns."""
    if rules.variables:
        return {name: _place(sheet, name) for name in rules.variables}
    aside = {spelling for name in ASIDE for spelling in SPELLINGS[name]} | {plain(n) for n in rules.ignore}
    columns = [
        (column, index)
        for index, column in enumerate(sheet.columns)
        if column and index not in taken and plain(column) not in aside
    ]
    if not columns:
        raise RecordsInvalid(f"{sheet.name} has no column of a variable")
    if len(dict(columns)) < len(columns):
        raise RecordsInvalid(f"{sheet.name}: two variables have the same name")
    return dict(columns)
