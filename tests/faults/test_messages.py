"""Answers that come twice, in any order, late, or in place of others: each counts once, where it belongs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message, RecordDict

from client.site import Site
from common.study import Study
from common.weights import digest, load_weights
from server.record import RunRecord
from server.study_run import RunPlan, run_study
from tests.faults.injector.messages import Post, again_and_again
from tests.unit.conftest import Fault

SITES = ("alder", "birch", "cedar", "dogwood")
ORDERS = list(itertools.permutations(SITES))
Run = Callable[..., tuple[RunRecord, str]]


@pytest.fixture(scope="module")
def study(make_study: Callable[..., Study]) -> Study:
    return make_study(federation={"strategy": {"name": "fedadam"}, "rounds": 2, "deadline_s": 30.0})


@pytest.fixture
def run(study: Study, tmp_path: Path, remembering: None) -> Run:
    """What a run of the study over a Grid gives, and the digest of its model."""
    names = (f"run-{number}" for number in itertools.count())

    def go(grid: Any, **federation: Any) -> tuple[RunRecord, str]:
        changed = study.federation.model_copy(update=federation)
        what = study.model_copy(update={"federation": changed})
        plan = RunPlan(what, 0, tmp_path / next(names), "test", len(SITES), 5.0)
        record = run_study(grid, plan)
        return record, digest(load_weights(plan.out / "model.safetensors"))

    return go


@pytest.fixture(scope="module")
def sites(site_of: Callable[[str], Site]) -> list[Site]:
    return [site_of(name) for name in SITES]


@pytest.fixture(scope="module")
def undisturbed(
    remembering: None, study: Study, sites: list[Site], tmp_path_factory: pytest.TempPathFactory
) -> str:
    plan = RunPlan(study, 0, tmp_path_factory.mktemp("undisturbed"), "test", len(SITES), 5.0)
    run_study(Post(sites, SITES), plan)
    return digest(load_weights(plan.out / "model.safetensors"))


@pytest.mark.fault(
    "every answer comes several times, in any order of the hospitals, and once more in the next round",
    "each counts once; the model is bit-equal",
)
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_the_order_and_number_of_answers_changes_nothing(
    order: tuple[str, ...], run: Run, sites: list[Site], undisturbed: str
) -> None:
    grid = Post(sites, again_and_again(order))
    record, model = run(grid)
    assert model == undisturbed
    assert [entry["contributed"] for entry in record.rounds] == [list(SITES)] * 2
    assert grid.delivered > len(grid.asked)
    assert len(grid.asked) == len(set(grid.asked)) + 2 * len(SITES), "nobody was asked twice in a round"


def late(name: str) -> Fault:
    """From round 2 on the site gives its update of round 1 as the answer."""
    given: list[RecordDict] = []

    def answer(request: Message, reply: Message) -> Message:
        given.append(reply.content)
        return Message(given[0], reply_to=request)

    return Fault(answer)


def lost_in_round_2() -> Fault:
    """The site's answer of round 2 never comes."""
    asked: list[Message] = []

    def answer(request: Message, reply: Message) -> Message | None:
        asked.append(request)
        return reply if len(asked) == 1 else None

    return Fault(answer)


@pytest.mark.fault(
    "a hospital answers a round with its update of the round before",
    "the update is refused with `update-refused`; the round goes on with the others, as if there were none",
)
def test_an_update_of_an_earlier_round(run: Run, sites: list[Site], grid_of: Callable[..., Any]) -> None:
    without, other = run(grid_of(*sites, faults={"birch": lost_in_round_2()}), deadline_s=1.5)
    record, model = run(grid_of(*sites, faults={"birch": late("birch")}))
    assert model == other
    assert [e["contributed"] for e in record.rounds] == [e["contributed"] for e in without.rounds]
    assert record.rounds[1]["missing"]["birch"].startswith("update-refused")


@pytest.mark.fault(
    "an answer comes after the round's deadline, when the next round has begun",
    "it counts in no round; the model is bit-equal to one of the others' updates",
)
def test_an_answer_after_the_deadline(run: Run, sites: list[Site], grid_of: Callable[..., Any]) -> None:
    class Overdue(type(grid_of())):  # type: ignore[misc]
        """Gives what is asked for, and what came too late for an earlier question."""

        def push_messages(self, messages: Any) -> Any:
            self.before = list(self._inbox)
            return super().push_messages(messages)

        def pull_messages(self, message_ids: Any) -> Any:
            return super().pull_messages([*message_ids, *self.before])

    _, other = run(grid_of(*sites, faults={"birch": Fault(lambda request, reply: None)}), deadline_s=1.5)
    slow = Overdue(sites, {"birch": Fault(late_s=2.0)})
    record, model = run(slow, deadline_s=1.5)
    assert model == other
    assert [entry["contributed"] for entry in record.rounds] == [["alder", "cedar", "dogwood"]] * 2
    assert all(entry["missing"]["birch"].startswith("no-reply") for entry in record.rounds)
