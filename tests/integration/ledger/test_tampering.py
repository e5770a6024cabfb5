"""Whatever is done to a ledger, its head or the audit log is noticed, and nothing is trained privately."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import chain, combinations

import pytest

from client.ledger import Ledger, Task
from client.ledger.records import Carried, Former, Reserved, Settled, facts_of
from common.chain import Chain
from common.errors import AuditBroken, LedgerBroken, LedgerRolledBack
from common.private.event import Event
from tests.unit.ledger.benches import Bench

STEP = Event(1.0, 0.1, 10)
FILES = ("ledger", "head", "log", "log head")
NOTICED = (LedgerBroken, LedgerRolledBack, AuditBroken)
MakeTask = Callable[..., Task]


def some_of(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, size) for size in range(1, len(names)))


def written(bench: Bench, kind: str, **facts: object) -> None:
    """An entry that some other program put in the ledger, with all that belongs to it."""
    with Chain(bench.path, LedgerBroken, bench.now).opened() as opened:
        entry = opened.append(kind, facts)  # type: ignore[arg-type]
    told = {"ledger": "chest", "number": entry.number, "digest": entry.digest}
    bench.log.append(f"ledger.{kind}", **facts, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FILES)
def test_every_byte_counts(bench: Bench, name: str) -> None:
    bench.train(1)
    ledger, path = bench.ledger, bench.files[name]
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(content):
            os.pwrite(file.fileno(), bytes([byte ^ (0x01, 0x04, 0x20, 0x80)[place % 4]]), place)
            with pytest.raises(NOTICED):
                ledger.verify()
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert ledger.verify().entries == 2


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_or_gone_is_noticed(bench: Bench, name: str) -> None:
    bench.train(1)
    bench.train(2)
    path = bench.files[name]
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        with pytest.raises(NOTICED):
            bench.ledger.verify()
    path.unlink()
    with pytest.raises(NOTICED):
        bench.ledger.verify()
    with pytest.raises(NOTICED):
        bench.train(3)


@pytest.mark.parametrize("missing", range(4))
def test_a_line_that_is_missing_is_noticed(bench: Bench, missing: int) -> None:
    bench.train(1)
    bench.train(2)
    lines = bench.path.read_bytes().splitlines(keepends=True)
    bench.path.write_bytes(b"".join(lines[:missing] + lines[missing + 1 :]))
    with pytest.raises(LedgerBroken):
        bench.train(3)


def test_an_old_copy_of_some_files_is_noticed_or_takes_nothing_away(bench: Bench, task: MakeTask) -> None:
    copies = [bench.copy()]
    for number in range(1, 4):
        reservation = bench.ledger.reserve(task(number), STEP, 1e-5)
        copies.append(bench.copy())
        bench.ledger.settle(reservation, 10)
        copies.append(bench.copy())
    newest, spent = copies.pop(), bench.ledger.spent().epsilon
    noticed = 0
    for copy in copies:
        for names in some_of(FILES):
            bench.put_back(copy, *names)
            try:
                assert bench.ledger.spent().epsilon >= spent, (names, "came back unnoticed")
            except NOTICED:
                noticed += 1
                with pytest.raises(NOTICED):
                    bench.ledger.reserve(task(9), STEP, 1e-5)
            bench.put_back(newest)
    assert noticed >= len(copies) * 10


def test_an_old_copy_of_the_ledger_says_which_entry_it_lacks(bench: Bench) -> None:
    bench.train(1)
    copy = bench.copy()
    bench.train(2)
    bench.put_back(copy, "ledger", "head")
    with pytest.raises(LedgerRolledBack, match="entry 3"):
        bench.ledger.verify()


def test_an_old_copy_that_was_gone_on_with_is_another_ledger(bench: Bench) -> None:
    bench.train(1)
    copy = bench.copy()
    bench.train(2)
    newer = bench.copy()
    bench.put_back(copy)
    bench.train(3)
    bench.put_back(newer, "log", "log head")
    with pytest.raises(LedgerRolledBack):
        bench.ledger.verify()


def test_an_old_copy_of_the_log_is_noticed(bench: Bench) -> None:
    bench.train(1)
    copy = bench.copy()
    bench.train(2)
    bench.put_back(copy, "log", "log head")
    with pytest.raises(LedgerBroken, match="never told"):
        bench.train(3)


def test_a_log_that_lacks_the_last_entry_is_told(bench: Bench, task: MakeTask) -> None:
    reservation = bench.ledger.reserve(task(), STEP, 1e-5)
    before = bench.copy()
    bench.ledger.settle(reservation, 10)
    bench.put_back(before, "log", "log head")  # as if the process had died between the two
    checked = bench.ledger.verify()
    assert (checked.entries, checked.told, checked.untold) == (2, 1, True)
    bench.train(2)
    assert bench.ledger.verify().told == 4
    assert [e.facts["number"] for e in bench.log.entries()] == [1, 2, 3, 4]


def test_half_a_line_is_taken_away(bench: Bench) -> None:
    bench.train(1)
    with bench.path.open("ab") as file:
        file.write(b'{"digest":"12')
    assert bench.ledger.verify().entries == 2
    bench.train(2)
    assert bench.ledger.verify().entries == 4


def test_another_ledgers_lines_in_the_log_do_not_matter(bench: Bench) -> None:
    bench.train(1)
    bench.train(1, ledger=bench.of("knee"), cohort="knee")
    bench.log.append("cohort.added", cohort="chest")
    bench.train(2)
    assert bench.ledger.verify().told == 4 and bench.of("knee").verify().told == 2


def test_without_a_log_the_chain_still_holds(bench: Bench) -> None:
    ledger = bench.of("alone", witnessed=False)
    bench.train(1, ledger=ledger)
    assert ledger.verify().told is None
    ledger.path.write_bytes(ledger.path.read_bytes()[:-5])
    with pytest.raises(LedgerBroken):
        ledger.spent()


def test_a_reservation_that_is_gone_cannot_be_settled(bench: Bench, task: MakeTask) -> None:
    ledger = bench.of("chest", witnessed=False)
    bench.train(1, ledger=ledger)
    before = bench.copy()
    reservation = ledger.reserve(task(2), STEP, 1e-5)
    bench.put_back(before)
    with pytest.raises(LedgerRolledBack, match="gone"):
        ledger.settle(reservation, 10)


def test_the_first_entry_may_come_while_there_is_no_file_to_lock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, read = bench.ledger, Ledger._read

    def too_early(self: Ledger) -> object:
        monkeypatch.setattr(Ledger, "_read", read)
        bench.train(1)
        raise LedgerRolledBack

    monkeypatch.setattr(Ledger, "_read", too_early)
    assert ledger.verify().entries == 2


def test_a_broken_log_stops_private_training(bench: Bench) -> None:
    bench.train(1)
    path = bench.log.path
    path.write_bytes(path.read_bytes().replace(b"reserved", b"deserved"))
    with pytest.raises(AuditBroken):
        bench.train(2)


# Entries that no ledger has


def test_a_newer_schema_is_not_guessed_at(bench: Bench) -> None:
    bench.train(1)
    written(bench, "reserved", schema=2, consilium="9.0.0", surprise=1)
    with pytest.raises(LedgerBroken, match=r"9\.0\.0, a newer one") as caught:
        bench.train(2)
    assert "Install" in caught.value.hint


def reserved(**changes: object) -> Reserved:
    return Reserved.of(Task("lungs", "a" * 64, 1, "b" * 64, "chest", "c" * 64), STEP, 1e-5).model_copy(
        update=changes
    )


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("reserved", {}),
        ("reserved", {"schema": 1}),
        ("reserved", {**facts_of(reserved()), "surprise": 1}),
        ("reserved", {**facts_of(reserved()), "steps": "10"}),
        ("reserved", {**facts_of(reserved()), "noise_multiplier": 0.0}),
        ("reserved", {**facts_of(reserved()), "id": "x"}),
        ("reserved", {**facts_of(reserved()), "purpose": "profit"}),
        ("reserved", {**facts_of(reserved()), "schema": "1"}),
        ("unknown", facts_of(reserved())),
        ("settled", facts_of(Settled(id="0" * 32, steps=0))),
        ("former", {**facts_of(Former(head=f"1:{'a' * 64}")), "head": "1:x"}),
        ("carried", facts_of(reserved())),
    ],
    ids=range(12),
)
def test_an_entry_that_no_ledger_has_is_broken(bench: Bench, kind: str, facts: dict[str, object]) -> None:
    bench.train(1)
    written(bench, kind, **facts)
    with pytest.raises(LedgerBroken, match="entry 3"):
        bench.train(2)


def test_entries_that_contradict_each_other_are_broken(bench: Bench, task: MakeTask) -> None:
    one = bench.ledger.reserve(task(), STEP, 1e-5)
    known = reserved(id=one.id)
    again = facts_of(Carried(**known.model_dump(), origin="person"))
    for kind, facts in (
        ("reserved", facts_of(known)),
        ("carried", again),
        ("settled", facts_of(Settled(id=one.id, steps=11))),
    ):
        before = bench.copy()
        written(bench, kind, **facts)
        with pytest.raises(LedgerBroken, match="entry 2"):
            bench.ledger.verify()
        bench.put_back(before)
    bench.ledger.settle(one, 10)
    written(bench, "settled", **facts_of(Settled(id=one.id, steps=1)))
    with pytest.raises(LedgerBroken, match="entry 3"):
        bench.ledger.verify()
