"""The outbox: what was put in stays, whole and in order, whenever the process is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import client.link.outbox
from client.link.outbox import Outbox
from common.errors import BlobRefused, ConsiliumError, EnvelopeRefused, HomeInvalid
from common.link.blobs import digest_of
from common.link.envelope import Sealed
from tests.unit.site_link.outboxes import put_out

TASKS = [f"{number:032x}" for number in range(4)]
DIGEST = "d" * 64


class Killed(BaseException):
    """The process is gone."""


def reply(number: int) -> Sealed:
    return Sealed(b'{"reply":%d}' % number, b"signature")


def weights(*numbers: int) -> dict[str, list[bytes]]:
    return {digest_of([b"%d" % number]): [b"%d" % number] for number in numbers}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut in these tests."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


def again(outbox: Outbox) -> Outbox:
    return Outbox(outbox.blobs.folder.parent)


def test_a_reply_is_there_after_a_restart(outbox: Outbox) -> None:
    put_out(outbox, TASKS[0], reply(0), weights(1, 2))
    (held,) = again(outbox).held()
    assert (held.task, held.sealed, set(held.blobs)) == (TASKS[0], reply(0), set(weights(1, 2)))
    assert all(
        bytes(again(outbox).blobs.read(digest)) == b"".join(pieces)
        for digest, pieces in weights(1, 2).items()
    )


def test_replies_keep_their_order(outbox: Outbox) -> None:
    for number, task in enumerate(reversed(TASKS)):
        put_out(outbox, task, reply(number), {})
    outbox.remove(TASKS[3], reply(0).digest)
    outbox = again(outbox)
    put_out(outbox, TASKS[3], reply(9), {})
    assert [held.task for held in again(outbox).held()] == [TASKS[2], TASKS[1], TASKS[0], TASKS[3]]


def test_only_the_right_digest_removes_a_reply(outbox: Outbox) -> None:
    put_out(outbox, TASKS[0], reply(0), weights(1))
    assert not outbox.remove(TASKS[0], reply(1).digest)
    assert not outbox.remove(TASKS[1], reply(0).digest)
    assert again(outbox).holds(TASKS[0])
    assert outbox.remove(TASKS[0], reply(0).digest)
    assert not outbox.remove(TASKS[0], reply(0).digest)
    assert again(outbox).held() == ()
    assert not any(outbox.blobs.has(digest) for digest in weights(1))


def test_weights_that_another_reply_names_stay(outbox: Outbox) -> None:
    put_out(outbox, TASKS[0], reply(0), weights(1, 2))
    put_out(outbox, TASKS[1], reply(1), weights(2, 3))
    outbox.remove(TASKS[0], reply(0).digest)
    assert [outbox.blobs.has(digest) for digest in weights(1, 2, 3)] == [False, True, True]


def test_a_task_is_answered_once(outbox: Outbox) -> None:
    put_out(outbox, TASKS[0], reply(0), {})
    with pytest.raises(EnvelopeRefused):
        put_out(again(outbox), TASKS[0], reply(1), {})
    assert [held.sealed for held in outbox.held()] == [reply(0)]


def test_a_task_is_expected_until_it_is_answered(outbox: Outbox) -> None:
    outbox.expect(TASKS[0], DIGEST)
    assert again(outbox).expected(TASKS[0]) == DIGEST
    put_out(outbox, TASKS[0], reply(0), {})
    assert again(outbox).expected(TASKS[0]) is None
    outbox.remove(TASKS[0], reply(0).digest)
    assert again(outbox).expected(TASKS[0]) is None


def test_a_task_is_expected_until_it_is_given_up(outbox: Outbox) -> None:
    outbox.expect(TASKS[0], DIGEST)
    outbox.forget(TASKS[0])
    outbox.forget(TASKS[0])
    assert again(outbox).expected(TASKS[0]) is None


@pytest.mark.parametrize("name", ["", "../../key.pem", "A" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n"])
def test_no_name_leads_out_of_the_folder(name: str, outbox: Outbox) -> None:
    tries: list[Callable[[], Any]] = [
        lambda: put_out(outbox, name, reply(0), {}),
        lambda: outbox.expect(name, DIGEST),
        lambda: outbox.forget(name),
    ]
    for attempt in tries:
        with pytest.raises(EnvelopeRefused):
            attempt()
    assert outbox.expected(name) is None
    assert not outbox.remove(name, DIGEST)


def test_no_room_for_the_weights(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, limit_bytes=10)
    big = {digest_of([b"x" * 11]): [b"x" * 11]}
    with pytest.raises(BlobRefused):
        put_out(outbox, TASKS[0], reply(0), big)
    assert again(outbox).held() == ()


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b'{"blobs":[]', b"\xff"])
def test_a_damaged_reply_is_named_and_kept(line: bytes, outbox: Outbox) -> None:
    put_out(outbox, TASKS[0], reply(0), weights(1))
    path = outbox.blobs.folder.parent / "replies" / TASKS[0]
    path.write_bytes(line)
    with pytest.raises(HomeInvalid, match=TASKS[0]):
        again(outbox)
    assert path.exists()
    assert all(outbox.blobs.has(digest) for digest in weights(1))


def test_a_reply_under_another_name_is_noticed(outbox: Outbox) -> None:
    put_out(outbox, TASKS[0], reply(0), {})
    replies = outbox.blobs.folder.parent / "replies"
    (replies / TASKS[0]).rename(replies / TASKS[1])
    with pytest.raises(HomeInvalid, match="another task"):
        again(outbox)


def test_old_replies_are_given_up(outbox: Outbox) -> None:
    put_out(outbox, TASKS[0], reply(0), weights(1))
    outbox.expect(TASKS[1], DIGEST)
    put_out(outbox, TASKS[2], reply(2), weights(2))
    folder = outbox.blobs.folder.parent
    for old in (folder / "replies" / TASKS[0], folder / "expected" / TASKS[1]):
        os.utime(old, (1000, 1000))
    assert outbox.expire(2000) == (TASKS[0],)
    outbox = again(outbox)
    assert [held.task for held in outbox.held()] == [TASKS[2]]
    assert outbox.expected(TASKS[1]) is None
    assert [outbox.blobs.has(digest) for digest in weights(1, 2)] == [False, True]


def test_whoever_listens_is_told(outbox: Outbox) -> None:
    heard: list[int] = []
    outbox.listen(lambda: heard.append(len(outbox.held())))
    put_out(outbox, TASKS[0], reply(0), {})
    outbox.listen(None)
    put_out(outbox, TASKS[1], reply(1), {})
    assert heard == [1]


def test_files_are_the_owners_alone(outbox: Outbox) -> None:
    put_out(outbox, TASKS[0], reply(0), weights(1))
    folder = outbox.blobs.folder.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))


@pytest.mark.parametrize("step", ["write_atomically", "sync_folder"])
def test_killed_while_a_reply_is_put_in(step: str, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*arguments: object) -> None:
        raise Killed

    put_out(outbox, TASKS[0], reply(0), weights(1))
    outbox.expect(TASKS[1], DIGEST)
    monkeypatch.setattr(client.link.outbox, step, dies)
    with pytest.raises(Killed):
        put_out(outbox, TASKS[1], reply(1), weights(2))
    monkeypatch.undo()
    outbox = again(outbox)
    whole = outbox.holds(TASKS[1])
    assert whole == (step == "sync_folder")
    assert outbox.expected(TASKS[1]) == (None if whole else DIGEST)
    assert [outbox.blobs.has(digest) for digest in weights(1, 2)] == [True, whole]


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "expect", "forget", "restart"]),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=15,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(steps)
def test_it_is_what_was_put_in_less_what_was_taken_out(
    tmp_path_factory: pytest.TempPathFactory, done: list[Step]
) -> None:
    outbox = Outbox(tmp_path_factory.mktemp("outbox"))
    held: dict[str, int] = {}
    expected: set[str] = set()
    for what, task_number, number in done:
        task = TASKS[task_number]
        if what == "put":
            try:
                put_out(outbox, task, reply(number), weights(number))
                held[task] = number
                expected.discard(task)
            except ConsiliumError:
                assert task in held
        elif what == "remove":
            assert outbox.remove(task, reply(number).digest) == (held.get(task) == number)
            if held.get(task) == number:
                del held[task]
        elif what == "expect" and task not in held:
            outbox.expect(task, DIGEST)
            expected.add(task)
        elif what == "forget":
            outbox.forget(task)
            expected.discard(task)
        elif what == "restart":
            outbox = again(outbox)
        assert [(each.task, each.sealed) for each in outbox.held()] == [
            (t, reply(n)) for t, n in held.items()
        ]
        assert {task for task in TASKS if outbox.expected(task)} == expected
        assert {digest for digest in weights(0, 1, 2) if outbox.blobs.has(digest)} == {
            digest for number in held.values() for digest in weights(number)
        }
