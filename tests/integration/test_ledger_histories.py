"""The ledger against a simple model: whatever dies or comes back, it never shows less than was sent.

Processes reserve, settle and send in any order, each possibly killed before any of its writes, or in the
middle of one, or with the power cut, so that what the disk had not yet kept is undone. Old copies come back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

import client.ledger.acceptance
import common.chain
from client.ledger import Budget, Decision, Ledger, Reservation, Task
from common.audit import AuditLog
from common.errors import BudgetSpent, LedgerBroken, LedgerRolledBack, ReservationClosed
from common.private.event import Event

BUDGET = 20.0
NOTICED = (LedgerBroken, LedgerRolledBack)
TASKS, PROCESSES = 3, 3


class Killed(BaseException):
    """The process, or the whole machine, is gone."""


class Reckoning:
    """Epsilon is the number of steps."""

    def epsilon_of(self, events: Iterable[Event], delta: float, accountant: str) -> float:
        return float(sum(event.steps for event in events))

    def exceeds(self, events: Iterable[Event], epsilon: float, delta: float, accountant: str) -> bool:
        return self.epsilon_of(events, delta, accountant) > epsilon


@dataclass(frozen=True)
class Death:
    """When a process dies: before which write, how much of that one is done, and whether the power is cut."""

    after: int
    part: float
    power: bool


@dataclass
class Disk:
    """Writes as the ledger's modules do them, until death."""

    death: Death | None = None
    writes: int = 0
    undo: list[Callable[[], object]] = field(default_factory=list)

    def dies(self) -> bool:
        """Whether the write that is about to be done is the last thing to happen."""
        self.writes += 1
        return self.death is not None and self.writes > self.death.after

    def gone(self) -> None:
        """What the disk had not kept may be lost with the power."""
        if self.death and self.death.power:
            for undo in reversed(self.undo):
                undo()
            self.undo.clear()
        raise Killed

    def write_whole(self, file: Any, data: bytes) -> None:
        if self.dies():
            assert self.death is not None
            file.write(data[: int(len(data) * self.death.part)])
            self.gone()
        file.write(data)

    def write_atomically(self, path: Path, content: bytes, mode: int = 0o666) -> None:
        before = path.read_bytes() if path.exists() else None
        if self.dies():
            self.gone()
        path.write_bytes(content)
        self.undo.append(lambda: path.unlink() if before is None else path.write_bytes(before))

    def sync_folder(self, folder: Path) -> None:
        if self.dies():
            self.gone()
        self.undo.clear()  # from now on the disk keeps it


class Site:
    """A hospital, and what really left it."""

    def __init__(self, folder: Path, witnessed: bool) -> None:
        self.folder = folder
        self.disk = Disk()
        self.witnessed = witnessed
        self.held: dict[int, Reservation] = {}
        self.sent: dict[str, int] = {}
        self.remembered = ""
        self.kept: dict[Path, bytes] = {}

    @property
    def ledger(self) -> Ledger:
        log = AuditLog(self.folder / "audit.jsonl") if self.witnessed else None
        return Ledger(self.folder / "c.jsonl", Budget(BUDGET, 1e-5), log, accounting=Reckoning())

    @contextmanager
    def dying(self, death: Death | None) -> Iterator[None]:
        """Let what is done in the block die so."""
        self.disk.death, self.disk.writes = death, 0
        names = ("write_whole", "write_atomically", "sync_folder")
        writes = {name: getattr(self.disk, name) for name in names}
        with patch.multiple(common.chain, **writes), patch.multiple(client.ledger.acceptance, **writes):
            yield

    def reserve(self, process: int, number: int, steps: int, death: Death | None) -> None:
        task = Task("s", "a" * 64, number, "b" * 64, "c", "d" * 64)
        self.held.pop(process, None)
        with suppress(Killed, BudgetSpent), self.dying(death):
            self.held[process] = self.ledger.reserve(task, Event(1.0, 0.1, steps), 1e-5)

    def settle(self, process: int, done: float, death: Death | None) -> None:
        """Settle and, if that was said to be done, send."""
        reservation = self.held.pop(process, None)
        if reservation is None:
            return
        steps = int(reservation.event.steps * done)
        with suppress(Killed, ReservationClosed), self.dying(death):
            self.ledger.settle(reservation, steps)
            assert reservation.id not in self.sent, "sent twice on one reservation"
            self.sent[reservation.id] = steps
            self.remembered = self.ledger.head

    def round(self, process: int, number: int, steps: int) -> None:
        """A round in which nothing goes wrong."""
        self.reserve(process, number, steps, None)
        self.settle(process, 1.0, None)

    def copy(self) -> None:
        """Keep a copy of every file."""
        self.kept = {path: path.read_bytes() for path in self.folder.iterdir()}

    def put_back(self, meant: Callable[[Path], bool]) -> None:
        """Put the copy of some files back."""
        for path in filter(meant, list(self.folder.iterdir())):
            path.unlink()
        for path in filter(meant, self.kept):
            path.write_bytes(self.kept[path])
        self.disk.undo.clear()

    def check(self) -> None:
        """The coordinator asks for the next round."""
        with self.dying(None):
            self.ledger.check(self.remembered)
            self.ledger.verify()

    def decide(self, death: Death | None) -> None:
        """A person decides after a ledger was not what was written."""
        with suppress(Killed), self.dying(death):
            self.ledger.accept(Decision("m", "a test"))

    def require_truth(self, *, decided: bool = False) -> None:
        """Nothing that was sent is missing, and the budget holds."""
        with self.dying(None):
            lines = {line.record.id: line.event.steps for line in self.ledger.book().lines}
            assert self.sent.keys() <= lines.keys()
            assert all(lines[name] >= steps for name, steps in self.sent.items())
            assert decided or self.ledger.spent().epsilon <= BUDGET


deaths = st.none() | st.builds(Death, st.integers(0, 7), st.floats(0.0, 1.0), st.booleans())
processes, tasks, amounts = st.integers(1, PROCESSES), st.integers(1, TASKS), st.integers(0, 9)
reserving = st.tuples(st.just("reserve"), processes, tasks, amounts, deaths)
settling = st.tuples(st.just("settle"), processes, st.floats(0.0, 1.0), deaths)
rounds = st.tuples(st.just("round"), processes, tasks, amounts)
life = st.lists(reserving | settling | rounds, max_size=12)


def live(site: Site, life: list[tuple[Any, ...]]) -> Iterator[None]:
    for name, *arguments in life:
        getattr(site, name)(*arguments)
        yield


@contextmanager
def new_site(witnessed: bool) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder:
        yield Site(Path(folder), witnessed)


@settings(max_examples=100)
@given(life, st.booleans())
def test_what_was_sent_is_always_in_the_ledger(life: list[tuple[Any, ...]], witnessed: bool) -> None:
    with new_site(witnessed) as site:
        for _ in live(site, life):
            site.check()
            site.require_truth()


FILES: dict[str, Callable[[Path], bool]] = {
    "ledger": lambda path: path.name in ("c.jsonl", "c.head"),
    "log": lambda path: path.name in ("audit.jsonl", "audit.head"),
    "all": lambda path: True,
}


@settings(max_examples=100)
@given(life, life, st.sampled_from(sorted(FILES)), life, deaths)
def test_what_comes_back_is_noticed_and_what_was_sent_is_found_again(
    before: list[tuple[Any, ...]],
    between: list[tuple[Any, ...]],
    files: str,
    after: list[tuple[Any, ...]],
    death: Death | None,
) -> None:
    with new_site(witnessed=True) as site:
        list(live(site, before))
        site.copy()
        known = set(site.sent)
        list(live(site, between))
        site.put_back(FILES[files])
        site.held.clear()
        decided = False
        if files != "all":
            site.remembered = ""  # it must be noticed without the coordinator
        try:
            site.check()
        except NOTICED:
            for who_dies in (death, None):
                site.decide(who_dies)
            decided = True
        if files == "all":
            assert decided or site.sent.keys() == known, "an old copy of everything came back unnoticed"
            site.sent = {name: steps for name, steps in site.sent.items() if name in known}
        for _ in live(site, after):
            site.check()
            site.require_truth(decided=decided)
        site.require_truth(decided=decided)
