"""Rounds whose sites train privately: what they tell, what is echoed to them, and who may stay away.

The hospitals here are stand-ins that answer as private training does; how it is done is theirs to test.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, MessageType, RecordDict
from jsonschema import Draft202012Validator

from common.errors import (
    BudgetSpent,
    ConsiliumError,
    LedgerRolledBack,
    PrivacyRequired,
    QuorumNotReached,
)
from common.metrics import ClassificationSums
from common.study import Study
from common.tasks import (
    ARRAYS,
    EvaluateTask,
    Evaluation,
    SiteDescription,
    TrainTask,
    contribution_content,
    description_content,
    evaluation_content,
    read_about,
    refusal_content,
    weights_of,
)
from common.update import Contribution
from server.detached import DetachedGrid
from server.record import RunRecord
from server.report import render
from server.roster import gather
from server.rounds import RoundEngine
from server.strategies import build_strategy
from server.study_run import RunPlan, run_study

SCHEMA = Path(__file__).parents[3] / "docs" / "run.schema.json"
NAMES = ("alder", "birch", "cedar")
Say = Callable[[TrainTask], dict[str, Any]]


def spent(task: TrainTask) -> dict[str, Any]:
    """What a site tells after private training."""
    return {"epsilon": 0.5 * task.round, "target_delta": 1e-4, "ledger_head": f"{2 * task.round}:{'a' * 64}"}


@dataclass
class Hospital:
    """Answers as a site does; ``refuses`` by type of message, from the round given on.

    Attributes:
        says: What its contributions hold besides the update.
        counts: Test cases that it counts, of the 8 that it described.
        refuses: Error that answers a message of that type, and the first round in which it does.
        asked: Training tasks that it got.
        weights: Their records of weights.
    """

    name: str
    says: Say = spent
    counts: int = 8
    refuses: dict[str, tuple[ConsiliumError, int]] = field(default_factory=dict)
    asked: list[TrainTask] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def answer(self, kind: str, content: RecordDict) -> RecordDict:
        error, since = self.refuses.get(kind, (None, 0))
        if error is not None and int(content["about"].get("round", 1)) >= since:
            return refusal_content(error.refusal(), self.name)
        if kind == MessageType.QUERY:
            return description_content(SiteDescription(self.name, "0", "cpu", 9, 5, 8, 8, (4, 5), (4, 4)))
        if kind == MessageType.EVALUATE:
            scores = np.tile([[0.7, 0.3], [0.2, 0.8]], (self.counts // 2, 1))
            sums = ClassificationSums.count(scores, np.tile([0, 1], self.counts // 2), keep_scores=False)
            task = read_about(content, EvaluateTask)
            return evaluation_content(Evaluation(self.name, task.round, task.base_digest, sums))
        return contribution_content(self._trained(content))

    def _trained(self, content: RecordDict) -> Contribution:
        task = read_about(content, TrainTask)
        self.asked.append(task)
        self.weights.append(content.array_records[ARRAYS])
        step = np.float32(0.01 * len(self.name))
        delta = {name: np.full_like(array, step) for name, array in weights_of(content).items()}
        return Contribution(self.name, task.round, task.base_digest, delta, 9, **self.says(task))


class StandInGrid(DetachedGrid):
    """Asks the hospitals on the spot."""

    def __init__(self, hospitals: Iterable[Hospital]) -> None:
        super().__init__()
        self.hospitals = dict(enumerate(hospitals, start=1))
        self.batches: list[list[Message]] = []
        self._replies: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.hospitals)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self.batches.append(list(messages))
        return [self._push(message) for message in self.batches[-1]]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def _push(self, message: Message) -> str:
        request = self.numbered(message)
        hospital = self.hospitals[message.metadata.dst_node_id]
        content = hospital.answer(message.metadata.message_type, message.content)
        self._replies[request.metadata.message_id] = Message(content, reply_to=request)
        return request.metadata.message_id


@pytest.fixture
def private_study(make_study: Callable[..., Study]) -> Callable[..., Study]:
    """A study whose sites train privately."""

    def make(**sections: Any) -> Study:
        privacy = {"target_epsilon": 8.0, **sections.pop("privacy", {})}
        return make_study(privacy=privacy, **sections)

    return make


@pytest.fixture
def engine_of(private_study: Callable[..., Study]) -> Callable[..., tuple[RoundEngine, Any]]:
    """The engine of a gathered federation, and its base model."""

    def make(grid: StandInGrid, *, strict: bool = False, **sections: Any) -> tuple[RoundEngine, Any]:
        from common.models import initial_weights

        study = private_study(**sections)
        strategy = build_strategy(study.federation.strategy)
        roster = gather(grid, study, len(grid.hospitals), 1.0)
        return RoundEngine(grid, study, 0, roster, strategy, strict=strict), initial_weights(study, 0)

    return make


def hospitals(**changes: Hospital) -> list[Hospital]:
    return [changes.get(name, Hospital(name)) for name in NAMES]


# What a site tells


def test_a_private_round_is_the_mean_of_updates_that_say_what_they_cost(engine_of: Any) -> None:
    engine, base = engine_of(StandInGrid(hospitals()))
    trained = engine.train(1, base)
    assert trained.missing == {} and trained.site_spending is None
    assert [(c.site, c.loss, c.epsilon, c.target_delta) for c in trained.contributions] == [
        (name, None, 0.5, 1e-4) for name in NAMES
    ]


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(lambda task: {}, id="no epsilon"),
        pytest.param(lambda task: {**spent(task), "loss": 0.5}, id="a loss"),
        pytest.param(lambda task: {**spent(task), "epsilon": float("inf")}, id="no bound"),
        pytest.param(lambda task: {**spent(task), "target_delta": 2.0}, id="no delta"),
        pytest.param(lambda task: {**spent(task), "ledger_head": "1:b"}, id="no head"),
    ],
)
def test_an_update_that_is_not_privates_costs_itself(engine_of: Any, says: Say) -> None:
    engine, base = engine_of(StandInGrid(hospitals(birch=Hospital("birch", says))))
    trained = engine.train(1, base)
    assert [c.site for c in trained.contributions] == ["alder", "cedar"]
    assert trained.missing["birch"].startswith("update-refused: ")


# The head of a site's ledger


def test_each_site_is_told_the_head_that_it_gave_last(engine_of: Any) -> None:
    own = lambda letter: lambda task: {**spent(task), "ledger_head": f"{task.round}:{letter * 64}"}  # noqa: E731
    made = hospitals(
        alder=Hospital("alder", own("a")),
        birch=Hospital("birch", own("b"), refuses={MessageType.TRAIN: (BudgetSpent(), 2)}),
        cedar=Hospital("cedar", lambda task: {**spent(task), "ledger_head": None}),
    )
    engine, base = engine_of(StandInGrid(made))
    for number in (1, 2, 3):
        engine.train(number, base)
    alder, birch, cedar = ([task.ledger_head for task in hospital.asked] for hospital in made)
    assert alder == ["", f"1:{'a' * 64}", f"2:{'a' * 64}"]
    assert birch == [""] and cedar == ["", "", ""]


def test_a_head_of_an_update_that_is_refused_is_not_remembered(engine_of: Any) -> None:
    loud = lambda task: {**spent(task), "loss": 0.5} if task.round == 2 else spent(task)  # noqa: E731
    alder = Hospital("alder", loud)
    engine, base = engine_of(StandInGrid(hospitals(alder=alder)))
    for number in (1, 2, 3):
        engine.train(number, base)
    assert [task.ledger_head[:2] for task in alder.asked] == ["", "2:", "2:"]


def test_tasks_that_differ_still_share_one_record_of_weights(engine_of: Any) -> None:
    grid = StandInGrid(hospitals())
    engine, base = engine_of(grid)
    for number in (1, 2):
        engine.train(number, base)
    batch = grid.batches[-1]
    assert len({id(message.content.array_records[ARRAYS]) for message in batch}) == 1
    size = len(pickle.dumps([message.content for message in batch]))
    assert size < 1.5 * len(pickle.dumps(batch[0].content)) + 5_000 * len(batch)


# Who stays away for privacy's sake


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("error", [BudgetSpent(), PrivacyRequired()])
def test_a_study_goes_on_without_a_site_whose_privacy_forbids_it(
    engine_of: Any, error: ConsiliumError, strict: bool
) -> None:
    out = Hospital("birch", refuses={MessageType.TRAIN: (error, 2)})
    engine, base = engine_of(StandInGrid(hospitals(birch=out)), strict=strict)
    assert engine.train(1, base).missing == {}
    later = engine.train(2, base)
    assert [c.site for c in later.contributions] == ["alder", "cedar"]
    assert later.missing == {"birch": f"{error.code}: {error.public}"}


def test_one_site_s_ledger_that_was_rolled_back_ends_nobody_else_s_study(engine_of: Any) -> None:
    back = Hospital("birch", refuses={MessageType.TRAIN: (LedgerRolledBack(), 2)})
    engine, base = engine_of(StandInGrid(hospitals(birch=back)), strict=True)
    engine.train(1, base)
    assert engine.train(2, base).missing["birch"].startswith("ledger-rolled-back: ")


def test_when_all_budgets_are_spent_the_study_ends_and_says_so(engine_of: Any) -> None:
    refuses = {MessageType.TRAIN: (BudgetSpent(), 2)}
    engine, base = engine_of(StandInGrid([Hospital(name, refuses=refuses) for name in NAMES]), strict=True)
    engine.train(1, base)
    with pytest.raises(QuorumNotReached, match="alder: budget-spent"):
        engine.train(2, base)


# Counts of tests


@pytest.mark.parametrize(
    ("noised", "counts", "taken"),
    [(False, 8, True), (False, 10, False), (True, 200, True), (True, 2000, False)],
)
def test_under_noise_a_hospital_may_count_more_than_it_has_and_not_anything(
    engine_of: Any, noised: bool, counts: int, taken: bool
) -> None:
    grid = StandInGrid(hospitals(birch=Hospital("birch", counts=counts)))
    engine, base = engine_of(grid, privacy={"evaluation_epsilon": 1.0} if noised else {})
    assert ("birch" in engine.evaluate(1, base)) == taken


# A whole study


@pytest.fixture
def private_run(private_study: Callable[..., Study], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a private study and returns its run.json, which is valid."""

    def run(made: list[Hospital], sections: Any = None, **plan: Any) -> dict[str, Any]:
        study = private_study(**{"federation": {"rounds": 3}, **(sections or {})})
        out = tmp_path / "run"
        record = run_study(StandInGrid(made), RunPlan(study, 0, out, "test", len(made), 1.0, **plan))
        document: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
        Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
        assert isinstance(record, RunRecord)
        return document

    return run


def test_a_private_run_is_recorded_round_by_round_and_site_by_site(private_run: Any) -> None:
    adapts = Hospital("cedar", lambda task: {**spent(task), "clip_norm": 1.0 / task.round})
    out = Hospital("birch", refuses={MessageType.TRAIN: (BudgetSpent(), 3)})
    run = private_run(hospitals(birch=out, cedar=adapts), strict=True)
    told = [entry["training"]["alder"] for entry in run["rounds"]]
    assert [(t["loss"], t["epsilon"], t["target_delta"]) for t in told] == [
        (None, 0.5, 1e-4), (None, 1.0, 1e-4), (None, 1.5, 1e-4),
    ]  # fmt: skip
    assert ["clip_norm" in t for t in told] == [False] * 3
    assert [entry["training"]["cedar"]["clip_norm"] for entry in run["rounds"]] == [1.0, 0.5, 1 / 3]
    assert [list(entry["missing"]) for entry in run["rounds"]] == [[], [], ["birch"]]
    privacy = run["privacy"]
    assert (privacy["unit"], privacy["noise"], privacy["sites"]) == ("patient", "secret", None)
    assert privacy["guarantee"]["target_epsilon"] == 8.0 and privacy["guarantee"]["clip_norm"] == 1.0
    assert privacy["ledger_heads"] == {
        "alder": f"6:{'a' * 64}", "birch": f"4:{'a' * 64}", "cedar": f"6:{'a' * 64}",
    }  # fmt: skip


def test_a_strict_run_begins_without_a_site_that_takes_only_private_studies(private_run: Any) -> None:
    away = Hospital("birch", refuses={MessageType.QUERY: (PrivacyRequired(), 0)})
    run = private_run(hospitals(birch=away), strict=True)
    assert list(run["sites"]) == ["alder", "cedar"]
    assert all(entry["missing"]["birch"].startswith("privacy-required") for entry in run["rounds"])


def test_both_guarantees_hold_at_once(private_run: Any) -> None:
    sites = {"noise_multiplier": 2.0, "clip_norm": 0.1, "planned_sites": 3}
    run = private_run(hospitals(), {"privacy": {"sites": sites}}, noise_seed=4)
    assert run["privacy"]["noise"] == "seeded" and run["privacy"]["unit"] == "patient"
    assert len(run["privacy"]["sites"]["epsilon"]) == 3
    assert run["rounds"][0]["training"]["alder"]["epsilon"] == 0.5


def test_the_report_of_a_private_run_shows_it(private_run: Any) -> None:
    page = render(private_run(hospitals()), "")
    assert 'id="privacy"' in page and "privacy-epsilon" in page and "not private" not in page
