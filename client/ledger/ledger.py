"""A cohort's privacy ledger: what private training has ever spent of it, on the hospital's own disk.

A reservation is written, and told to the audit log, before the first step is trained; it is settled with the
steps done before anything is sent. Invariants, whatever process ends at whatever moment:

- What was released is in the ledger. What was reserved and never settled counts whole, for ever.
- A reservation is settled once at most, so nothing is sent twice on it.
- With a budget, the composition of all that is in the ledger was within it before each reservation.
- A ledger that is not the one that was written is not added to: not by its chain and head, not by the audit
  log, not by what a coordinator remembers. A person then decides (:meth:`Ledger.accept`).

Nothing here imports torch; the accountant does, once it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.ledger.acceptance import Decision, Outcome, added_by, restart
from client.ledger.book import Book, read_book
from client.ledger.budget import Accounting, Budget, opacus_accounting
from client.ledger.records import HEAD, Accepted, Record, Reserved, Settled, Stopped, facts_of
from client.ledger.spending import UNLIMITED_DELTA, Spending, spending_of
from client.ledger.task import Purpose, Reservation, Task
from client.ledger.witness import Heard, Witness
from common.audit import AuditLog
from common.chain import Chain, Clock, OpenChain, utc_now
from common.errors import (
    BudgetSpent,
    LedgerBroken,
    LedgerRolledBack,
    ReservationClosed,
    TargetSpent,
    TaskInvalid,
)
from common.private.event import Event, merged

SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a ledger was compared with, and found to agree.

    Attributes:
        head: Number and digest of its last entry.
        entries: How many, each with the one before it and the last with the head's file.
        told: How many of them are in the audit log, the same; None without an audit log.
        untold: A crash kept the last entry from the audit log; the next reservation makes up for it.
        open: Reservations that were never settled.
        aside: Ledgers that were set aside before this one.
    """

    head: str
    entries: int
    told: int | None
    untold: bool
    open: int
    aside: int


class Ledger:
    """The ledger in one file; several processes may use it.

    Args:
        path: The file, ``NAME.jsonl``; it need not exist. The audit log knows the ledger as NAME.
        budget: What may be spent. None: everything is written down and nothing refused.
        witness: The site's audit log; None for a ledger outside a home.
        now: The clock.
        accounting: Who adds up; Opacus' accountants unless given.
    """

    def __init__(
        self,
        path: Path,
        budget: Budget | None,
        witness: AuditLog | None = None,
        now: Clock = utc_now,
        accounting: Accounting | None = None,
    ) -> None:
        self.path = path
        self.budget = budget
        self._chain = Chain(path, LedgerBroken, now)
        self._witness = Witness(witness, self.name) if witness else None
        self._accounting = accounting

    @property
    def name(self) -> str:
        """The ledger's name: that of the cohort."""
        return self.path.name.removesuffix(SUFFIX)

    @property
    def head(self) -> str:
        """Number and digest of the last entry, as ``number:digest``; for the coordinator to remember.

        Raises:
            LedgerBroken, LedgerRolledBack: It is not the ledger that was written.
        """
        return self.book().head

    def reserve(self, task: Task, event: Event, delta: float, most_steps: int | None = None) -> Reservation:
        """The right to spend ``event`` on ``task``; it is on the disk when this returns.

        The open reservation of the very same task is used again: the process that made it ended before it
        settled, so nothing was sent.

        Args:
            task: What for.
            event: The most that will be done.
            delta: For which the study states its epsilon.
            most_steps: Releases that the study as a whole has for this purpose; None for any number.

        Raises:
            TargetSpent: The study would make more releases than it is for; nothing was written.
            BudgetSpent: All spending with this would exceed the budget; nothing was written.
            LedgerBroken, LedgerRolledBack: It is not the ledger that was written; nothing was.
            AuditBroken: Nor is the audit log.
            DiskFull, OutputUnwritable: It cannot be written. It may count all the same.
            ValueError: No such event can be.
        """
        asked = Reserved.of(task, event, delta)
        with self._opened() as (chain, book):
            book.require_running()
            found = book.reusable(task, asked.event, delta)
            if found is not None:
                return found
            self._require_target(book, task, asked.event, most_steps)
            self._require_budget(book, asked.event)
            self._write(chain, asked)
        return asked.reservation(resumed=False)

    def settle(self, reservation: Reservation, steps: int, clip_norm: float | None = None) -> None:
        """Write down what was done with a reservation; only after this may anything of it be sent.

        Args:
            reservation: From :meth:`reserve`.
            steps: Releases done, at most those reserved; fewer count fewer.
            clip_norm: To what the clip norm was adapted.

        Raises:
            ReservationClosed: Another process has settled it, or a person closed it; send nothing.
            ValueError: More was done than reserved; send nothing.
            Others as :meth:`reserve`.
        """
        settled = Settled(
            id=reservation.id, steps=int(steps), clip_norm=None if clip_norm is None else float(clip_norm)
        )
        with self._opened() as (chain, book):
            book.require_running()
            line = book.line(reservation.id)
            if line is None:
                raise LedgerRolledBack(
                    f"{self.path}: a reservation is gone that was there when training began"
                )
            if settled.steps > line.record.steps:
                raise ValueError(f"{steps} steps done, {line.record.steps} reserved")
            if not line.is_open:
                raise ReservationClosed(f"{self.path}: entry {line.closed_at} closed the reservation")
            self._write(chain, settled)

    def settle_finished(self, reservation: str, steps: int, clip_norm: float | None = None) -> bool:
        """Whether what was finished with a reservation, and kept since, may be sent: it is settled then.

        A process that died between finishing and settling left it open; one that died after settling left
        nothing to do. Only for the one answer that was kept before it was settled.

        Args:
            reservation: Its id.
            steps: As for :meth:`settle`.
            clip_norm: As for :meth:`settle`.

        Raises:
            ValueError: More was done than reserved; send nothing.
            Others as :meth:`reserve`.
        """
        book = self.book()
        book.require_running()
        line = book.line(reservation)
        if line is None or (line.closed_at and line.settled is None):
            return False  # the ledger was set aside since, or a person closed it: it counts, for nothing sent
        if line.is_open:
            try:
                self.settle(line.record.reservation(resumed=True), steps, clip_norm)
            except ReservationClosed:  # by another process, at this moment
                return self.settle_finished(reservation, steps, clip_norm)
        return True

    def check(self, echoed_head: str) -> None:
        """Compare the ledger with the head that a coordinator remembers, as :attr:`head` gave it.

        If the ledger does not know it, that is written down, and stops private training for every study.

        Args:
            echoed_head: ``number:digest``; empty where the coordinator remembers none.

        Raises:
            LedgerRolledBack: The ledger lacks that entry.
            TaskInvalid: That is no head.
            Others as :meth:`reserve`.
        """
        if not echoed_head:
            return
        if not HEAD.fullmatch(echoed_head):
            raise TaskInvalid("the coordinator echoes what no ledger gave")
        # The site may have changed its cohort, and the coordinator remembers the other one's ledger. That is
        # looked up before this ledger is locked: two that wait for each other would wait for ever.
        if echoed_head in self.book().heads or self._is_of_another(echoed_head):
            return
        with self._opened() as (chain, book):
            if echoed_head in book.heads:  # a person has decided in between
                return
            if echoed_head not in book.stops:
                self._write(chain, Stopped(head=echoed_head))
        number = echoed_head.partition(":")[0]
        raise LedgerRolledBack(f"{self.path}: the coordinator remembers an entry {number} that is not there")

    def book(self) -> Book:
        """All that the ledger holds, verified.

        Raises:
            LedgerBroken, LedgerRolledBack, AuditBroken: It, or the audit log, is not what was written.
        """
        return self._verified()[0]

    def verify(self) -> Checked:
        """What the ledger was compared with; raises as :meth:`book`, and where it was stopped."""
        book, checked = self.examine()
        book.require_running()
        return checked

    def examine(self) -> tuple[Book, Checked]:
        """All that the ledger holds, and what it was compared with; raises as :meth:`book`."""
        book, heard = self._verified()
        return book, Checked(
            head=book.head,
            entries=len(book.entries),
            told=heard.told if heard else None,
            untold=heard is not None and heard.untold is not None,
            open=sum(line.is_open for line in book.lines),
            aside=len(list(self.path.parent.glob(f"{self.path.name}.aside-*"))),
        )

    def spent(self) -> Spending:
        """What was spent and what is left; raises as :meth:`book`."""
        return self.add_up(self.book())

    def add_up(self, book: Book) -> Spending:
        """What a book adds up to, at the budget's delta."""
        return spending_of(book, self.budget, self._accountants())

    def curve(self, book: Book, deltas: Iterable[float]) -> tuple[tuple[float, float], ...]:
        """What a book adds up to at the budget's delta and at each of ``deltas``: epsilon and delta."""
        events, accountant = merged(book.events), self.budget.accountant if self.budget else "prv"
        own = self.budget.delta if self.budget else UNLIMITED_DELTA
        epsilon_of = self._accountants().epsilon_of
        return tuple((epsilon_of(events, delta, accountant), delta) for delta in (own, *deltas))

    def study_events(self, study_digest: str, purpose: Purpose | None = None) -> tuple[Event, ...]:
        """What counts of one study, one event for each noise and rate; raises as :meth:`book`.

        Args:
            study_digest: Digest of its canonical text.
            purpose: Only what was spent for this; None for both.
        """
        return merged(line.event for line in self.book().of_study(study_digest, purpose))

    def last_clip_norm(self, study_digest: str) -> float | None:
        """To what a study adapted its clip norm last, None if it never did; raises as :meth:`book`."""
        return self.book().last_clip_norm(study_digest)

    def accept(self, decision: Decision) -> Outcome:
        """How the ledger goes on after a person decided.

        A ledger that is whole keeps its entries, and what the person adds is added to them. Any other is set
        aside; see :func:`client.ledger.acceptance.restart`.

        Raises:
            AuditBroken: The audit log is not what was written; nothing was done.
            LedgerBroken: A newer Consilium wrote in the ledger; nothing was done.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        delta = self.budget.delta if self.budget else UNLIMITED_DELTA
        added = added_by(decision, self.name, delta)
        try:
            with self._opened() as (chain, book):
                book.require_running()
                accepted = Accepted(by=decision.by, reason=decision.reason, aside="", lost=0)
                for record in (accepted, *added):
                    self._write(chain, record)
                return Outcome((), len(added), 0, chain.entries[-1].head)
        except (LedgerBroken, LedgerRolledBack):
            return restart(self._chain, self._witness, decision, added)

    @contextmanager
    def _opened(self) -> Iterator[tuple[OpenChain, Book]]:
        """The ledger, verified, for a decision: nobody else reads it or adds to it during the block."""
        with self._chain.writing():
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
        with self._chain.opened() as chain:
            book = read_book(str(self.path), chain.entries)
            if self._witness and (untold := self._witness.compare(book).untold):
                self._witness.tell(untold)
            yield chain, book

    def _write(self, chain: OpenChain, record: Record) -> None:
        entry = chain.append(record.kind, facts_of(record))
        if self._witness:
            self._witness.tell(entry)

    def _verified(self) -> tuple[Book, Heard | None]:
        """The book, and what the audit log has heard of it."""
        was_there = self.path.exists()
        try:
            return self._read()
        except (LedgerBroken, LedgerRolledBack):
            # Where there was no file there was none to lock, and the first entry may have come in between.
            if was_there or not self.path.exists():
                raise
            return self._read()

    def _read(self) -> tuple[Book, Heard | None]:
        with self._chain.reading() as entries:
            book = read_book(str(self.path), entries)
            return book, self._witness.compare(book) if self._witness else None

    def _is_of_another(self, head: str) -> bool:
        """Whether a ledger beside this one knows the head."""
        for path in sorted(self.path.parent.glob(f"*{SUFFIX}")):
            try:
                known = read_book(str(path), Chain(path, LedgerBroken).entries()).heads
            except LedgerBroken:
                continue  # it cannot be relied on
            if path != self.path and head in known:
                return True
        return False

    def _require_target(self, book: Book, task: Task, event: Event, most_steps: int | None) -> None:
        made = sum(line.event.steps for line in book.of_study(task.study_digest, task.purpose))
        if most_steps is not None and made + event.steps > most_steps:
            raise TargetSpent(
                f"{self.name}: study {task.study!r} has made {made} releases for {task.purpose} "
                f"and is for {most_steps}"
            )

    def _require_budget(self, book: Book, event: Event) -> None:
        budget = self.budget
        if budget is None:
            return
        accounting, rules = self._accountants(), (budget.delta, budget.accountant)
        if accounting.exceeds(merged([*book.events, event]), budget.epsilon, *rules):
            spent = accounting.epsilon_of(merged(book.events), *rules)
            raise BudgetSpent(
                f"{self.name}: of epsilon {budget.epsilon:g} (delta {budget.delta:g}) {spent:.3g} is spent; "
                f"{event.steps} steps with noise {event.noise_multiplier:g} and rate {event.sample_rate:g} "
                "would exceed it"
            )

    def _accountants(self) -> Accounting:
        return self._accounting or opacus_accounting()
