"""What a ledger adds up to: the composition of everything, and each study by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from client.ledger.book import Book, Line
from client.ledger.budget import Accounting, Budget
from client.ledger.task import Purpose, Unit
from common.private.event import Event, merged

UNLIMITED_DELTA = 1e-5
"""The delta at which spending is told where no budget names one."""


@dataclass(frozen=True, slots=True)
class StudySpending:
    """What one study has spent for one purpose.

    Attributes:
        study: Its name; empty for what a person added by hand.
        study_digest: Digest of its canonical text.
        purpose: Training or evaluation.
        unit: Whose presence its noise hides.
        rounds: Rounds that something was reserved for.
        open: Reservations that were never settled and may still be used.
        fingerprints: States of the cohort that it saw.
        first: When it reserved first, ISO 8601.
        last: When it reserved last.
        events: What counts of it, one for each noise and rate.
        epsilon: What it would cost alone, at the delta of the whole.
    """

    study: str
    study_digest: str
    purpose: Purpose
    unit: Unit
    rounds: int
    open: int
    fingerprints: tuple[str, ...]
    first: str
    last: str
    events: tuple[Event, ...]
    epsilon: float

    @property
    def steps(self) -> int:
        """Releases that count."""
        return sum(event.steps for event in self.events)


@dataclass(frozen=True, slots=True)
class Spending:
    """What a cohort has spent.

    Attributes:
        epsilon: Of everything together, by the accountant; less than the sum of its parts.
        delta: The budget's.
        budget: What is allowed; None where nothing is refused.
        events: All that counts, one for each noise and rate.
        studies: Each by itself.
    """

    epsilon: float
    delta: float
    budget: Budget | None
    events: tuple[Event, ...]
    studies: tuple[StudySpending, ...]

    @property
    def left(self) -> float | None:
        """Budget less spending, at least 0. What fits into it may cost more by itself than this."""
        return max(0.0, self.budget.epsilon - self.epsilon) if self.budget else None

    @property
    def share(self) -> float | None:
        """Spending as a part of the budget."""
        return self.epsilon / self.budget.epsilon if self.budget else None


def spending_of(book: Book, budget: Budget | None, accounting: Accounting) -> Spending:
    """What the ledger adds up to, at the budget's delta."""
    delta = budget.delta if budget else UNLIMITED_DELTA
    accountant = budget.accountant if budget else "prv"

    def epsilon(events: Sequence[Event]) -> float:
        return accounting.epsilon_of(events, delta, accountant) if events else 0.0

    groups: dict[tuple[str, str, Purpose, Unit], list[Line]] = {}
    for line in book.lines:
        record = line.record
        key = (record.study, record.study_digest, record.purpose, record.unit)
        groups.setdefault(key, []).append(line)
    studies = []
    for lines in groups.values():
        events = merged(line.event for line in lines)
        studies.append(_study(lines, events, epsilon(events)))
    events = merged(book.events)
    return Spending(epsilon(events), delta, budget, events, tuple(studies))


def _study(lines: Sequence[Line], events: tuple[Event, ...], epsilon: float) -> StudySpending:
    record = lines[0].record
    return StudySpending(
        study=record.study,
        study_digest=record.study_digest,
        purpose=record.purpose,
        unit=record.unit,
        rounds=len({line.record.round for line in lines}),
        open=sum(line.is_open for line in lines),
        fingerprints=tuple(dict.fromkeys(line.record.fingerprint for line in lines)),
        first=lines[0].time,
        last=lines[-1].time,
        events=events,
        epsilon=epsilon,
    )
