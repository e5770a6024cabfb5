"""Reserve, train, settle, send: what the ledger allows, what it refuses, and what counts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.ledger import Budget, Ledger, Task
from common.errors import BudgetSpent, DiskFull, ReservationClosed
from common.private.event import Event
from tests.unit.ledger.benches import Bench

STEP = Event(1.0, 0.1, 10)
MakeTask = Callable[..., Task]


def test_a_round_is_reserved_trained_and_settled(bench: Bench, task: MakeTask) -> None:
    reservation = bench.ledger.reserve(task(), STEP, 1e-5)
    assert (reservation.task, reservation.event, reservation.delta) == (task(), STEP, 1e-5)
    assert not reservation.resumed
    bench.ledger.settle(reservation, 10)
    spent = bench.ledger.spent()
    assert (spent.epsilon, spent.delta, spent.left) == (10.0, 1e-5, 90.0)
    assert spent.events == (STEP,)


def test_what_is_reserved_counts_whole_until_it_is_settled(bench: Bench, task: MakeTask) -> None:
    reservation = bench.ledger.reserve(task(), STEP, 1e-5)
    assert bench.ledger.spent().epsilon == 10.0
    bench.ledger.settle(reservation, 4)
    assert bench.ledger.spent().epsilon == 4.0


def test_steps_that_were_not_done_cost_nothing(bench: Bench, task: MakeTask) -> None:
    bench.ledger.settle(bench.ledger.reserve(task(), STEP, 1e-5), 0)
    assert bench.ledger.spent().epsilon == 0.0 and bench.ledger.spent().events == ()


def test_it_is_on_the_disk_before_reserve_returns(bench: Bench, task: MakeTask) -> None:
    reservation = bench.ledger.reserve(task(), STEP, 1e-5)
    assert reservation.id.encode() in bench.path.read_bytes()
    told = list(bench.log.entries())[-1]
    assert told.event == "ledger.reserved" and told.facts["id"] == reservation.id
    assert f"{told.facts['number']}:{told.facts['digest']}" == bench.ledger.head
    assert (told.facts["steps"], told.facts["noise_multiplier"]) == (10, 1.0)


def test_nothing_is_there_before_anything_was_spent(bench: Bench) -> None:
    assert bench.ledger.head == f"0:{'0' * 64}"
    assert bench.ledger.spent().epsilon == 0.0 and bench.ledger.study_events("a" * 64) == ()
    assert bench.ledger.verify().entries == 0
    assert not list(bench.folder.iterdir())


def test_only_its_owner_reads_it(bench: Bench) -> None:
    bench.train(1)
    for path in (bench.path, bench.head_path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert bench.path.parent.stat().st_mode & 0o777 == 0o700


# Resuming


def test_the_same_task_goes_on_with_its_reservation(bench: Bench, task: MakeTask) -> None:
    first = bench.ledger.reserve(task(), STEP, 1e-5)
    again = bench.ledger.reserve(task(), STEP, 1e-5)
    assert again == replace(first, resumed=True)
    assert bench.ledger.spent().epsilon == 10.0


def test_a_smaller_event_may_go_on_with_it_and_a_larger_may_not(bench: Bench, task: MakeTask) -> None:
    first = bench.ledger.reserve(task(), STEP, 1e-5)
    assert bench.ledger.reserve(task(), replace(STEP, steps=9), 1e-5).id == first.id
    larger = bench.ledger.reserve(task(), replace(STEP, steps=11), 1e-5)
    assert larger.id != first.id and bench.ledger.spent().epsilon == 21.0


@pytest.mark.parametrize(
    "change",
    [
        {"study": "hearts"},
        {"study_digest": "f" * 64},
        {"round": 2},
        {"base_digest": "f" * 64},
        {"cohort": "knee"},
        {"fingerprint": "f" * 64},
        {"purpose": "evaluation"},
        {"unit": "image"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_other_task_may_use_it(bench: Bench, task: MakeTask, change: dict[str, object]) -> None:
    first = bench.ledger.reserve(task(), STEP, 1e-5)
    assert bench.ledger.reserve(task(**change), STEP, 1e-5).id != first.id
    assert bench.ledger.spent().epsilon == 20.0


@pytest.mark.parametrize("event", [Event(0.9, 0.1, 10), Event(1.1, 0.1, 10), Event(1.0, 0.2, 10)])
def test_no_other_mechanism_may_use_it(bench: Bench, task: MakeTask, event: Event) -> None:
    first = bench.ledger.reserve(task(), STEP, 1e-5)
    assert bench.ledger.reserve(task(), event, 1e-5).id != first.id


def test_another_delta_may_not_use_it(bench: Bench, task: MakeTask) -> None:
    first = bench.ledger.reserve(task(), STEP, 1e-5)
    assert bench.ledger.reserve(task(), STEP, 1e-6).id != first.id


def test_after_it_was_settled_the_same_task_pays_again(bench: Bench, task: MakeTask) -> None:
    first = bench.ledger.reserve(task(), STEP, 1e-5)
    bench.ledger.settle(first, 10)
    second = bench.ledger.reserve(task(), STEP, 1e-5)
    assert second.id != first.id and bench.ledger.spent().epsilon == 20.0


# Settling


def test_of_two_processes_with_one_reservation_one_may_send(bench: Bench, task: MakeTask) -> None:
    mine, theirs = (bench.ledger.reserve(task(), STEP, 1e-5) for _ in range(2))
    bench.ledger.settle(theirs, 10)
    with pytest.raises(ReservationClosed):
        bench.ledger.settle(mine, 10)
    assert bench.ledger.spent().epsilon == 10.0


@pytest.mark.parametrize("steps", [-1, 11])
def test_more_than_was_reserved_is_a_defect(bench: Bench, task: MakeTask, steps: int) -> None:
    reservation = bench.ledger.reserve(task(), STEP, 1e-5)
    with pytest.raises(ValueError, match="steps"):
        bench.ledger.settle(reservation, steps)
    forged = replace(reservation, event=replace(STEP, steps=99))
    with pytest.raises(ValueError, match="steps"):
        bench.ledger.settle(forged, 11)
    assert bench.ledger.spent().epsilon == 10.0
    bench.ledger.settle(reservation, 10)


def test_numbers_may_come_from_numpy(bench: Bench, task: MakeTask) -> None:
    event = Event(np.float32(2.0), np.float64(0.5), np.int64(4))  # type: ignore[arg-type]
    reservation = bench.ledger.reserve(task(np.int64(3)), event, np.float64(1e-5))
    bench.ledger.settle(reservation, np.int64(4), np.float32(0.5))  # type: ignore[arg-type]
    assert bench.ledger.study_events("a" * 64) == (Event(2.0, 0.5, 4),)
    assert bench.ledger.last_clip_norm("a" * 64) == 0.5


@pytest.mark.parametrize(
    "event",
    [
        Event(0.0, 0.1, 1),
        Event(-1.0, 0.1, 1),
        Event(float("nan"), 0.1, 1),
        Event(float("inf"), 0.1, 1),
        Event(1.0, 0.0, 1),
        Event(1.0, 1.1, 1),
        Event(1.0, 0.1, -1),
    ],
    ids=str,
)
def test_an_event_that_cannot_be_is_not_written(bench: Bench, task: MakeTask, event: Event) -> None:
    with pytest.raises(ValueError, match="Reserved"):
        bench.ledger.reserve(task(), event, 1e-5)
    assert not bench.path.exists()


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clip_norm_that_cannot_be_is_not_written(bench: Bench, task: MakeTask, clip_norm: float) -> None:
    reservation = bench.ledger.reserve(task(), STEP, 1e-5)
    with pytest.raises(ValueError, match="Settled"):
        bench.ledger.settle(reservation, 10, clip_norm)
    assert bench.ledger.verify().open == 1


def test_where_the_log_cannot_be_told_nothing_is_trained_and_all_counts(
    bench: Bench, task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.train(1)

    def full(event: str, **facts: object) -> None:
        raise DiskFull

    ledger = bench.ledger
    assert ledger._witness is not None
    monkeypatch.setattr(ledger._witness._log, "append", full)
    with pytest.raises(DiskFull):
        ledger.reserve(task(2), STEP, 1e-5)
    with pytest.raises(DiskFull):  # and nothing more is written before the log was told
        ledger.reserve(task(3), STEP, 1e-5)
    assert bench.ledger.spent().epsilon == 20.0 and bench.ledger.verify().untold
    assert bench.ledger.reserve(task(2), STEP, 1e-5).resumed
    assert not bench.ledger.verify().untold


# The budget


def test_a_round_that_would_exceed_the_budget_is_not_begun(bench: Bench, task: MakeTask) -> None:
    bench.budget = Budget(25.0, 1e-5)
    bench.train(1)
    bench.train(2)
    before = bench.copy()
    with pytest.raises(BudgetSpent) as caught:
        bench.ledger.reserve(task(3), STEP, 1e-5)
    assert "epsilon 25" in caught.value.private and "20" in caught.value.private
    assert str(bench.folder) not in caught.value.private
    assert bench.copy() == before
    bench.train(3, steps=5)
    assert bench.ledger.spent().left == 0.0


def test_what_is_open_is_spent(bench: Bench, task: MakeTask) -> None:
    bench.budget = Budget(15.0, 1e-5)
    first = bench.ledger.reserve(task(1), STEP, 1e-5)
    with pytest.raises(BudgetSpent):
        bench.ledger.reserve(task(2), STEP, 1e-5)
    assert bench.ledger.reserve(task(1), STEP, 1e-5).id == first.id  # paid already
    bench.ledger.settle(first, 5)
    bench.ledger.reserve(task(2), STEP, 1e-5)


def test_a_budget_that_was_lowered_holds_at_once(bench: Bench, task: MakeTask) -> None:
    bench.train(1)
    bench.budget = Budget(5.0, 1e-5)
    with pytest.raises(BudgetSpent):
        bench.ledger.reserve(task(2), replace(STEP, steps=1), 1e-5)
    assert bench.ledger.spent().left == 0.0


def test_spending_is_composed_and_not_added(bench: Bench, task: MakeTask) -> None:
    seen: list[tuple[Event, ...]] = []

    class Watching:
        def epsilon_of(self, events: tuple[Event, ...], delta: float, accountant: str) -> float:
            return 0.0

        def exceeds(self, events: tuple[Event, ...], epsilon: float, delta: float, accountant: str) -> bool:
            seen.append(tuple(events))
            assert (epsilon, delta, accountant) == (3.0, 1e-6, "rdp")
            return False

    ledger = Ledger(bench.path, Budget(3.0, 1e-6, "rdp"), bench.log, bench.now, Watching())  # type: ignore[arg-type]
    bench.train(1, ledger=ledger)
    bench.train(2, ledger=ledger, study_digest="f" * 64)
    ledger.reserve(task(3), Event(2.0, 0.1, 7), 1e-5)
    assert seen == [(STEP,), (replace(STEP, steps=20),), (replace(STEP, steps=20), Event(2.0, 0.1, 7))]


def test_without_a_budget_nothing_is_refused(bench: Bench) -> None:
    bench.budget = None
    for number in range(12):
        bench.train(number)
    spent = bench.ledger.spent()
    assert (spent.epsilon, spent.left, spent.budget) == (120.0, None, None)
    assert bench.reckoning.asked == 2  # the whole and the one study; nothing before a round


# What is asked of it


def test_events_of_a_study(bench: Bench, task: MakeTask) -> None:
    bench.train(1)
    bench.train(2, steps=3)
    bench.train(1, study_digest="f" * 64)
    bench.ledger.reserve(task(3, purpose="evaluation"), Event(8.0, 1.0, 1), 1e-5)
    assert bench.ledger.study_events("a" * 64) == (replace(STEP, steps=13), Event(8.0, 1.0, 1))
    assert bench.ledger.study_events("a" * 64, "training") == (replace(STEP, steps=13),)
    assert bench.ledger.study_events("a" * 64, "evaluation") == (Event(8.0, 1.0, 1),)
    assert bench.ledger.study_events("0" * 64) == ()


def test_the_clip_norm_is_the_one_settled_last(bench: Bench, task: MakeTask) -> None:
    ledger = bench.ledger
    assert ledger.last_clip_norm("a" * 64) is None
    one, two = (ledger.reserve(task(number), STEP, 1e-5) for number in (1, 2))
    ledger.settle(two, 10, 0.7)
    ledger.settle(one, 10, 0.9)
    ledger.settle(ledger.reserve(task(3), STEP, 1e-5), 10)  # did not adapt it
    ledger.settle(ledger.reserve(task(1, study_digest="f" * 64), STEP, 1e-5), 10, 5.0)
    assert ledger.last_clip_norm("a" * 64) == 0.9


def test_the_head_moves_with_every_entry(bench: Bench) -> None:
    heads = [bench.ledger.head]
    for number in range(3):
        bench.train(number)
        heads.append(bench.ledger.head)
    assert [head.partition(":")[0] for head in heads] == ["0", "2", "4", "6"]
    assert len(set(heads)) == 4


def test_no_torch_is_imported() -> None:
    program = "import sys, client.ledger; assert not {'torch', 'opacus', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
