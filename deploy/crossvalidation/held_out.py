"""What a cross-validation came to: the counts of all held-out cases, and what is read off them.

Invariant: patients of one site have different numbers, whichever fold they were held out in, so that an
interval can be drawn from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from common.metrics import EvaluationSums, Figure, sums_kind
from common.metrics.bootstrap import intervals
from common.study import Study
from deploy.crossvalidation.constant import Constant


@dataclass(frozen=True, slots=True)
class FoldRun:
    """One fold that was run.

    Attributes:
        number: From 1.
        sites: How many took part in the training.
        patients: How many are held out, by site.
        sums: Counts of the held-out cases of each site that took part.
        duration_s: Of training and testing.
    """

    number: int
    sites: int
    patients: Mapping[str, int]
    sums: Mapping[str, EvaluationSums]
    duration_s: float

    @property
    def n(self) -> int:
        """Held-out cases that were tested."""
        return sum(sums.n for sums in self.sums.values())

    def to_dict(self) -> dict[str, Any]:
        """As written to crossvalidation.json."""
        return {
            "fold": self.number,
            "sites": self.sites,
            "held_out_patients": dict(self.patients),
            "n": self.n,
            "duration_s": round(self.duration_s, 2),
        }


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A cross-validation that has ended.

    Attributes:
        study: What was trained in every fold.
        seed: Of all folds.
        each_patient: One patient was held out at a time.
        test_split_dealt: The patients of the test split were dealt to folds too.
        patients: How many were dealt to folds, by site.
        folds: All of them.
        sums: Counts of the held-out cases of each site.
        constant: What constant answers are worth, where there are such.
    """

    study: Study
    seed: int
    each_patient: bool
    test_split_dealt: bool
    patients: Mapping[str, int]
    folds: tuple[FoldRun, ...]
    sums: Mapping[str, EvaluationSums]
    constant: Constant | None

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What is shown of it."""
        return sums_kind(self.study).FIGURES

    @property
    def pooled(self) -> EvaluationSums:
        """Counts of all held-out cases."""
        return sums_kind(self.study).total(self.sums.values())

    @property
    def untested(self) -> dict[str, int]:
        """Patients whose site took no part in the fold that holds them out, by site."""
        missing: dict[str, int] = {}
        for fold in self.folds:
            for site in fold.patients.keys() - fold.sums.keys():
                missing[site] = missing.get(site, 0) + fold.patients[site]
        return missing

    def to_dict(self) -> dict[str, Any]:
        """As written to crossvalidation.json; it names no patient."""
        return {
            "study": self.study.model_dump(mode="json"),
            "seed": self.seed,
            "each_patient": self.each_patient,
            "test_split_dealt": self.test_split_dealt,
            "patients": dict(self.patients),
            "untested_patients": self.untested,
            "pooled": {
                **_told(self.sums, self.study, self.seed),
                **self.pooled.curves(self.study.study.classes),
            },
            "sites": {site: _told({site: sums}, self.study, self.seed) for site, sums in self.sums.items()},
            "constant": self.constant.to_dict() if self.constant else None,
            "folds": [fold.to_dict() for fold in self.folds],
        }


def joined(folds: Iterable[FoldRun]) -> dict[str, EvaluationSums]:
    """Counts of each site over all folds, its patients numbered anew."""
    found: dict[str, EvaluationSums] = {}
    following: dict[str, int] = {}
    for fold in folds:
        for site, sums in sorted(fold.sums.items()):
            first = following.get(site, 0)
            numbered = replace(sums, patients=sums.patients + first)
            found[site] = found[site] + numbered if site in found else numbered
            following[site] = int(numbered.patients.max(initial=first - 1)) + 1
    return found


def _told(parts: Mapping[str, EvaluationSums], study: Study, seed: int) -> dict[str, Any]:
    """Figures of some sites together, and their intervals where there are enough patients."""
    sums, classes = sums_kind(study).total(parts.values()), study.study.classes
    return {**sums.figures(classes), "intervals": intervals(list(parts.values()), classes, seed)}
