"""The inbox holds whole files under names that say nothing."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from client.pacs.inbox import Inbox
from client.pacs.settings import MIB, Receiver
from client.pacs.tally import Arrival, Tally
from common.errors import DiskFull, OutputUnwritable
from tests.unit.pacs.bodies import head

LIMITS = Receiver(min_free_bytes=0)
NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def put(inbox: Inbox, uid: str, data: bytes) -> Arrival:
    partial = inbox.partial()
    partial.write(head(uid))
    partial.write(data)
    return inbox.keep(partial, uid)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_kept_file_is_whole_private_and_nameless(tmp_path: Path) -> None:
    folder, uid, told = tmp_path / "new" / "inbox", generate_uid(), list[Tally]()
    with Inbox(folder, LIMITS, told.append) as inbox:
        assert not inbox.holds(uid)
        assert put(inbox, uid, b"data") is Arrival.new
        assert inbox.holds(uid) and inbox.holds(uid + "\0")
    (path,) = files(folder)
    assert path.read_bytes() == head(uid) + b"data"
    assert uid not in str(path) and path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777 == 0o700
    assert told == [Tally(new=1, size_bytes=path.stat().st_size)]


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["1.2", "1.3"]), st.sampled_from([b"a", b"b", b"c"])), max_size=8))
def test_every_data_set_is_kept_once(tmp_path: Path, sent: list[tuple[str, bytes]]) -> None:
    folder = tmp_path / generate_uid()
    with Inbox(folder, LIMITS) as inbox:
        arrivals = [put(inbox, uid, data) for uid, data in sent]
    assert arrivals.count(Arrival.new) == len(set(sent)) == len(files(folder))
    assert inbox.tally.new + inbox.tally.already == len(sent)
    assert {path.read_bytes() for path in files(folder)} == {head(uid) + data for uid, data in sent}


def test_what_is_not_finished_is_gone_at_the_end(tmp_path: Path) -> None:
    with Inbox(tmp_path, LIMITS) as inbox:
        inbox.partial().write(b"half")
        assert len(files(tmp_path)) == 1
    assert not files(tmp_path)


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    (tmp_path / ".12345-1.partial").write_bytes(b"half")
    with Inbox(tmp_path, LIMITS) as first:
        assert not files(tmp_path)
        partial = first.partial()
        partial.write(head("1.2"))
        with Inbox(tmp_path, LIMITS):
            assert files(tmp_path) == [partial.path]
        assert first.keep(partial, "1.2") is Arrival.new


@pytest.mark.parametrize(
    ("limits", "arrival"),
    [
        (Receiver(min_free_bytes=0, max_object_bytes=MIB), Arrival.too_large),
        (Receiver(min_free_bytes=0, max_total_bytes=MIB), Arrival.no_space),
        (Receiver(min_free_bytes=2**60), Arrival.no_space),
    ],
    ids=["object", "inbox", "disk"],
)
def test_what_is_too_much_is_refused_while_it_arrives(
    tmp_path: Path, limits: Receiver, arrival: Arrival
) -> None:
    with Inbox(tmp_path, limits) as inbox:
        partial = inbox.partial()
        for _ in range(64):
            partial.write(bytes(MIB // 32))
            assert sum(path.stat().st_size for path in files(tmp_path)) <= MIB
        assert partial.trouble is arrival and not files(tmp_path)
        assert inbox.keep(partial, "1.2") is arrival
        assert inbox.tally.refused == 1 and not inbox.holds("1.2")


def test_room_that_was_given_back_can_be_used_again(tmp_path: Path) -> None:
    with Inbox(tmp_path, Receiver(min_free_bytes=0, max_total_bytes=MIB)) as inbox:
        for _ in range(4):
            partial = inbox.partial()
            partial.write(bytes(MIB // 2))
            assert partial.trouble is None
            partial.discard()
        assert put(inbox, "1.2", bytes(MIB // 2)) is Arrival.new
        assert put(inbox, "1.3", bytes(MIB)) is Arrival.no_space


def test_the_disk_is_looked_at_again_while_a_large_object_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = iter([2**40, 0])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    with Inbox(tmp_path, Receiver(min_free_bytes=1)) as inbox:
        partial = inbox.partial()
        for _ in range(17):
            partial.write(bytes(MIB))
        assert partial.trouble is Arrival.no_space


@pytest.mark.parametrize("step", [(os, "fsync"), (Path, "replace")], ids=["fsync", "replace"])
def test_a_full_disk_leaves_nothing_and_is_a_coded_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[object, str]
) -> None:
    def fail(*_: object) -> None:
        raise NO_SPACE

    with Inbox(tmp_path, LIMITS) as inbox:
        monkeypatch.setattr(step[0], step[1], fail)
        assert put(inbox, "1.2", b"data") is Arrival.no_space
        assert not files(tmp_path)
        with pytest.raises(DiskFull):
            inbox.check_space()


def test_a_folder_that_cannot_be_made_is_a_coded_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnwritable):
        Inbox(tmp_path / "file" / "inbox", LIMITS)
