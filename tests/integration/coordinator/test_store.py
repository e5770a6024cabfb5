"""The store: tasks end once, answers are stored once, and nothing is forgotten."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DiskFull, HomeInvalid, OutputUnwritable, SiteUninvited
from common.link.envelope import Sealed
from server.link.store import OPEN, LinkStore, Reception, State, Task

NEVER = 10**15
IDS = ("a", "b", "c")
A, B = Sealed(b"first", b"s"), Sealed(b"second", b"s")


def states(store: LinkStore, *ids: str) -> list[State]:
    return [task.state for task in store.tasks.of_ids(ids)]


@pytest.fixture
def queued(store: LinkStore, desk: Any, task: Callable[..., Task]) -> LinkStore:
    """Sites 1 and 2; site 1 is asked a, b and c."""
    desk.join("north")
    desk.join("south")
    store.tasks.queue(task(each) for each in IDS)
    return store


def test_a_task_lives_from_queue_to_answer(queued: LinkStore) -> None:
    assert queued.tasks.offered("a")
    assert states(queued, "a") == ["offered"]
    assert queued.tasks.taken("a", 1)
    assert states(queued, "a") == ["taken"]
    assert queued.tasks.answer("a", 1, A, 0) is Reception.stored
    (ended,) = queued.tasks.ended(IDS)
    assert (ended.id, ended.state, ended.reply, ended.reply_digest) == ("a", "answered", A, A.digest)
    assert not ended.is_open


def test_open_tasks_of_a_site_come_in_the_order_they_were_queued(
    queued: LinkStore, task: Callable[..., Task]
) -> None:
    queued.tasks.queue([task("0"), task("other", 2), task("late", deadline_ms=5)])
    queued.tasks.taken("b", 1)
    queued.tasks.cancel(["c"], "round-over")
    assert [each.id for each in queued.tasks.open_tasks(1, 5)] == ["a", "b", "0"]
    assert [each.id for each in queued.tasks.open_tasks(2, 5)] == ["other"]


def test_an_offer_or_a_taking_never_goes_back(queued: LinkStore) -> None:
    assert queued.tasks.taken("a", 1)
    assert queued.tasks.offered("a")  # offered again after a reconnection; it is being worked on all the same
    assert queued.tasks.taken("a", 1)
    assert states(queued, "a") == ["taken"]
    queued.tasks.cancel(["a"], "round-over")
    assert not queued.tasks.offered("a")
    assert not queued.tasks.taken("a", 1)
    assert states(queued, "a") == ["cancelled"]


def test_the_same_answer_is_received_again_and_another_one_never(queued: LinkStore) -> None:
    assert queued.tasks.answer("a", 1, A, 0) is Reception.stored
    for _ in range(2):
        assert queued.tasks.answer("a", 1, A, NEVER) is Reception.again
        assert queued.tasks.answer("a", 1, B, 0) is Reception.differs
    queued.tasks.collect(["a"])
    assert queued.tasks.answer("a", 1, A, 0) is Reception.again
    assert queued.tasks.answer("a", 1, B, 0) is Reception.differs


def test_a_site_answers_its_own_tasks_only(queued: LinkStore) -> None:
    assert queued.tasks.answer("a", 2, A, 0) is Reception.unknown
    assert queued.tasks.answer("nothing", 1, A, 0) is Reception.unknown
    assert not queued.tasks.taken("a", 2)
    assert not queued.tasks.taken("nothing", 1)
    assert states(queued, "a") == ["queued"]


def test_an_answer_after_the_end_is_late(queued: LinkStore) -> None:
    assert [each.reason for each in queued.tasks.cancel(["a"], "round-over")] == ["round-over"]
    assert queued.tasks.answer("a", 1, A, 0) is Reception.late
    assert queued.tasks.answer("b", 1, A, 1_000) is Reception.late  # nobody had looked at its deadline before
    assert states(queued, "a", "b") == ["cancelled", "expired"]
    assert queued.tasks.answer("b", 1, A, 0) is Reception.late


def test_what_ended_is_neither_cancelled_nor_expired_again(queued: LinkStore) -> None:
    queued.tasks.answer("a", 1, A, 0)
    assert [each.id for each in queued.tasks.cancel(["a", "b"], "first")] == ["b"]
    assert queued.tasks.cancel(["a", "b"], "second") == []
    assert [each.id for each in queued.tasks.expire(1_000)] == ["c"]
    assert queued.tasks.expire(1_000) == []
    assert [each.reason for each in queued.tasks.of_ids(IDS)] == ["", "first", ""]


def test_what_was_collected_leaves_its_digest_only(queued: LinkStore) -> None:
    queued.tasks.answer("a", 1, A, 0)
    queued.tasks.collect(IDS)
    (a, b, _) = queued.tasks.of_ids(IDS)
    assert (a.state, a.reply, a.envelope.body, a.reply_digest) == ("answered", None, b"", A.digest)
    assert b.envelope.body == b"do b"  # still open, so not let go of
    assert queued.tasks.ended(IDS) == []


def test_a_task_that_is_queued_twice_is_there_once(queued: LinkStore, task: Callable[..., Task]) -> None:
    queued.tasks.answer("a", 1, A, 0)
    queued.tasks.queue([task("a"), task("new")])
    assert states(queued, "a", "new") == ["answered", "queued"]
    with pytest.raises(ValueError, match="same id"):
        queued.tasks.queue([task("newer"), task("a", body=b"something else")])
    assert states(queued, "newer") == []


def test_threads_that_answer_at_once_store_one_answer(queued: LinkStore) -> None:
    start = Barrier(8)

    def answer(number: int) -> Reception:
        start.wait()
        return queued.tasks.answer("a", 1, Sealed(b"%d" % (number % 4), b"s"), 0)

    with ThreadPoolExecutor(8) as pool:
        received = list(pool.map(answer, range(8)))
    winner = received.index(Reception.stored)
    assert received.count(Reception.stored) == 1
    assert [each is not Reception.differs for each in received] == [n % 4 == winner % 4 for n in range(8)]
    (a,) = queued.tasks.of_ids(["a"])
    assert a.reply == Sealed(b"%d" % (winner % 4), b"s")


def test_an_answer_and_a_cancellation_at_once_agree_on_the_end(queued: LinkStore) -> None:
    start = Barrier(2)

    def answer(each: str) -> bool:
        start.wait()
        return queued.tasks.answer(each, 1, A, 0) is Reception.stored

    def cancel(each: str) -> bool:
        start.wait()
        return bool(queued.tasks.cancel([each], "round-over"))

    with ThreadPoolExecutor(2) as pool:
        for each in IDS:
            stored, cancelled = pool.submit(answer, each), pool.submit(cancel, each)
            assert stored.result() != cancelled.result()
            assert states(queued, each) == ["answered" if stored.result() else "cancelled"]


def test_two_processes_that_answer_at_once_store_one_answer(
    queued: LinkStore, home: Any, task: Callable[..., Task]
) -> None:
    """Each has a connection of its own, and neither knows of the other's threads."""
    names = [f"task {number}" for number in range(20)]
    queued.tasks.queue(task(name) for name in names)
    other, start = LinkStore(home.folder / "link.db"), Barrier(2)

    def answer(each: tuple[LinkStore, Sealed]) -> list[Reception]:
        start.wait()
        return [each[0].tasks.answer(name, 1, each[1], 0) for name in names]

    with ThreadPoolExecutor(2) as pool:
        received = list(pool.map(answer, [(queued, A), (other, B)]))
    other.close()
    assert [set(pair) for pair in zip(*received, strict=True)] == [{Reception.stored, Reception.differs}] * 20


def test_two_processes_see_the_same(queued: LinkStore, home: Any, clock: Any) -> None:
    """As `coordinator revoke` beside a running coordinator."""
    other = LinkStore(home.folder / "link.db")
    assert other.members.revoke("north", clock())
    other.close()
    assert queued.members.site("north").revoked_at  # type: ignore[union-attr]
    assert [(each.state, each.reason) for each in queued.tasks.ended(IDS)] == [
        ("cancelled", "site-revoked")
    ] * 3


def test_a_revocation_leaves_answers_and_other_sites_alone(
    queued: LinkStore, task: Callable[..., Task], clock: Any
) -> None:
    queued.tasks.queue([task("other", 2)])
    queued.tasks.answer("a", 1, A, 0)
    assert queued.members.revoke("north", clock())
    assert not queued.members.revoke("north", clock())
    assert states(queued, *IDS, "other") == ["answered", "cancelled", "cancelled", "queued"]
    with pytest.raises(SiteUninvited):
        queued.members.revoke("nowhere", clock())


def test_a_killed_coordinator_finds_what_it_had_stored(queued: LinkStore, home: Any, tmp_path: Path) -> None:
    """The files as they are while the database is open: what a kill would leave."""
    queued.tasks.answer("b", 1, A, 0)
    for file in home.folder.glob("link.db*"):
        shutil.copy(file, tmp_path)
    left = LinkStore(tmp_path / "link.db")
    assert left.tasks.of_ids(IDS) == queued.tasks.of_ids(IDS)
    assert left.members.sites() == queued.members.sites()
    assert left.members.invitations() == queued.members.invitations()
    left.close()


@dataclass
class Model:
    """What a store must say, without one."""

    tasks: dict[str, Task] = field(default_factory=dict)
    collected: set[str] = field(default_factory=set)

    def end(self, task_id: str, **changes: Any) -> None:
        self.tasks[task_id] = replace(self.tasks[task_id], **changes)

    def answer(self, task_id: str, reply: Sealed, now_ms: int) -> Reception:
        task = self.tasks.get(task_id)
        if task is None:
            return Reception.unknown
        if task.state == "answered":
            return Reception.again if task.reply_digest == reply.digest else Reception.differs
        if task.state not in OPEN:
            return Reception.late
        if task.deadline_ms <= now_ms:
            self.end(task_id, state="expired")
            return Reception.late
        self.end(task_id, state="answered", reply=reply, reply_digest=reply.digest)
        return Reception.stored

    def advance(self, task_id: str, before: tuple[str, ...], after: State) -> bool:
        task = self.tasks.get(task_id)
        if task is None or task.state not in OPEN:
            return False
        if task.state in before:
            self.end(task_id, state=after)
        return True

    def finish(self, ids: list[str], state: State, reason: str) -> list[str]:
        for each in ids:
            self.end(each, state=state, reason=reason)
        return ids

    def open(self, chosen: str | None = None, now_ms: int = NEVER) -> list[str]:
        live = [t for t in self.tasks.values() if t.state in OPEN and chosen in (None, t.id)]
        return [t.id for t in live if t.deadline_ms <= now_ms]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["queue", "offered", "taken", "answer", "cancel", "expire", "collect", "reopen"]),
            st.sampled_from(IDS),
            st.sampled_from([A, B]),
            st.sampled_from([0, 1_500, 2_500]),
        ),
        max_size=20,
    )
)
@settings(max_examples=20)
def test_any_history_ends_as_the_rules_say(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, str, Sealed, int]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "link.db"
    store, model = LinkStore(path), Model()
    with sqlite3.connect(path) as direct:
        direct.execute("INSERT INTO site (node_id, name, enrolled) VALUES (1, 'north', '')")
    direct.close()
    for action, task_id, reply, now_ms in history:
        match action:
            case "queue":
                deadline_ms = {"a": 1_000, "b": 2_000, "c": 3_000}[task_id]
                new = Task(task_id, 1, "train", "1", deadline_ms, Sealed(task_id.encode(), b"s"))
                store.tasks.queue([new])
                model.tasks.setdefault(task_id, new)
            case "offered":
                said = store.tasks.offered(task_id)
                assert said == model.advance(task_id, ("queued",), "offered")
            case "taken":
                said = store.tasks.taken(task_id, 1)
                assert said == model.advance(task_id, ("queued", "offered"), "taken")
            case "answer":
                assert store.tasks.answer(task_id, 1, reply, now_ms) is model.answer(task_id, reply, now_ms)
            case "cancel":
                ended = [each.id for each in store.tasks.cancel([task_id], "over")]
                assert ended == model.finish(model.open(task_id), "cancelled", "over")
            case "expire":
                ended = [each.id for each in store.tasks.expire(now_ms)]
                assert ended == model.finish(model.open(now_ms=now_ms), "expired", "")
            case "collect":
                store.tasks.collect([task_id])
                if task_id in model.tasks and not model.tasks[task_id].is_open:
                    model.collected.add(task_id)
                    model.end(task_id, reply=None, envelope=Sealed(b"", b""))
            case "reopen":
                store.close()
                store = LinkStore(path)
        assert store.tasks.of_ids(IDS) == list(model.tasks.values())
    ended = [each.id for each in store.tasks.ended(IDS)]
    assert ended == [
        each for each, task in model.tasks.items() if not task.is_open and each not in model.collected
    ]
    store.close()


def test_a_url_names_a_database_too(tmp_path: Path) -> None:
    store = LinkStore(f"sqlite:///{tmp_path}/other.db")
    assert store.members.sites() == []
    store.close()
    assert (tmp_path / "other.db").is_file()


@pytest.mark.parametrize("content", [b"no database at all " * 100, None])
def test_a_file_that_is_no_store_of_this_release_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "link.db"
    if content is None:
        LinkStore(path).close()
        with sqlite3.connect(path) as direct:
            direct.execute("UPDATE alembic_version SET version_num = '9999'")
        direct.close()
    else:
        path.write_bytes(content)
    with pytest.raises(HomeInvalid) as refused:
        LinkStore(path)
    assert "link.db" in refused.value.hint
    assert content is None or path.read_bytes() == content


def test_a_file_of_other_tables_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "link.db") as direct:
        direct.execute("CREATE TABLE alembic_version (something_else TEXT)")
    direct.close()
    with pytest.raises(HomeInvalid):
        LinkStore(tmp_path / "link.db")


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputUnwritable):
        LinkStore(tmp_path / "missing" / "link.db")


def test_a_full_disk_changes_nothing(queued: LinkStore, home: Any, task: Callable[..., Task]) -> None:
    with sqlite3.connect(home.folder / "link.db") as direct:
        pages = direct.execute("PRAGMA page_count").fetchone()[0]
    direct.close()
    small = LinkStore(home.folder / "link.db")
    # A limit of one connection; the pool hands out the same one as long as one thread asks.
    with small._database.reading() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFull):
        small.tasks.queue([task("small"), task("large", body=b"x" * 10**6)])
    assert states(small, "small", "large") == []
    small.close()
