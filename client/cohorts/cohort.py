"""A registered cohort, opened to be trained on or looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohorts.case import Case
from client.cohorts.catalogue import Catalogue, CohortRow
from client.cohorts.home import Home
from client.cohorts.store import PixelStore
from client.dicom.outcomes import Outcome
from client.dicom.pixels import Display
from common.errors import CaseCorrupt, CohortEmpty, CohortHeldBack, CohortUnsuitable


@dataclass(frozen=True, slots=True)
class FileCount:
    """How many files ended in one way; ``decoded`` is None for those without pixels."""

    outcome: Outcome
    why: str
    decoded: bool | None
    files: int


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """A cohort's cases and their arrays.

    Attributes:
        row: The cohort as the catalogue has it.
        files: What became of the files that were seen.
        cases: All its cases, by name.
        store: Their arrays.
    """

    row: CohortRow
    files: tuple[FileCount, ...]
    cases: tuple[Case, ...]
    store: PixelStore

    @property
    def seen(self) -> int:
        """Files seen."""
        return sum(count.files for count in self.files)

    def of(self, outcome: Outcome) -> Counter[str]:
        """Files of one outcome by reason or kind."""
        found: Counter[str] = Counter()
        for count in self.files:
            if count.outcome is outcome:
                found[count.why] += count.files
        return found

    @property
    def quarantine_share(self) -> float:
        """Share of the files in quarantine."""
        return self.of(Outcome.quarantined).total() / self.seen if self.seen else 0.0

    def require_usable(self, quarantine_limit: float, *, labelled: bool = True) -> None:
        """Refuse a cohort that may not be trained on.

        Args:
            quarantine_limit: Largest share of its files that may be in quarantine.
            labelled: The study learns from labels of cases.

        Raises:
            CohortUnsuitable: Its intake did not come to its end.
            CohortHeldBack: Too much of it is in quarantine.
            CohortEmpty: It has no case with a label.
        """
        name = self.row.name
        if not self.row.ready:
            hint = "Wait for it, or run the same `cohort add` again: it goes on where it stopped."
            raise CohortUnsuitable(f"the intake of cohort {name!r} runs still or was interrupted", hint=hint)
        if self.quarantine_share > quarantine_limit:
            held = self.of(Outcome.quarantined).total()
            raise CohortHeldBack(
                f"{held} of the {self.seen} files of cohort {name!r} are in quarantine "
                f"({self.quarantine_share:.0%}); the policy allows {quarantine_limit:.0%}"
            )
        if not self.cases:
            hint = "Look at the kinds and reasons above: another --sequence or --modality may be meant."
            raise CohortEmpty(f"nothing of cohort {name!r} became a case", hint=hint)
        if labelled and not any(case.label for case in self.cases):
            hint = "Run the same `consilium site cohort add` again, with --labels."
            raise CohortEmpty(f"no case of {len(self.cases)} in cohort {name!r} has a label", hint=hint)

    def verify(self, cases: Iterable[Case]) -> None:
        """Read the cases' arrays and compare them with their digests.

        Raises:
            CaseCorrupt: Names the first cases that are not what was written.
        """
        intact: dict[str, bool] = {}
        broken = []
        for case in cases:
            digests = {piece.blob for piece in case.content.pieces} | {case.content.mask} - {""}
            for digest in digests - intact.keys():
                intact[digest] = self.store.intact(digest)
            if not all(intact[digest] for digest in digests):
                broken.append(case.name)
        if broken:
            named = ", ".join(broken[:10]) + (f" and {len(broken) - 10} more" if len(broken) > 10 else "")
            raise CaseCorrupt(f"cohort {self.row.name!r}: {named}")

    def pictures(self, case: Case) -> tuple[NDArray[Any] | Sequence[NDArray[Any]], Display]:
        """A case's pictures, each (H, W) as stored, and how all of them are shown.

        One view (T, H, W) where they lie together. Where the scanner rescaled each slice by itself they come
        as modality values, float32, since no single window would hold for what is stored.
        """
        content = case.content
        first = content.pieces[0]
        if len(content.displays) == 1:
            together = [(p.blob, p.frame) for p in content.pieces]
            if together == [(first.blob, first.frame + step) for step in range(len(together))]:
                array = self.store.array(first.blob)
                return array[first.frame : first.frame + len(together)], content.displays[0]
            return [self.store.array(p.blob)[p.frame] for p in content.pieces], content.displays[0]
        values = [
            self.store.array(p.blob)[p.frame] * np.float32(content.displays[p.display].slope)
            + np.float32(content.displays[p.display].intercept)
            for p in content.pieces
        ]
        return values, replace(content.displays[first.display], slope=1.0, intercept=0.0)

    def record(self, case: Case) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """A record's times (T,) and values (T, V), NaN where a variable was not measured."""
        table = self.store.array(case.content.pieces[0].blob)
        return table[:, 0], table[:, 1:].astype(np.float32)

    def mask(self, case: Case) -> NDArray[np.uint8] | None:
        """A case's segment numbers (T, H, W), or None where it has no mask."""
        return self.store.array(case.content.mask) if case.content.mask else None


def open_cohort(home: Home, name: str) -> Cohort:
    """A cohort of a site.

    Raises:
        CohortUnknown: There is none of that name.
        CaseCorrupt: Its pixel file is missing or too short.
    """
    with closing(Catalogue(home.database)) as catalogue:
        return _opened(home, catalogue, catalogue.cohort(name))


def open_cohorts(home: Home) -> list[Cohort]:
    """Every cohort of a site, by name.

    Raises:
        CaseCorrupt: As :func:`open_cohort`.
    """
    with closing(Catalogue(home.database)) as catalogue:
        return [_opened(home, catalogue, row) for row in catalogue.cohorts()]


def find_cohort(home: Home, name: str) -> CohortRow:
    """What the catalogue has of a cohort, without its cases.

    Raises:
        CohortUnknown: There is none of that name.
    """
    with closing(Catalogue(home.database)) as catalogue:
        return catalogue.cohort(name)


def _opened(home: Home, catalogue: Catalogue, row: CohortRow) -> Cohort:
    return Cohort(
        row=row,
        files=tuple(FileCount(Outcome(o), w, d, n) for o, w, d, n in catalogue.counts(row.id)),
        cases=tuple(catalogue.cases(row.id)),
        store=PixelStore(home.cohort_folder(row.name), catalogue.blobs(row.id)),
    )
