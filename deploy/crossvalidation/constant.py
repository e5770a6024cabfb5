"""What it is worth to give every case the same answer, which a classification must do better than."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from client.cases import SiteCases
from common.metrics import ClassificationSums, EvaluationSums
from common.metrics.sums import ratio
from common.study import Study


@dataclass(frozen=True, slots=True)
class Constant:
    """The accuracy of always giving one class, for each class.

    Attributes:
        majority: The class of most of the patients that were dealt to folds.
        accuracy: Share of the held-out cases that have the class, by its name.
    """

    majority: str
    accuracy: Mapping[str, float]

    @property
    def best(self) -> str:
        """The class whose constant answer is right most often: it knows the held-out cases."""
        return max(self.accuracy, key=lambda name: self.accuracy[name])

    def to_dict(self) -> dict[str, Any]:
        """As written to crossvalidation.json."""
        return {"majority": self.majority, "accuracy": dict(self.accuracy)}


def constant_of(study: Study, cases: Mapping[str, SiteCases], pooled: EvaluationSums) -> Constant | None:
    """What constant answers are worth; None where cases do not have one class each that is predicted.

    Args:
        study: Whose classes.
        cases: Of each site: ``train`` are the cases that were dealt to folds.
        pooled: Counts of all held-out cases.
    """
    if not isinstance(pooled, ClassificationSums):
        return None
    true, classes = pooled.confusion.sum(axis=1), study.study.classes
    accuracy = {name: ratio(count, pooled.n) or 0.0 for name, count in zip(classes, true, strict=True)}
    return Constant(classes[_majority(study, cases)], accuracy)


def _majority(study: Study, cases: Mapping[str, SiteCases]) -> int:
    """Class of most patients; of classes with as many patients, the one with more cases, then the first."""
    found = [
        (site, entry.patient, study.study.class_index(entry.label))
        for site, of_site in cases.items()
        for entry in of_site.train
    ]
    number = len(study.study.classes)
    of_patients = np.bincount([index for *_, index in set(found) if index is not None], minlength=number)
    of_cases = np.bincount([index for *_, index in found if index is not None], minlength=number)
    return max(range(number), key=lambda index: (of_patients[index], of_cases[index], -index))
