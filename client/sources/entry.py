"""One case, as far as a study's checks need to know it; no picture is looked at here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from client.cohorts.case import Case
from client.manifest import Row
from common.errors import LabelUnknown, TargetInvalid
from common.study import Study


@dataclass(frozen=True, slots=True)
class Entry:
    """One case.

    Attributes:
        patient: Whom it is of; a pseudonym in a cohort.
        split: train, val or test.
        label: As stored.
        where: How messages at this site name it.
        item: What its source makes tensors of; several rows are the views of one patient.
        groups: To which subgroups it belongs, by ``sex``, ``age`` (a band) and ``scanner``; what is not known
            is left away.
    """

    patient: str
    split: str
    label: str
    where: str
    item: Row | tuple[Row, ...] | Case
    groups: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that it is made of; none in a cohort."""
        if isinstance(self.item, Case):
            return ()
        return self.item if isinstance(self.item, tuple) else (self.item,)

    @property
    def masked(self) -> bool:
        """Whether every picture of it has a mask."""
        if isinstance(self.item, Case):
            return bool(self.item.content.mask)
        return all(row.mask_path for row in self.rows)


def subgroups(entries: Sequence[Entry]) -> Mapping[str, NDArray[np.str_]]:
    """For each kind of subgroup that any entry knows of: (N,) which one each is in, "" where not known."""
    kinds = sorted({kind for entry in entries for kind in entry.groups})
    return {
        kind: np.array([entry.groups.get(kind, "") for entry in entries], dtype=np.str_) for kind in kinds
    }


def groups_of(sex: str, age: str, scanner: str) -> dict[str, str]:
    """Subgroups out of texts, the age as a band; what is empty is left away."""
    found = {"sex": sex, "age": age, "scanner": scanner}
    return {kind: name for kind, name in found.items() if name}


def class_of(entry: Entry, study: Study) -> int:
    """Index of the one class of the case.

    Raises:
        LabelUnknown: The study does not name it.
    """
    index = study.study.class_index(entry.label)
    if index is None:
        raise _unknown(entry, study)
    return index


def classes_of(entry: Entry, study: Study) -> tuple[int, ...]:
    """Indices of the classes of a case that may have several.

    Raises:
        LabelUnknown: The study does not name one of them.
    """
    found = study.study.class_indices(entry.label)
    if found is None:
        raise _unknown(entry, study)
    return found


def time_of(entry: Entry) -> float:
    """Until the event or the end of observation, as stored; -1 where it is not known.

    Raises:
        TargetInvalid: It is no number, or below zero.
    """
    texts = {row.time for row in entry.rows}
    text = texts.pop() if len(texts) == 1 else ""
    if not text:
        return -1.0
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if time == -1:
        return -1.0
    if not 0 <= time < math.inf:
        raise TargetInvalid(f"{entry.where}: the time is no number of at least 0")
    return time


def _unknown(entry: Entry, study: Study) -> LabelUnknown:
    known = ", ".join(f"{stored} = {name}" for stored, name in study.study.labels.items())
    return LabelUnknown(f"{entry.where}: label {entry.label!r}; the study names {known}")
