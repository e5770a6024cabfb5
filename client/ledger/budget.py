"""What a hospital allows for a cohort, and who adds up what was spent of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from common.private.event import Event

Accountant = Literal["prv", "rdp"]


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that everything ever sent about a cohort may tell of one unit: ``(epsilon, delta)``."""

    epsilon: float
    delta: float
    accountant: Accountant = "prv"


class Accounting(Protocol):
    """Composition of events; :mod:`common.private.accounting` is one."""

    def epsilon_of(self, events: Iterable[Event], delta: float, accountant: Accountant) -> float:
        """What the events cost together; infinite where no bound is known."""

    def exceeds(self, events: Iterable[Event], epsilon: float, delta: float, accountant: Accountant) -> bool:
        """Whether they cost more than ``epsilon``."""


def opacus_accounting() -> Accounting:
    """Opacus' accountants, imported now: a ledger can be read and verified without torch."""
    from common.private import accounting

    return accounting
