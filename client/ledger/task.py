"""What privacy is spent for, and the right to spend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.private.event import Event

Purpose = Literal["training", "evaluation"]
Unit = Literal["patient", "image"]


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that a study asks of a cohort. Names, digests and counts: nothing of a patient.

    Attributes:
        study: The study's name.
        study_digest: Digest of its canonical text.
        round: Absolute number of the round.
        base_digest: Digest of the weights that training starts from, or that are evaluated.
        cohort: Name of the cohort.
        fingerprint: Which state of it.
        purpose: Whose patients are looked at: those for training, or those for testing.
        unit: Whose presence the noise hides.
    """

    study: str
    study_digest: str
    round: int
    base_digest: str
    cohort: str
    fingerprint: str
    purpose: Purpose = "training"
    unit: Unit = "patient"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Spending that stands in the ledger, before anything was spent.

    Attributes:
        id: Unique; 32 hexadecimal digits.
        task: What for.
        event: The most that may be done with it.
        delta: For which the study states its epsilon.
        resumed: It was made earlier, and the process that made it ended before it settled.
    """

    id: str
    task: Task
    event: Event
    delta: float
    resumed: bool = False
