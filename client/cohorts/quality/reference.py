"""What is kept of a cohort to compare a later one with: histograms and counts, nothing of a single case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, model_validator

from client.cohorts.quality.counts import Dimension, kind_of
from client.cohorts.quality.facts import CaseFacts
from client.cohorts.quality.gathered import Gathered
from client.cohorts.quality.picture import BINS

Number = Annotated[NonNegativeFloat, Field(allow_inf_nan=False)]
Bins = Annotated[tuple[Number, ...], Field(min_length=BINS, max_length=BINS)]
Numbers = dict[str, NonNegativeInt]


class Reference(BaseModel):
    """A cohort in histograms and counts.

    Attributes:
        consilium_reference: Version of this layout.
        cases: How many there are.
        patients: How many they are of.
        pictured: How many cases have pictures.
        brightness: 64 sums over the cases of the share of pixels in each step from black to white.
        squares: The same sums of the squared shares, from which their spread follows.
        labels: Cases of each label.
        modalities: Cases of each modality.
        scanners: Cases of each scanner.
        sizes: Cases by the longer edge of their frames, in doubling classes.
        lengths: Cases by their number of frames, in doubling classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    consilium_reference: Literal[1] = 1
    cases: NonNegativeInt
    patients: NonNegativeInt
    pictured: NonNegativeInt
    brightness: Bins
    squares: Bins
    labels: Numbers
    modalities: Numbers
    scanners: Numbers
    sizes: Numbers
    lengths: Numbers

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        tables = (self.labels, self.modalities, self.scanners, self.sizes, self.lengths)
        if any(sum(table.values()) != self.cases for table in tables):
            raise ValueError("a table does not add up to the number of cases")
        if (
            self.pictured > self.cases
            or self.patients > self.cases
            or bool(self.cases) != bool(self.patients)
        ):
            raise ValueError("there are more patients or pictures than cases")
        return self

    def to_json(self) -> str:
        """The reference as JSON; :meth:`of_json` reads it."""
        return self.model_dump_json()

    @classmethod
    def of_json(cls, text: str) -> Reference:
        """What :meth:`to_json` gave.

        Raises:
            ValueError: It is not a reference that this version reads.
        """
        return cls.model_validate_json(text)


def reference_of(cases: Sequence[CaseFacts], gathered: Gathered) -> Reference:
    """What is kept of a cohort.

    Args:
        cases: All cases.
        gathered: Those of them that have pictures.
    """
    rows = gathered.histograms.astype(np.float64)
    return Reference(
        cases=len(cases),
        patients=len({facts.patient for facts in cases}),
        pictured=len(rows),
        brightness=tuple(rows.sum(axis=0).tolist()),
        squares=tuple(np.square(rows).sum(axis=0).tolist()),
        labels=Counter(kind_of(facts, Dimension.label) for facts in cases),
        modalities=Counter(kind_of(facts, Dimension.modality) for facts in cases),
        scanners=Counter(kind_of(facts, Dimension.scanner) for facts in cases),
        sizes=Counter(doubling_class(max(facts.shape[1:])) for facts in cases),
        lengths=Counter(doubling_class(facts.shape[0]) for facts in cases),
    )


def doubling_class(number: int) -> str:
    """``512 to 1023`` for 600: the class from one power of two up to the next; ``1`` and ``0`` alone."""
    if number < 2:
        return str(max(number, 0))
    low = 1 << (number.bit_length() - 1)
    return f"{low} to {2 * low - 1}"
