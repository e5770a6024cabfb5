"""A site's cases in cross-validation: some of its patients are held out, and tested on instead.

A fold's held-out patients take the place of the test split. Who is held out stands in a file at the site: all
training patients, and those of the test split only where they too were dealt to folds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from client.sources import CohortSource, Entry, ManifestSource
from common.errors import ManifestInvalid
from common.study import Study


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of a site.

    Attributes:
        file: JSON, the number of the fold in which each patient is held out.
        number: Which fold this is.
    """

    file: Path = Path()
    number: int = 0

    @property
    def stamp(self) -> tuple[str, str]:
        """What tells this fold from others of the same site."""
        return (str(self.file), str(self.number))

    def applied(self, entries: Sequence[Entry], study: Study) -> tuple[Entry, ...]:
        """The entries of a fold: held-out patients are what the study tests on.

        All others that were dealt to folds are trained on; test cases whose patients were not are gone.

        Raises:
            ManifestInvalid: The file knows nothing of a training patient.
        """
        held = _held_out(self.file)
        tested = study.data.test_split
        found = []
        for entry in entries:
            if entry.split == "train" and entry.patient not in held:
                raise ManifestInvalid(f"{entry.where}: a training patient that no fold was dealt")
            if entry.split in ("train", tested) and entry.patient in held:
                is_held = held[entry.patient] == self.number
                found.append(replace(entry, split=tested if is_held else "train"))
            elif entry.split == "val" and tested != "val":
                found.append(entry)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class FoldOfManifest(ManifestSource):
    """The rows of a site's name in a manifest, as one fold has them."""

    fold: Fold = Fold()

    def stamp(self) -> tuple[str, ...]:
        """See the base class."""
        return (*ManifestSource.stamp(self), *self.fold.stamp)

    def entries(self, study: Study) -> tuple[Entry, ...]:
        """See the base class and :meth:`Fold.applied`."""
        return self.fold.applied(ManifestSource.entries(self, study), study)


@dataclass(frozen=True, slots=True)
class FoldOfCohort(CohortSource):
    """A cohort of a site's home, as one fold has it."""

    fold: Fold = Fold()

    def stamp(self) -> tuple[str, ...]:
        """See the base class."""
        return (*CohortSource.stamp(self), *self.fold.stamp)

    def entries(self, study: Study) -> tuple[Entry, ...]:
        """See the base class and :meth:`Fold.applied`."""
        return self.fold.applied(CohortSource.entries(self, study), study)


@lru_cache(maxsize=256)
def _held_out(file: Path) -> dict[str, int]:
    """Fold of each patient; the file is written once, before any site looks into it."""
    found: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
    return found
