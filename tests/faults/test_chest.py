"""Thirty rounds on chest X-rays of three hospitals, each round with a fault: as good as undisturbed ones.

The pictures are resampled to 64 rows of 64 pixels, half as fine as in
``examples/chest-xray-rows.toml``; all cases of all three hospitals train and test. The schedule of the
faults is drawn from a seed.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
from flwr.app import Message, MessageType

from client.checkpoints import INTERRUPTION, PROGRESS, Interrupted
from client.site import Site
from common.study import Study, parse_study
from deploy.federation import resolve
from server.journal import DurableJournal, Journal
from server.study_run import RunPlan, run_study
from tests.faults.conftest import WRITES, Killed
from tests.unit.conftest import Fault, Faults, FaultyGrid

ROUNDS, SEED, FACTOR = 30, 0, 1e6
CLOSE = 0.01
Kind = Literal["killed", "silent", "interrupted", "nan", "twice", "huge", "away"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COSTLY = frozenset({"silent", "nan", "huge", "away"})
"""The round goes on without the site."""
HALF = 0.5
HOSPITALS = ("guangzhou", "hannover", "nihcc")
# begin, what came of each site, trained, finish: the journal's writes in a round that is not tested.
WRITES_A_ROUND = 1 + len(HOSPITALS) + 1 + 1


@dataclass(frozen=True)
class Disturbance:
    """What goes wrong in a round.

    Attributes:
        kind: What.
        site: With whom.
        write: At which write of the round's the coordinator is killed.
        after: Whether that is after it.
    """

    kind: Kind
    site: str
    write: int
    after: bool


Schedule = Mapping[int, Disturbance]


def drawn(seed: int) -> Schedule:
    """One fault for each round: every kind equally often, in any order.

    It is never the last round's site: one whose updates are bad three times in a row is rightly suspended.
    """
    draw, kinds, schedule = random.Random(seed), list[Kind](), dict[int, Disturbance]()
    while len(kinds) < ROUNDS:
        kinds += draw.sample(KINDS, len(KINDS))
    site = ""
    for number, kind in enumerate(kinds[:ROUNDS], start=1):
        site = draw.choice([each for each in HOSPITALS if each != site])
        schedule[number] = Disturbance(kind, site, draw.randint(1, WRITES_A_ROUND), draw.random() < HALF)
    return schedule


@dataclass
class Way:
    """How far a run is, for whoever disturbs it: this outlives the coordinator's process.

    Attributes:
        schedule: What is to go wrong.
        round: The one that is under way.
        happened: What did go wrong, by kind.
    """

    schedule: Schedule
    round: int = 1
    happened: Counter[str] = field(default_factory=Counter)

    def now(self, kind: Kind) -> Disturbance | None:
        """The round's disturbance, if it is of this kind."""
        found = self.schedule.get(self.round)
        return found if found is not None and found.kind == kind else None


class DisturbedGrid(FaultyGrid):
    """Hospitals with which in each round something goes wrong, as the schedule has it."""

    def __init__(self, sites: Iterable[Site], course: Way) -> None:
        super().__init__(list(sites))
        self._course = course
        self._updates: dict[
            str, str
        ] = {}  # the site that a message asks for an update, by the message's number

    def get_node_ids(self) -> Iterable[int]:
        away = self._course.now("away")
        if away is not None:
            self._course.happened["away"] += 1
        return [node for node, site in self.sites.items() if away is None or site.name != away.site]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        replies = list(super().pull_messages(message_ids))
        twice = self._course.now("twice")
        asked = [self._updates.get(reply.metadata.reply_to_message_id) for reply in replies]
        again = [reply for reply, site in zip(replies, asked, strict=True) if twice and site == twice.site]
        self._course.happened["twice"] += len(again)
        return [*replies, *again]

    def _push(self, message: Message) -> str:
        site = self.sites[message.metadata.dst_node_id]
        self.faults.clear()
        if message.metadata.message_type != MessageType.TRAIN:
            return super()._push(message)
        self._prepare(message, site)
        pushed = super()._push(message)
        self._updates[pushed] = site.name
        return pushed

    def _prepare(self, message: Message, site: Site) -> None:
        """Have happen to this site what is to happen to it in this round."""
        course, found = self._course, self._course.schedule.get(self._course.round)
        if found is None or found.site != site.name:
            return
        faults: dict[Kind, Fault] = {
            "silent": Faults.lost(),
            "nan": Faults.arrays(lambda arrays: {name: array * np.nan for name, array in arrays.items()}),
            "huge": Faults.arrays(
                lambda arrays: {name: (array * FACTOR).astype(array.dtype) for name, array in arrays.items()}
            ),
        }
        if found.kind in faults:
            self.faults[site.name] = faults[found.kind]
            course.happened[found.kind] += 1
        elif found.kind == "interrupted":
            with half_way(), pytest.raises(Interrupted):
                super()._push(message)  # the hospital's computer is restarted, and asked again
            course.happened["interrupted"] += 1


@contextmanager
def half_way() -> Iterator[None]:
    """Training is interrupted as soon as half of it is done."""

    def tell(done: float) -> None:
        if done >= HALF:
            INTERRUPTION.ask()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PROGRESS, "tell", tell)
        yield
    INTERRUPTION.asked = False


class DisturbedJournal:
    """A journal whose process is killed in the rounds of which the schedule says so, once in each."""

    def __init__(self, journal: DurableJournal, course: Way) -> None:
        self._journal, self._course, self._writes = journal, course, 0
        course.round = len(journal.finished()) + 1

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._journal, name)
        return self._disturbed(name, method) if name in WRITES else method

    def _disturbed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any) -> Any:
            self._writes = 1 if name == "begin" else self._writes + 1
            self._die(after=False)
            result = method(*arguments)
            self._die(after=True)
            if name == "finish":
                self._course.round += 1
            return result

        return write

    def _die(self, *, after: bool) -> None:
        found = self._course.now("killed")
        if found is None or (found.write, found.after) != (self._writes, after):
            return
        self._course.schedule = {
            number: each for number, each in self._course.schedule.items() if each is not found
        }
        self._course.happened["killed"] += 1
        raise Killed


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(
        {
            "study": {"name": "chest-xray", "labels": {"0": "normal", "1": "pneumonia"}},
            "data": {"min_test_cases": 1},
            "sequence": {"kind": "rows", "size": 64},
            "model": {"cell": "gru", "hidden": 48, "pooling": "mean"},
            "training": {"batch_size": 32, "learning_rate": 2e-3, "schedule": "cosine"},
            "federation": {
                "rounds": ROUNDS,
                "min_sites": 2,
                "average_last": 5,
                "evaluate_every": ROUNDS,
                "deadline_s": 2.0,
            },
        }
    )


@pytest.fixture
def sites(study: Study, data_folder: Path, tmp_path: Path) -> list[Site]:
    data = resolve(study, data_folder / "manifest_images.csv", where=(("dataset", "cxr"),))
    assert tuple(data.cases) == HOSPITALS
    return data.materialise(tmp_path, "cpu")


def conducted(study: Study, sites: list[Site], out: Path, schedule: Schedule) -> tuple[Way, dict[str, Any]]:
    """A whole run, and what its run.json says; the coordinator is started again whenever it was killed."""
    out.mkdir()
    course, plan = Way(schedule), RunPlan(study, SEED, out, "test", len(sites), 5.0)
    lasting = [replace(site, state=str(out / "state" / site.name)) for site in sites]
    while True:
        with Journal(out / "journal.db") as journal:
            disturbed = DisturbedJournal(journal.run("run", study, SEED, out), course)
            try:
                run_study(DisturbedGrid(lasting, course), plan, disturbed)
            except Killed:
                continue
        return course, json.loads((out / "run.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.fault(
    "a 30-round chest X-ray study in which each round has a fault",
    "it ends by itself, after 30 rounds, with a model within 0.01 AUROC of the undisturbed one",
)
def test_thirty_disturbed_rounds_are_as_good_as_undisturbed_ones(
    study: Study, sites: list[Site], tmp_path: Path
) -> None:
    schedule = drawn(SEED)
    quiet_course, quiet = conducted(study, sites, tmp_path / "quiet", {})
    course, disturbed = conducted(study, sites, tmp_path / "disturbed", schedule)
    aurocs = {
        name: run["final"]["pooled"]["auroc"] for name, run in (("quiet", quiet), ("disturbed", disturbed))
    }
    told = "\n".join(f"pooled AUROC, {name}: {auroc:.4f}" for name, auroc in aurocs.items())
    sys.stdout.write(f"{told}\nwhat went wrong: {dict(course.happened)}\n")

    assert quiet_course.happened == Counter() and set(course.happened) == set(KINDS)
    assert quiet["status"] == disturbed["status"] == "completed"
    assert [entry["round"] for entry in disturbed["rounds"]] == list(range(1, ROUNDS + 1))
    for number, entry in enumerate(disturbed["rounds"], start=1):
        fault = schedule[number]
        left_out = {fault.site} if fault.kind in COSTLY else set()
        assert set(entry["contributed"]) == set(HOSPITALS) - left_out, (number, fault, entry["missing"])
    assert digest_of(quiet) != digest_of(disturbed), "the faults did something"
    assert aurocs["quiet"] > 0.8, "the study has learned something"
    assert abs(aurocs["quiet"] - aurocs["disturbed"]) <= CLOSE


def digest_of(run: Mapping[str, Any]) -> str:
    """The last model's."""
    return str(run["rounds"][-1]["model_digest"])
