"""The studies that a search goes through: the given one, with other values at some keys."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import SearchInvalid, StudyError
from common.seeds import generator
from common.study import Study, load_study
from deploy.tuning.search import Range, Search, Values, named

LOOKS = 300
"""Random values of the other keys under which a value may be allowed that is not allowed by itself."""

MOST_COMBINATIONS = 10_000
"""Of a grid: each is read as a study before anything starts."""

_OF_A_FOLD = {"data.min_cases": 1, "data.min_patients": 1, "data.min_test_cases": 0}


@dataclass(frozen=True, slots=True)
class Candidates:
    """Reads studies of a search.

    Attributes:
        study: The study file that is given.
        rounds: In place of its own; None for those.
    """

    study: Path
    rounds: int | None = None
    _over: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.rounds is not None:
            self._over["federation.rounds"] = self.rounds

    def given(self) -> Study:
        """The study as it is given."""
        return self.of({})

    def of(self, values: Mapping[str, Any]) -> Study:
        """The study with these values.

        Raises:
            StudyError: It is none that can be run.
        """
        return self._read({**self._over, **values})

    def untested(self) -> Study:
        """The study as it is given, for sites that may have no test cases."""
        return self._read({**self._over, "data.min_test_cases": 0})

    def in_fold(self, values: Mapping[str, Any]) -> Study:
        """The study with these values as a fold runs it: what it asks of a site holds for the whole site."""
        return self._read({**self._over, **values, **_OF_A_FOLD})

    def _read(self, over: Mapping[str, Any]) -> Study:
        return load_study(self.study, {key: (value, "the search") for key, value in over.items()})


def check_search(search: Search, candidates: Candidates) -> None:
    """See that the study knows every key and allows every value, at least together with some of the others.

    Raises:
        StudyError: One is unknown or impossible; the message names it.
    """
    if candidates.rounds is not None and "federation.rounds" in search.keys:
        raise SearchInvalid("federation.rounds is searched, and --rounds gives one value for it")
    candidates.given()
    draw = generator(0, "search-check")
    for axis in search.axes:
        for value in axis.ends:
            _check_value(axis.key, value, search, candidates, draw)


def grid(search: Search, candidates: Candidates, seed: int) -> list[Values]:
    """All combinations that are studies, in an order that follows from ``seed``.

    Raises:
        SearchInvalid: A key has a range, or there are too many combinations.
    """
    found: list[Values] = []
    for number, values in enumerate(search.combinations()):
        if number >= MOST_COMBINATIONS:
            raise SearchInvalid(f"more than {MOST_COMBINATIONS} combinations; search at random, or with tpe")
        if _trouble(values, candidates) is None:
            found.append(values)
    generator(seed, "grid").shuffle(found)
    return found


def _check_value(key: str, value: Any, search: Search, candidates: Candidates, draw: random.Random) -> None:
    first = _trouble({key: value}, candidates)
    if first is None:
        return
    others = [axis for axis in search.axes if axis.key != key]
    for chosen in _looks(others, draw):
        if _trouble({**chosen, key: value}, candidates) is None:
            return
    hint = "If only whole numbers are allowed there, add int = true." if _may_be_whole(key, search) else ""
    raise type(first)(f"{key} = {named(value)} cannot be tried\n{first.private}", hint=hint or first.hint)


def _looks(others: list[Any], draw: random.Random) -> Iterator[Values]:
    """Values of the other keys: each key alone at each of its values, then all of them at random."""
    for axis in others:
        yield from ({axis.key: value} for value in axis.ends)
    if len(others) > 1:
        for _ in range(LOOKS):
            yield {axis.key: draw.choice(axis.ends) for axis in others}


def _may_be_whole(key: str, search: Search) -> bool:
    return any(
        isinstance(axis, Range) and axis.key == key and not axis.whole and float(axis.low).is_integer()
        for axis in search.axes
    )


def _trouble(values: Values, candidates: Candidates) -> StudyError | None:
    """Why the study is none with these values; None if it is one."""
    try:
        candidates.of(values)
    except StudyError as error:
        return error
    return None
