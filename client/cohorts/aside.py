"""Which files of an archive were left out: their names are read from the disk again, since none is kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from client.cohorts.catalogue import Catalogue
from client.cohorts.home import Home
from client.cohorts.intake import found_below


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is in no case, with its outcome and the reason or kind."""

    name: str
    outcome: str
    why: str


def left_out(home: Home, cohort: str, roots: Sequence[Path]) -> list[LeftOut]:
    """The files below ``roots`` that a cohort left out, in the order in which they are found.

    Raises:
        NothingFound: A root is not there.
        CohortUnknown: There is none of that name.
    """
    with closing(Catalogue(home.database)) as catalogue:
        aside = catalogue.set_aside(catalogue.cohort(cohort).id)
    names = home.pseudonyms
    found = (
        (item.name, aside.get(names.mark(item.locator))) for item in (found_below(roots) if roots else ())
    )
    return [LeftOut(name, *what) for name, what in found if what is not None]
