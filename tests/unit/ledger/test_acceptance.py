"""A person decides: nothing that can still be found is lost, and everything is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

import client.ledger.acceptance
import common.chain
from client.ledger import Decision, Task
from client.ledger.book import Line
from client.ledger.remains import remains_of
from common.chain import Chain
from common.errors import AuditBroken, LedgerBroken, LedgerRolledBack, ReservationClosed
from common.private.event import Event
from tests.unit.ledger.benches import Bench

STEP = Event(1.0, 0.1, 10)
DECISION = Decision("r.meier", "the disk was replaced")
NOTICED = (LedgerBroken, LedgerRolledBack)
MakeTask = Callable[..., Task]


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def spent(bench: Bench, task: MakeTask) -> Bench:
    """Three rounds: 10 steps, 10 of which 4 were done, and 10 that were never settled; then knee's."""
    bench.train(1)
    bench.ledger.settle(bench.ledger.reserve(task(2), STEP, 1e-5), 4, 0.7)
    bench.ledger.reserve(task(3), STEP, 1e-5)
    return bench


def lines_of(bench: Bench) -> dict[str, Line]:
    return {line.record.id: line for line in bench.ledger.book().lines}


def hurt_line(bench: Bench, number: int) -> None:
    """Change a figure in a line of the ledger."""
    lines = bench.path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b'"steps":10', b'"steps":1')
    bench.path.write_bytes(b"".join(lines))


DAMAGES: dict[str, Callable[[Bench], object]] = {
    "changed line": lambda bench: hurt_line(bench, 1),
    "first line gone": lambda b: b.path.write_bytes(b"".join(b.path.read_bytes().splitlines(True)[1:])),
    "cut": lambda bench: os.truncate(bench.path, 700),
    "emptied": lambda bench: os.truncate(bench.path, 0),
    "gone": lambda bench: bench.path.unlink(),
    "head gone": lambda bench: bench.head_path.unlink(),
    "both gone": lambda bench: (bench.path.unlink(), bench.head_path.unlink()),
    "noise": lambda bench: bench.path.write_bytes(b"\xff" * 2000),
    "lines merged": lambda b: b.path.write_bytes(b.path.read_bytes().replace(b"}\n{", b"} {")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_with_an_audit_log_nothing_is_lost(spent: Bench, damage: str) -> None:
    before = lines_of(spent)
    DAMAGES[damage](spent)
    with pytest.raises(NOTICED):
        spent.ledger.verify()
    outcome = spent.ledger.accept(DECISION)
    after = lines_of(spent)
    assert after.keys() == before.keys() and outcome.counted == 3 and outcome.lost == 0
    assert [line.event.steps for line in after.values()] == [10, 10, 10]  # each whole
    assert not any(line.is_open for line in after.values())
    assert [line.record.task for line in after.values()] == [line.record.task for line in before.values()]
    assert spent.ledger.last_clip_norm("a" * 64) == 0.7
    assert spent.ledger.verify().entries >= 4


@pytest.mark.parametrize(
    ("damage", "kept", "lost"),
    [
        ("changed line", 3, 1),
        ("first line gone", 2, 1),
        ("cut", 1, 4),
        ("emptied", 0, 5),
        ("noise", 0, 5),
        ("head gone", 3, 0),
        ("lines merged", 3, 0),
    ],
)
def test_without_one_all_that_can_be_read_counts(
    bench: Bench, task: MakeTask, damage: str, kept: int, lost: int
) -> None:
    ledger = bench.of("chest", witnessed=False)
    bench.train(1, ledger=ledger)
    ledger.settle(ledger.reserve(task(2), STEP, 1e-5), 4)
    ledger.reserve(task(3), STEP, 1e-5)
    DAMAGES[damage](bench)
    outcome = ledger.accept(DECISION)
    assert (outcome.counted, outcome.lost) == (kept, lost)
    assert len(ledger.book().lines) == kept and ledger.verify().told is None


def test_who_and_why_is_the_first_entry_and_told(spent: Bench) -> None:
    hurt_line(spent, 1)
    outcome = spent.ledger.accept(DECISION)
    first = spent.ledger.book().entries[0]
    assert (first.event, first.facts["by"], first.facts["reason"]) == (
        "accepted",
        DECISION.by,
        DECISION.reason,
    )
    (decided,) = spent.ledger.book().decisions
    assert decided.record.aside.split() == [path.name for path in outcome.aside]
    told = [entry for entry in spent.log.entries() if entry.event == "ledger.accepted"]
    assert [entry.facts["by"] for entry in told] == [DECISION.by]


def test_the_old_files_are_kept_as_they_were(spent: Bench) -> None:
    for number in (1, 2):
        hurt_line(spent, number)
        spent.path.write_bytes(spent.path.read_bytes() + b"more")
        before = spent.copy()
        outcome = spent.ledger.accept(DECISION)
        assert [path.name for path in outcome.aside] == [
            f"chest.jsonl.aside-{number}",
            f"chest.head.aside-{number}",
        ]
        assert [path.read_bytes() for path in outcome.aside] == [before["ledger"], before["head"]]
        assert all(path.stat().st_mode & 0o777 == 0o400 for path in outcome.aside)
        assert spent.ledger.verify().aside == number


def test_heads_that_others_remember_are_known_afterwards(spent: Bench) -> None:
    heads = [entry.head for entry in spent.ledger.book().entries]
    hurt_line(spent, 1)
    spent.ledger.accept(DECISION)
    for head in [*heads, spent.ledger.head]:
        spent.ledger.check(head)
    spent.path.unlink()  # and once more
    spent.ledger.accept(DECISION)
    for head in heads:
        spent.ledger.check(head)


def test_an_old_reservation_cannot_be_used_afterwards(spent: Bench, task: MakeTask) -> None:
    held = spent.ledger.reserve(task(3), STEP, 1e-5)
    hurt_line(spent, 1)
    spent.ledger.accept(DECISION)
    with pytest.raises(ReservationClosed):
        spent.ledger.settle(held, 10)
    assert spent.ledger.reserve(task(3), STEP, 1e-5).id != held.id


def test_the_ledger_of_before_is_noticed_afterwards(spent: Bench) -> None:
    whole = spent.copy()
    hurt_line(spent, 1)
    spent.ledger.accept(DECISION)
    spent.put_back(whole, "ledger", "head")
    with pytest.raises(LedgerRolledBack):
        spent.ledger.verify()


def test_spending_that_stands_nowhere_is_added(spent: Bench) -> None:
    spent.path.unlink()
    spent.ledger.accept(Decision("m", "lost", (Event(2.0, 0.1, 8), Event(4.0, 0.2, 8))))
    assert spent.ledger.spent().epsilon == 30.0 + 4.0 + 2.0
    spent.path.unlink()  # the audit log was told of it
    spent.ledger.accept(DECISION)
    assert spent.ledger.spent().epsilon == 36.0
    assert [line.record.study for line in spent.ledger.book().lines] == ["lungs"] * 3 + ["", ""]


def test_to_a_whole_ledger_spending_is_added_and_nothing_set_aside(spent: Bench) -> None:
    before = spent.ledger.book().entries
    outcome = spent.ledger.accept(Decision("m", "trained elsewhere", (Event(2.0, 0.1, 8),)))
    assert (outcome.aside, outcome.counted, outcome.lost) == ((), 1, 0)
    assert spent.ledger.book().entries[: len(before)] == before
    assert spent.ledger.spent().epsilon == 24.0 + 4.0 and spent.ledger.verify().told == 7


def test_a_line_that_lies_under_a_digest_of_its_own_counts_beside_the_truth(spent: Bench) -> None:
    with Chain(spent.path, LedgerBroken).opened() as opened:
        facts = [dict(entry.facts) for entry in opened.entries]
        kinds = [entry.event for entry in opened.entries]
    facts[0]["steps"] = 1
    facts[1]["steps"] = 1
    spent.path.unlink()
    spent.head_path.unlink()
    with Chain(spent.path, LedgerBroken).opened() as opened:  # whole, but another one
        for kind, said in zip(kinds, facts, strict=True):
            opened.append(kind, said)
    with pytest.raises(LedgerRolledBack):
        spent.ledger.verify()
    spent.ledger.accept(DECISION)
    assert sorted(line.event.steps for line in spent.ledger.book().lines) == [1, 10, 10, 10]


def test_a_changed_line_counts_where_nothing_better_is_known(bench: Bench) -> None:
    ledger = bench.of("chest", witnessed=False)
    bench.train(1, ledger=ledger)
    hurt_line(bench, 1)
    ledger.accept(DECISION)
    (line,) = ledger.book().lines
    assert (line.event.steps, line.record.model_dump()["origin"]) == (1, "changed line")


def test_times_of_before_are_kept(spent: Bench) -> None:
    before = lines_of(spent)
    hurt_line(spent, 1)
    spent.ledger.accept(DECISION)
    for number, line in lines_of(spent).items():
        assert abs(int(line.time[17:19]) - int(before[number].time[17:19])) <= 1  # the log's, a tick later


def test_what_was_lost_once_is_not_told_again(spent: Bench) -> None:
    with pytest.raises(LedgerRolledBack):
        spent.ledger.check(f"40:{'e' * 64}")
    assert spent.ledger.accept(DECISION).lost == 40 - 6
    spent.train(7)
    spent.path.unlink()
    assert spent.ledger.accept(DECISION).lost == 0


def test_a_broken_log_is_not_gone_past(spent: Bench) -> None:
    spent.path.unlink()
    os.truncate(spent.log.path, 100)
    before = sorted(spent.folder.rglob("*.aside-*"))
    with pytest.raises(AuditBroken):
        spent.ledger.accept(DECISION)
    assert sorted(spent.folder.rglob("*.aside-*")) == before


def test_what_a_newer_release_wrote_is_not_thrown_away(spent: Bench) -> None:
    with Chain(spent.path, LedgerBroken, spent.now).opened() as opened:
        entry = opened.append("leased", {"schema": 2, "consilium": "9.0.0"})
        told = {"ledger": "chest", "number": entry.number, "digest": entry.digest}
        spent.log.append("ledger.leased", schema=2, consilium="9.0.0", **told)
    before = spent.copy()
    with pytest.raises(LedgerBroken, match="newer"):
        spent.ledger.accept(DECISION)
    assert spent.copy() == before
    assert not list(spent.path.parent.glob("*.aside-*"))


def test_a_head_that_is_no_head_is_passed_over() -> None:
    for head in (b"", b"{}", b"[]", b"7", b"\xff", json.dumps({"number": 1, "digest": "x"}).encode()):
        assert not remains_of(b"", head, ()).heads


# Ends of processes


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> Iterator[list[bool]]:
    """The process dies before the given write, counted from 0; tells whether it came so far."""
    left, reached = [moment], [False]

    def counting(real: Callable[..., object]) -> Callable[..., object]:
        def write(*arguments: object) -> object:
            if left[0] == 0:
                reached[0] = True
                raise Killed
            left[0] -= 1
            return real(*arguments)

        return write

    with monkeypatch.context() as patch:
        for module in (common.chain, client.ledger.acceptance):
            for name in ("write_whole", "write_atomically", "sync_folder"):
                if hasattr(module, name):
                    patch.setattr(module, name, counting(getattr(module, name)))
        yield reached


@pytest.mark.parametrize("damage", ["changed line", "gone", "both gone"])
def test_a_decision_that_was_interrupted_is_taken_again(
    spent: Bench, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    before, heads = lines_of(spent), [entry.head for entry in spent.ledger.book().entries]
    DAMAGES[damage](spent)
    hurt, moment, reached = spent.copy(), 0, [True]
    while reached[0]:
        spent.put_back(hurt)
        with killed_at(monkeypatch, moment) as reached, suppress(Killed):
            spent.ledger.accept(DECISION)
        moment += 1
        try:
            spent.ledger.verify()
        except NOTICED:
            spent.ledger.accept(DECISION)
        assert before.keys() <= lines_of(spent).keys()
        assert spent.ledger.spent().epsilon == 30.0
        for head in heads:
            spent.ledger.check(head)
    assert moment > 10
