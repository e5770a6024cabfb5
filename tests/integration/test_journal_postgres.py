"""A journal on a PostgreSQL server: who is let in, who writes when, and what a server does that goes away."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url, text

from common.errors import (
    ConsiliumError,
    DatabaseUnavailable,
    ExtraMissing,
    HomeBusy,
    HomeInvalid,
    JournalTaken,
    OutputUnwritable,
)
from common.study import Study, parse_study
from server.checks.journal import journal as look
from server.journal import Journal, postgresql
from server.journal.database import SCHEMA
from server.journal.postgresql import Postgresql
from server.link.settings import CoordinatorSettings
from server.study_run import RunPlan, run_study
from tests.faults.conftest import Killed, MortalJournal
from tests.integration.postgres import OWNER, PASSWORD, Cluster, cluster, new_database
from tests.integration.test_journal import COURSE, update
from tests.unit.conftest import faults, grid_of, hospitals, make_study, site_of

__all__ = ["cluster", "faults", "grid_of", "hospitals", "make_study", "new_database", "site_of"]

SOON_MS = 500
COORDINATORS = 6


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study({"study": {"name": "kept", "labels": {"0": "left", "1": "right"}}})


@pytest.fixture
def url(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    with Journal(url) as opened:
        yield opened


def name_in(url: str) -> str:
    """The database that a URL names."""
    return str(make_url(url).database)


def all_of(error: BaseException) -> str:
    """Whatever a terminal, a log or run.json could show of an error."""
    shown = "".join(traceback.format_exception(error))
    return f"{shown}{error!r}{getattr(error, 'private', '')}{getattr(error, 'hint', '')}"


# Who is let in


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_url_needs_to_name_no_driver_and_its_password_is_never_shown(scheme: str) -> None:
    made = Postgresql(f"{scheme}://ada:{PASSWORD}@db.example.org:5433/journal?password={PASSWORD}")
    assert made.name == "postgresql://ada@db.example.org:5433/journal"
    assert made.reader.dialect.driver == "psycopg"


def test_what_the_url_says_of_the_connection_holds(url: str, tmp_path: Path) -> None:
    with Journal(f"{url}&application_name=ours") as journal, journal._database.reading() as connection:
        assert connection.scalar(text("SHOW application_name")) == "ours"


def test_without_its_library_a_person_is_told_how_to_install_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ExtraMissing) as caught:
        Journal(url)
    assert "pip install 'consilium[postgres]'" in caught.value.hint


@pytest.mark.parametrize(
    "address",
    [
        f"mysql://ada:{PASSWORD}@localhost/journal",
        f"postgresql+psycopg2://ada:{PASSWORD}@localhost/journal",
        f"postgresql://ada:{PASSWORD}@localhost:{PASSWORD}/journal",
        f"://{PASSWORD}@",
    ],
)
def test_a_url_that_is_none_is_refused_with_one_that_is(address: str) -> None:
    with pytest.raises(HomeInvalid) as caught:
        Journal(address)
    assert "postgresql://USER:PASSWORD@HOST" in caught.value.hint
    assert PASSWORD not in all_of(caught.value)


@pytest.mark.parametrize("wrong", ["password", "user", "database", "host"])
def test_who_is_not_let_in_is_told_where_to_look(
    wrong: str, cluster: Cluster, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = f"postgresql://{OWNER}:{PASSWORD}@localhost:1/journal"
    address = {
        "password": url.replace(PASSWORD, f"{PASSWORD}r"),
        "user": url.replace(OWNER, "bob"),
        "database": cluster.url("nowhere"),
        "host": other,
    }[wrong]
    with pytest.raises(DatabaseUnavailable) as caught:
        Journal(address)
    assert "coordinator.toml" in caught.value.hint and "database" in caught.value.hint
    assert PASSWORD not in all_of(caught.value) + caplog.text


def test_the_tables_of_another_program_are_left_as_they_are(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE run (kilometres integer)")
    with pytest.raises(HomeInvalid, match="not a journal"):
        Journal(url)
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert found == (1,), "all tables are made, or none"


def test_a_journal_of_a_later_release_is_left_as_it_is(url: str) -> None:
    Journal(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(HomeInvalid, match="later release"):
        Journal(url)


def test_a_user_who_may_make_no_tables_is_told_so(cluster: Cluster, url: str) -> None:
    name = sql.Identifier(f"reader_{name_in(url)}")
    cluster.say(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(PASSWORD)))
    with pytest.raises(OutputUnwritable) as caught:
        Journal(url.replace(f"//{OWNER}:", f"//{name.as_string()[1:-1]}:"))
    assert "must own the database" in caught.value.hint


def test_a_check_of_the_coordinator_looks_at_it(
    cluster: Cluster, url: str, study: Study, tmp_path: Path
) -> None:
    def looked(address: str) -> str:
        here = {"name": "council", "address": "localhost:8443", "listen": "localhost:8443"}
        return look(tmp_path, CoordinatorSettings(**here, journal=address)).said

    assert "first start" in looked("")
    with Journal(url) as journal:
        journal.run("run", study, 0, tmp_path)
    assert looked(url) == f"{Postgresql(url).name} opens; 1 studies under way"
    with pytest.raises(DatabaseUnavailable):
        looked(cluster.url("nowhere"))


# Who writes when


def at_once(act: Callable[[int], Any]) -> list[Any]:
    """What ``act`` gives or raises for each of some coordinators that all begin at the same moment."""
    ready = threading.Barrier(COORDINATORS)

    def begin(number: int) -> Any:
        ready.wait()
        try:
            return act(number)
        except ConsiliumError as error:
            return error

    with ThreadPoolExecutor(COORDINATORS) as pool:
        return list(pool.map(begin, range(COORDINATORS)))


def test_the_tables_are_made_once_whoever_else_tries(url: str) -> None:
    opened = at_once(lambda number: Journal(url))
    assert all(isinstance(each, Journal) for each in opened)
    for each in opened:
        each.close()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]


def test_of_all_who_take_a_run_at_once_the_last_one_writes(
    url: str, study: Study, tmp_path: Path, journal: Journal
) -> None:
    with ExitStack() as stack:
        opened = [stack.enter_context(Journal(url)) for _ in range(COORDINATORS)]
        mine = at_once(lambda number: opened[number].run("run", study, 0, tmp_path))
        wrote = at_once(lambda number: mine[number].begin(COURSE))
    assert wrote.count(None) == 1, "one coordinator conducts a run"
    assert {type(each) for each in wrote} == {type(None), JournalTaken}
    state = journal.state("run")
    assert state is not None and state.course == COURSE


def test_a_run_that_is_taken_over_again_and_again_keeps_all_that_it_was_told_it_keeps(
    url: str, study: Study, tmp_path: Path
) -> None:
    """Nobody is shown a failure of the database's turns: a write counts, or another has the run."""
    with Journal(url) as first:
        first.run("run", study, 0, tmp_path).begin(COURSE)

    def conduct(number: int) -> list[str]:
        told: list[str] = []
        with Journal(url) as opened:
            for attempt in range(6):
                mine = opened.run("run", study, 0, tmp_path)
                try:
                    for step in range(4):
                        site = f"site-{number}-{attempt}-{step}"
                        mine.refuse(1, "train", site, "late")
                        told.append(site)
                        opened.readmit("run", site, "Ada")
                except JournalTaken:
                    continue
        return told

    found = at_once(conduct)
    assert [each for each in found if isinstance(each, ConsiliumError)] == []
    with Journal(url) as after:
        kept = after.run("run", study, 0, tmp_path)
        assert sorted(kept.refused(1, "train")) == sorted(site for told in found for site in told)
        numbers = [number for number, _ in kept.readmitted()]
        assert numbers == sorted(set(numbers)) and len(numbers) == len(kept.refused(1, "train"))


def test_two_runs_do_not_wait_for_each_other(url: str, study: Study, tmp_path: Path) -> None:
    with Journal(url) as one, Journal(url) as other:
        first, second = one.run("one", study, 0, tmp_path), other.run("other", study, 0, tmp_path)
        with first._writing():
            second.begin(COURSE)
        assert second.course() == COURSE


def test_a_look_at_a_run_is_of_one_moment(url: str, study: Study, tmp_path: Path, journal: Journal) -> None:
    mine = journal.run("run", study, 0, tmp_path)
    query = text("SELECT count(*) FROM round")
    with Journal(url) as reader, reader._database.reading() as connection:
        before = connection.scalar(query)
        mine.begin(COURSE)
        assert connection.scalar(query) == before == 0
    with Journal(url) as reader, reader._database.reading() as connection:
        assert connection.scalar(query) == 1


def test_what_counts_is_on_the_disk_whatever_the_server_is_set_to(cluster: Cluster, url: str) -> None:
    name = sql.Identifier(name_in(url))
    cluster.say(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
    with Journal(url) as journal, journal._database.reading() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"


# What goes away


def test_a_coordinator_that_stands_still_loses_its_turn(
    url: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "IDLE_MS", SOON_MS)
    with Journal(url) as still, Journal(url) as other:
        mine = still.run("run", study, 0, tmp_path)
        with pytest.raises(DatabaseUnavailable), mine._writing() as connection:
            connection.execute(text("SELECT 1"))
            theirs = other.run("run", study, 0, tmp_path)  # waits until the server has ended the first one
            connection.execute(text("SELECT 1"))
        theirs.begin(COURSE)
        with pytest.raises(JournalTaken):
            mine.begin(COURSE)


def test_who_waits_too_long_for_its_turn_is_told_who_is_in_the_way(
    url: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "LOCK_MS", SOON_MS)
    with Journal(url) as first, Journal(url) as other:
        mine = first.run("run", study, 0, tmp_path)
        with mine._writing(), pytest.raises(HomeBusy) as caught:
            other.run("run", study, 0, tmp_path)
        assert "stop the other" in caught.value.hint


def test_a_server_that_goes_away_loses_nothing(
    cluster: Cluster, url: str, study: Study, tmp_path: Path
) -> None:
    with Journal(url) as journal:
        mine = journal.run("run", study, 0, tmp_path)
        mine.begin(COURSE)
        mine.keep(update("alder"))
        try:
            with pytest.raises(DatabaseUnavailable) as within, mine._writing() as connection:
                cluster.stop()
                connection.execute(text("SELECT 1"))
            with pytest.raises(DatabaseUnavailable) as outside:
                mine.keep(update("birch"))
        finally:
            cluster.stop()
            cluster.start()
        for error in (within.value, outside.value):
            assert "Nothing is lost" in error.hint and "coordinator" in error.hint
            assert PASSWORD not in all_of(error)
        assert list(mine.kept(1)) == ["alder"], "the same journal finds its server again"
        mine.keep(update("birch"))
        assert mine.contributed(1) == ("alder", "birch")


@pytest.mark.parametrize("write", [1, 4, 6, 9, 11])
def test_a_study_goes_on_to_the_same_model_whatever_write_killed_it(
    write: int,
    url: str,
    make_study: Callable[..., Study],
    grid_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    study = make_study(federation={"strategy": {"name": "fedadam"}, "rounds": 2})

    def conducted(name: str, dies_at: int = 0) -> None:
        plan = RunPlan(study, 0, tmp_path / name, "test", 4, 5.0)
        plan.out.mkdir(exist_ok=True)
        with Journal(url) as journal:
            run_study(grid_of(), plan, MortalJournal(journal.run(name, study, 0, plan.out), dies_at))

    conducted("whole")
    with pytest.raises(Killed):
        conducted("cut", write)
    conducted("cut")
    model = (tmp_path / "cut/model.safetensors").read_bytes()
    assert model == (tmp_path / "whole/model.safetensors").read_bytes()
