"""What is searched: dotted keys of the study, each with values to choose from or a range."""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import SearchInvalid

FIXED = (
    "study",
    "data.modality",
    "data.min_cases",
    "data.min_patients",
    "data.min_test_cases",
    "data.test_split",
)
"""What is learnt, and from whom: trials that differ in it could not be compared."""

_OF_RANGE = {"low", "high", "log", "int"}

Values = dict[str, Any]
"""One value for each key that is searched."""


@dataclass(frozen=True, slots=True)
class Choices:
    """A key that takes one of some values.

    Attributes:
        key: As ``model.cell``.
        values: Each as a study file may have it.
    """

    key: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values to see whether the study allows them: all."""
        return self.values

    @property
    def names(self) -> tuple[str, ...]:
        """The values as texts that tell them apart."""
        return tuple(named(value) for value in self.values)

    def of_name(self, name: str) -> Any:
        """The value with that name."""
        return self.values[self.names.index(name)]


@dataclass(frozen=True, slots=True)
class Range:
    """A key that takes any number from ``low`` to ``high``.

    Attributes:
        key: As ``training.learning_rate``.
        low: The least.
        high: The greatest.
        log: Evenly in the logarithm.
        whole: Whole numbers only.
    """

    key: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[float, ...]:
        """Values to see whether the study allows them: both ends, and one between."""
        if self.whole:
            return (int(self.low), int(self.high))
        return (self.low, self.high, (self.low + self.high) / 2 + 1e-3 * (self.high - self.low))


Axis = Choices | Range


@dataclass(frozen=True, slots=True)
class Search:
    """All keys that are searched, in the order of the file."""

    axes: tuple[Axis, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, in order."""
        return tuple(axis.key for axis in self.axes)

    def combinations(self) -> Iterator[Values]:
        """Every combination of the values to choose from.

        Raises:
            SearchInvalid: A key has a range.
        """
        for axis in self.axes:
            if isinstance(axis, Range):
                raise SearchInvalid(f"{axis.key}: a grid needs a list of values, not a range")
        for chosen in itertools.product(*(axis.ends for axis in self.axes)):
            yield dict(zip(self.keys, chosen, strict=True))


def read_search(path: Path) -> Search:
    """The search that a TOML file describes.

    Raises:
        SearchInvalid: It is missing, not TOML, names nothing, or a key has neither list nor range.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SearchInvalid(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SearchInvalid(f"{path}: {error}") from None
    return parse_search(document)


def parse_search(document: Mapping[str, Any]) -> Search:
    """The search that a parsed document describes; see :func:`read_search`."""
    axes = tuple(_axes(document, ()))
    if not axes:
        raise SearchInvalid("no key is searched")
    keys = [axis.key for axis in axes]
    if len(set(keys)) < len(keys):
        raise SearchInvalid(f"{max(keys, key=keys.count)} is there twice")
    return Search(axes)


def named(value: Any) -> str:
    """A value as one text that tells it from others."""
    return json.dumps(value, sort_keys=True)


def _axes(table: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[Axis]:
    for name, given in table.items():
        key = ".".join((*above, name))
        if isinstance(given, list):
            yield _choices(key, given)
        elif not isinstance(given, dict):
            raise SearchInvalid(f"{key} = {given!r}: give a list of values, or {{ low = ..., high = ... }}")
        elif given.keys() & {"low", "high"}:
            yield _range(key, given)
        else:
            yield from _axes(given, (*above, name))


def _choices(key: str, given: list[Any]) -> Choices:
    _check_key(key)
    try:
        names = {named(value): value for value in given}
    except TypeError:
        raise SearchInvalid(f"{key}: dates and times are no values of a study") from None
    if not names or len(names) < len(given):
        raise SearchInvalid(f"{key}: {'a value is there twice' if names else 'no value to choose from'}")
    return Choices(key, tuple(given))


def _range(key: str, given: Mapping[str, Any]) -> Range:
    _check_key(key)
    unknown = sorted(given.keys() - _OF_RANGE)
    if unknown or not {"low", "high"} <= given.keys():
        told = f"{unknown[0]!r} is unknown" if unknown else "low and high are both needed"
        raise SearchInvalid(f"{key}: {told}; a range is {{ low = ..., high = ..., log = true, int = true }}")
    low, high, log, whole = given["low"], given["high"], given.get("log", False), given.get("int", False)
    if not all(_is_number(end) for end in (low, high)) or not all(isinstance(b, bool) for b in (log, whole)):
        raise SearchInvalid(f"{key}: low and high are numbers, log and int are true or false")
    if low >= high:
        raise SearchInvalid(f"{key}: low = {low} is not below high = {high}")
    if log and low <= 0:
        raise SearchInvalid(f"{key}: with log = true, low must be above zero")
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise SearchInvalid(f"{key}: with int = true, low and high must be whole numbers")
    return Range(key, low, high, log, whole)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_key(key: str) -> None:
    for fixed in FIXED:
        if key == fixed or key.startswith(f"{fixed}."):
            raise SearchInvalid(f"{key} cannot be searched: trials that differ in it could not be compared")
