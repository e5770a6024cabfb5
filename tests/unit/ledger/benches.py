"""A ledger whose epsilon is easy to reckon, with its audit log, and ways to hurt them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from client.ledger import Budget, Ledger, Task
from common.audit import AuditLog
from common.private.event import Event


class Reckoning:
    """Epsilon is the number of steps divided by their noise: a simple accountant.

    Attributes:
        asked: How often it was.
    """

    def __init__(self) -> None:
        self.asked = 0

    def epsilon_of(self, events: Iterable[Event], delta: float, accountant: str) -> float:
        self.asked += 1
        return sum(event.steps / event.noise_multiplier for event in events)

    def exceeds(self, events: Iterable[Event], epsilon: float, delta: float, accountant: str) -> bool:
        return self.epsilon_of(events, delta, accountant) > epsilon


@dataclass
class Bench:
    """A ledger with its audit log, and what tests do with it."""

    folder: Path
    budget: Budget | None = field(default_factory=lambda: Budget(100.0, 1e-5))
    reckoning: Reckoning = field(default_factory=Reckoning)
    ticks: itertools.count[int] = field(default_factory=itertools.count)

    def now(self) -> datetime:
        """A second later than the last time."""
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(seconds=next(self.ticks))

    @property
    def log(self) -> AuditLog:
        return AuditLog(self.folder / "audit.jsonl", self.now)

    @property
    def path(self) -> Path:
        return self.folder / "ledgers" / "chest.jsonl"

    @property
    def head_path(self) -> Path:
        return self.path.with_suffix(".head")

    @property
    def ledger(self) -> Ledger:
        """The ledger as a process finds it that starts now."""
        return self.of("chest")

    def of(self, name: str, *, witnessed: bool = True) -> Ledger:
        path, witness = self.path.with_name(f"{name}.jsonl"), self.log if witnessed else None
        return Ledger(path, self.budget, witness, self.now, self.reckoning)

    @property
    def files(self) -> dict[str, Path]:
        """Every file by a short name."""
        log = self.log.path
        return {
            "ledger": self.path,
            "head": self.head_path,
            "log": log,
            "log head": log.with_suffix(".head"),
        }

    def copy(self) -> dict[str, bytes]:
        """What is in the files that there are."""
        return {name: path.read_bytes() for name, path in self.files.items() if path.exists()}

    def put_back(self, copy: dict[str, bytes], *names: str) -> None:
        """Put a copy of some files back, or of all."""
        for name, path in self.files.items():
            if name in (names or self.files):
                path.unlink(missing_ok=True)
                if name in copy:
                    path.write_bytes(copy[name])

    def train(self, number: int, steps: int = 10, ledger: Ledger | None = None, **changes: Any) -> None:
        """One round: reserved and settled."""
        used = ledger or self.ledger
        used.settle(used.reserve(make_task(number, **changes), Event(1.0, 0.1, steps), 1e-5), steps)


def make_task(number: int = 1, **changes: Any) -> Task:
    """A round of a study."""
    plain = Task("lungs", "a" * 64, number, "b" * 64, "chest", "c" * 64)
    return replace(plain, **changes)
