"""All journals keep the same course of a run; the durable ones for any process, and for one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import JournalTaken, StudyUnknown, WeightsDamaged
from common.metrics import ClassificationSums
from common.study import Study, parse_study
from common.tasks import Evaluation
from common.update import Contribution
from common.weights import digest
from server.journal import Course, FleetingJournal, Journal, RunJournal
from tests.integration.postgres import cluster, new_database

__all__ = ["cluster", "new_database"]

DELTA = {"b": np.arange(4, dtype=np.float32), "a": np.full((2, 3), 0.5, dtype=np.float32)}
COURSE = Course(1, "0" * 64, ("alder", "birch"), 1e9)


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study({"study": {"name": "kept", "labels": {"0": "left", "1": "right"}}})


def place_of(kind: str, request: pytest.FixtureRequest) -> Path | str:
    """Where a journal of this kind is kept."""
    if kind == "postgres":
        return str(request.getfixturevalue("new_database")())
    return Path(request.getfixturevalue("tmp_path")) / "journal.db"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Path | str:
    return place_of(request.param, request)


@pytest.fixture
def database(place: Path | str) -> Iterator[Journal]:
    with Journal(place) as journal:
        yield journal


@pytest.fixture(params=["fleeting", "sqlite", "postgres"])
def journal(request: pytest.FixtureRequest, study: Study, tmp_path: Path) -> Iterator[RunJournal]:
    if request.param == "fleeting":
        yield FleetingJournal()
        return
    with Journal(place_of(request.param, request)) as database:
        yield database.run("run", study, 0, tmp_path)


def update(site: str, **about: Any) -> Contribution:
    return Contribution(
        **{"site": site, "round": 1, "base_digest": "0" * 64, "delta": DELTA, "cases": 3, **about}
    )


def counts(site: str) -> Evaluation:
    scores, labels = np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 0])
    return Evaluation(site, 1, "1" * 64, ClassificationSums.count(scores, labels, keep_scores=True))


def test_nothing_is_known_of_a_run_that_has_not_begun(journal: RunJournal) -> None:
    assert (journal.finished(), journal.course(), journal.known(), dict(journal.memory())) == (
        [],
        None,
        {},
        {},
    )


def test_the_course_of_a_round(journal: RunJournal) -> None:
    journal.begin(COURSE)
    assert journal.course() == COURSE
    journal.refuse(1, "train", "birch", "no-reply")
    kept = journal.keep(update("birch", loss=0.5, ledger_head=f"3:{'a' * 64}"))
    journal.keep(update("alder", loss=0.25))
    assert digest(kept.delta) == digest(DELTA)
    assert journal.refused(1, "train") == {}, "who has contributed in the end did not refuse"
    found = journal.kept(1)
    assert journal.contributed(1) == tuple(found)
    assert list(found) == ["alder", "birch"] and found["birch"].ledger_head == f"3:{'a' * 64}"
    assert all(np.array_equal(found["alder"].delta[name], DELTA[name]) for name in DELTA)
    journal.trained(1, "2" * 64, {"gate": "..."}, {"m_t/a": DELTA["a"]})
    course = journal.course()
    assert course is not None and course.model_digest == "2" * 64
    assert journal.known() == {"gate": "..."} and np.array_equal(journal.memory()["m_t/a"], DELTA["a"])
    journal.count(counts("birch"))
    assert journal.counted(1)["birch"].sums.n == 2
    journal.finish(1, {"round": {"round": 1}})
    assert journal.finished() == [{"round": {"round": 1}}] and journal.course() is None
    assert journal.known() == {"gate": "..."}, "the next round goes on from it"
    journal.end("completed")


def test_a_late_update_is_of_the_round_in_which_it_counts(journal: RunJournal) -> None:
    journal.begin(COURSE)
    journal.refuse(1, "train", "birch", "late: the round closed with 1 updates")
    journal.trained(1, "2" * 64, {}, {})
    journal.finish(1, {"round": {"round": 1}})
    journal.begin(replace(COURSE, number=2, base_digest="2" * 64, asked=("alder",)))
    journal.refuse(2, "train", "birch", "late: still at round 1")
    journal.refuse(2, "late", "cedar", "late: the update of round 1 came in round 2")
    assert not journal.has_update("birch", 1)
    journal.keep(update("birch"), 2)
    assert journal.has_update("birch", 1) and not journal.has_update("birch", 2)
    assert journal.contributed(2) == ("birch",) and journal.kept(2)["birch"].round == 1
    assert journal.refused(2, "train") == {} and list(journal.refused(2, "late")) == ["cedar"]
    assert (journal.base(1), journal.base(2), journal.base(3)) == ("0" * 64, "2" * 64, "")


def test_doing_it_again_changes_nothing(journal: RunJournal) -> None:
    journal.begin(COURSE)
    for _ in range(2):
        journal.keep(update("alder"))
        journal.refuse(1, "train", "birch", "late")
        journal.count(counts("alder"))
    assert list(journal.kept(1)) == list(journal.counted(1)) == ["alder"]
    assert journal.refused(1, "train") == {"birch": "late"}


def test_another_process_finds_all_of_it(
    database: Journal, place: Path | str, study: Study, tmp_path: Path
) -> None:
    first = database.run("run", study, 0, tmp_path, {"sites": 2})
    first.begin(COURSE)
    first.keep(update("alder"))
    first.refuse(1, "train", "birch", "no-reply: gone")
    assert database.unended() == {"run": {"sites": 2}}
    with Journal(place) as reopened:
        again = reopened.run("run", study, 0, tmp_path)
        assert again.course() == COURSE and list(again.kept(1)) == ["alder"]
        state = reopened.state("run")
        assert state is not None and (state.contributed, list(state.refused)) == (("alder",), ["birch"])
        again.end("completed")
        assert reopened.unended() == {}


@pytest.mark.parametrize(
    "write",
    [
        lambda j: j.begin(COURSE),
        lambda j: j.keep(update("alder")),
        lambda j: j.refuse(1, "train", "alder", "late"),
        lambda j: j.trained(1, "2" * 64, {}, {}),
        lambda j: j.count(counts("alder")),
        lambda j: j.finish(1, {}),
        lambda j: j.end("completed"),
    ],
)
def test_who_was_taken_over_from_writes_nothing_more(
    write: Callable[[RunJournal], object], database: Journal, study: Study, tmp_path: Path
) -> None:
    first = database.run("run", study, 0, tmp_path)
    database.run("run", study, 0, tmp_path)
    with pytest.raises(JournalTaken):
        write(first)
    assert database.state("run").course is None  # type: ignore[union-attr]


def test_a_run_of_another_study_or_seed_is_not_gone_on_with(
    database: Journal, study: Study, tmp_path: Path
) -> None:
    database.run("run", study, 0, tmp_path)
    with pytest.raises(JournalTaken):
        database.run("run", study, 1, tmp_path)


def test_an_update_that_was_spoilt_on_the_disk_is_not_used(
    database: Journal, study: Study, tmp_path: Path
) -> None:
    journal = database.run("run", study, 0, tmp_path)
    journal.begin(COURSE)
    journal.keep(update("alder"))
    (path,) = tmp_path.rglob("alder.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsDamaged):
        journal.kept(1)


def test_sites_come_in_the_order_in_which_updates_are_combined(
    database: Journal, study: Study, tmp_path: Path
) -> None:
    """A server of another language sorts "b-1" behind "b0", and "B" behind "b"."""
    sites = ["b0", "b-1", "b", "B", "a"]
    journal = database.run("run", study, 0, tmp_path)
    journal.begin(COURSE)
    for site in sites:
        journal.keep(update(site))
        journal.count(counts(site))
    assert (
        journal.contributed(1) == tuple(journal.kept(1)) == tuple(journal.counted(1)) == tuple(sorted(sites))
    )
    for site in sites:
        journal.refuse(1, "train", site, "late")
    state = database.state("run")
    assert state is not None
    assert list(journal.refused(1, "train")) == list(state.refused) == sorted(sites)
    assert state.contributed == tuple(sorted(sites))


def test_what_a_site_says_cannot_stop_the_journal(database: Journal, study: Study, tmp_path: Path) -> None:
    journal = database.run("run", study, 0, tmp_path)
    journal.begin(COURSE)
    journal.refuse(1, "train", "alder", "a\0b'); DROP TABLE run; --")
    assert journal.refused(1, "train") == {"alder": "a\N{REPLACEMENT CHARACTER}b'); DROP TABLE run; --"}


def test_only_a_run_that_goes_on_can_be_come_back_into(
    database: Journal, study: Study, tmp_path: Path
) -> None:
    journal = database.run("run", study, 0, tmp_path)
    database.readmit("run", "alder", "Ada")
    assert journal.readmitted() == [(1, "alder")]
    journal.end("completed")
    with pytest.raises(StudyUnknown):
        database.readmit("run", "alder", "Ada")
