"""What the coordinator remembers: when the ledger and the audit log were both put back, it notices."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from client.ledger import Decision, Task
from common.errors import LedgerRolledBack, TaskInvalid
from common.private.event import Event
from tests.unit.ledger.benches import Bench

STEP = Event(1.0, 0.1, 10)
UNKNOWN = f"12:{'e' * 64}"
MakeTask = Callable[..., Task]


def test_every_head_it_ever_gave_is_known(bench: Bench) -> None:
    heads = [bench.ledger.head]
    for number in range(3):
        bench.train(number)
        heads.append(bench.ledger.head)
    for head in heads:
        bench.ledger.check(head)
    bench.ledger.check("")


def test_copies_put_back_together_are_noticed(bench: Bench) -> None:
    bench.train(1)
    copy = bench.copy()
    bench.train(2)
    remembered = bench.ledger.head
    bench.put_back(copy)
    assert bench.ledger.verify().entries == 2  # here nobody could tell
    with pytest.raises(LedgerRolledBack, match="entry 4"):
        bench.ledger.check(remembered)


def test_a_ledger_that_is_gone_altogether_is_noticed(bench: Bench) -> None:
    bench.train(1)
    remembered = bench.ledger.head
    for path in bench.files.values():
        path.unlink()
    with pytest.raises(LedgerRolledBack):
        bench.ledger.check(remembered)


def test_a_ledger_that_went_on_from_an_old_copy_is_noticed(bench: Bench) -> None:
    bench.train(1)
    copy = bench.copy()
    bench.train(2)
    remembered = bench.ledger.head
    bench.put_back(copy)
    bench.train(2)
    assert bench.ledger.head.partition(":")[0] == remembered.partition(":")[0]
    with pytest.raises(LedgerRolledBack):
        bench.ledger.check(remembered)


def test_then_every_study_stands_still_until_a_person_decides(bench: Bench, task: MakeTask) -> None:
    open_one = bench.ledger.reserve(task(1), STEP, 1e-5)
    with pytest.raises(LedgerRolledBack):
        bench.ledger.check(UNKNOWN)
    for attempt in (
        lambda: bench.ledger.reserve(task(7, study_digest="f" * 64), STEP, 1e-5),
        lambda: bench.ledger.reserve(task(1), STEP, 1e-5),
        lambda: bench.ledger.settle(open_one, 10),
        lambda: bench.ledger.verify(),
    ):
        with pytest.raises(LedgerRolledBack, match="entry 12"):
            attempt()
    bench.ledger.accept(Decision("m", "the coordinator was right"))
    bench.ledger.check(UNKNOWN)
    bench.train(7)


def test_it_is_written_down_once(bench: Bench) -> None:
    for _ in range(3):
        with pytest.raises(LedgerRolledBack):
            bench.ledger.check(UNKNOWN)
    assert [entry.event for entry in bench.log.entries()] == ["ledger.stopped"]
    assert bench.ledger.book().stops == (UNKNOWN,)


def test_a_person_may_have_decided_while_it_looked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = bench.ledger
    with pytest.raises(LedgerRolledBack):
        bench.ledger.check(UNKNOWN)

    def decided_meanwhile(head: str) -> bool:
        bench.ledger.accept(Decision("m", "decided just now"))
        return False

    monkeypatch.setattr(ledger, "_is_of_another", decided_meanwhile)
    ledger.check(UNKNOWN)
    assert bench.ledger.book().stops == ()


def test_the_ledger_of_another_cohort_of_the_site_is_meant_sometimes(bench: Bench) -> None:
    bench.train(1, ledger=bench.of("knee"), cohort="knee")
    bench.train(1)
    bench.ledger.check(bench.of("knee").head)
    assert bench.ledger.verify().entries == 2


def test_a_broken_ledger_speaks_for_nobody(bench: Bench) -> None:
    knee = bench.of("knee")
    bench.train(1, ledger=knee, cohort="knee")
    remembered = knee.head
    os.truncate(knee.path, 10)
    with pytest.raises(LedgerRolledBack):
        bench.ledger.check(remembered)


@pytest.mark.parametrize(
    "echo", ["x", "1", "1:", "1:abc", f"-1:{'a' * 64}", f"01:{'a' * 64}", f"1:{'A' * 64}", f"1:{'a' * 64}\n"]
)
def test_what_no_ledger_gave_is_the_coordinators_defect(bench: Bench, echo: str) -> None:
    with pytest.raises(TaskInvalid):
        bench.ledger.check(echo)
    bench.train(1)
