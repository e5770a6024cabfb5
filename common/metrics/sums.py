"""What a site counts when it evaluates a model, whatever the task.

Invariant: ``sums(A) + sums(B) == sums(A and B together)``, so pooled metrics need no prediction to
leave a site.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_NAMES = frozenset({"Dice", "Brier", "Hausdorff", "Jaccard", "F1"})
MOST_CASES = 2**40
"""Far more than there are, and small enough to be summed."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric as people meet it.

    Attributes:
        key: Its name among :meth:`EvaluationSums.figures`.
        title: What a report calls it.
        higher_is_better: Or lower.
        share: Whether it lies between 0 and 1.
        brief: What a narrow table calls it; None for its title, and empty where it has no room for it.
    """

    key: str
    title: str
    higher_is_better: bool = True
    share: bool = True
    brief: str | None = None

    @property
    def spoken(self) -> str:
        """Its title within a sentence: abbreviations and names of people keep their capitals."""
        first = self.title.split(maxsplit=1)[0]
        kept = first in _NAMES or first[1:2].isupper() or len(first) == 1
        return self.title if kept else self.title[:1].lower() + self.title[1:]

    @property
    def heading(self) -> str:
        """What a narrow table calls it; empty where it has no room for it."""
        return self.spoken if self.brief is None else self.brief

    def better(self, value: float, other: float) -> float:
        """By how much a value is better than another; below 0 where it is worse."""
        return value - other if self.higher_is_better else other - value


LOSS = Figure("loss", "Loss", higher_is_better=False, share=False)
"""Every task has it."""


def _nobody() -> Array:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationSums(ABC):
    """Counts over n cases; a task's are a subclass, whose other fields are arrays.

    Attributes:
        loss: Sum over the cases, in nats.
        patients: (n,) int64, number of the patient of each case within its site; empty where single cases
            stay at the site.
    """

    ROWS: ClassVar[frozenset[str]] = frozenset()
    """Names of arrays with a row for each case, which are joined; all others are added."""
    FIGURES: ClassVar[tuple[Figure, ...]] = ()
    """What is shown of a model, the one that speaks for it first."""
    MOST_LOSS: ClassVar[float] = 28.0
    """Most nats of a case: probabilities are clipped at 1e-12."""

    loss: float
    patients: Array = field(default_factory=_nobody, kw_only=True)

    @property
    @abstractmethod
    def n(self) -> int:
        """Cases counted."""

    @classmethod
    @abstractmethod
    def none(cls, classes: int) -> Self:
        """The sums of no case of a study with so many classes."""

    @abstractmethod
    def check(self, classes: int) -> None:
        """See that they can be the counts of a study with so many classes, whoever made them.

        Raises:
            ValueError: They cannot; the message says which.
        """

    @abstractmethod
    def figures(self, classes: Sequence[str]) -> dict[str, Any]:
        """What is read off them: ``n``, ``loss`` per case, and the task's metrics; None where undefined."""

    def curves(self, classes: Sequence[str]) -> dict[str, Any]:
        """What the report draws of a final model."""
        return {}

    def check_patients(self) -> None:
        """See that they can be numbers of patients, one for each case or none at all.

        Raises:
            ValueError: They cannot.
        """
        told = self.patients
        if told.dtype.str != "<i8" or told.ndim != 1 or len(told) not in (0, self.n) or (told < 0).any():
            raise ValueError(f"patients are {told.dtype}{told.shape}")

    def drawn(self, index: Array) -> Self | None:
        """The counts of the single cases at ``index`` (K,); None where single cases are not kept."""
        return None

    @classmethod
    def _row_names(cls) -> frozenset[str]:
        return cls.ROWS | {"patients"}

    @classmethod
    def array_names(cls) -> tuple[str, ...]:
        """Names of the arrays that there always are, in order."""
        return tuple(each.name for each in fields(cls) if each.name not in ("loss", "patients"))

    def arrays(self) -> dict[str, Array]:
        """The arrays by name; ``patients`` only where there are any."""
        known = {"patients": self.patients} if len(self.patients) else {}
        return {**{name: getattr(self, name) for name in self.array_names()}, **known}

    def __add__(self, other: Self) -> Self:
        joined = {
            name: np.concatenate([mine, theirs]) if name in self._row_names() else mine + theirs
            for name, mine, theirs in (
                (name, getattr(self, name), getattr(other, name))
                for name in (*self.array_names(), "patients")
            )
        }
        return type(self)(loss=self.loss + other.loss, **joined)

    @classmethod
    def total(cls, parts: Iterable[Self]) -> Self:
        """The sum of one or more, added in their order; no more than one of them is needed at a time."""
        rows: dict[str, list[Array]] = {name: [] for name in cls._row_names()}
        total: Self | None = None
        for part in parts:
            for name, found in rows.items():
                found.append(getattr(part, name))
            emptied: dict[str, Any] = {name: getattr(part, name)[:0] for name in rows}
            counts = replace(part, **emptied)
            total = counts if total is None else total + counts
        if total is None:
            raise ValueError("the sum of no counts")
        joined: dict[str, Any] = {name: np.concatenate(found) for name, found in rows.items()}
        return replace(total, **joined)


def check_like(sums: EvaluationSums, like: EvaluationSums, names: Sequence[str]) -> None:
    """See that arrays have the shape and type of another's, and can be counts.

    Raises:
        ValueError: One has not, or cannot.
    """
    for name in names:
        array, known = getattr(sums, name), getattr(like, name)
        if (array.shape, array.dtype) != (known.shape, known.dtype):
            raise ValueError(f"counts {name} are {array.dtype}{array.shape}")
        if not ((array >= 0) & (array <= MOST_CASES)).all():
            raise ValueError(f"counts {name} are no counts")


def ratio(part: float, whole: float) -> float | None:
    """A share; None of nothing."""
    return float(part / whole) if whole else None


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of what is defined; None of nothing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
