"""A log in several files stays one log, whatever moment a process dies in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import common.chain
import common.evidence.rotation
from common.audit import AuditLog, Limits
from common.chain import Chain
from common.errors import AuditBroken, DiskFull
from common.evidence.entry import next_entry
from common.evidence.mark import Mark
from common.evidence.source import open_source
from common.evidence.verdict import examine

LogAt = Callable[..., AuditLog]


class Killed(BaseException):
    """The process is gone."""


def add(log: AuditLog, count: int) -> list[int]:
    return [log.append("site.created", site=f"s{number}").number for number in range(count)]


def numbers(folder: Path) -> list[int]:
    return [entry.number for entry in AuditLog(folder / "audit.jsonl").entries()]


@contextmanager
def killed_before(write: int, part: float = 0.0) -> Iterator[None]:
    """The process dies before the write of that number; of a file that grows, a part may be written."""
    left = [write]

    def dying(real: Callable[..., Any], partly: bool = False) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                if partly:
                    arguments[0].write(arguments[1][: int(len(arguments[1]) * part)])
                raise Killed
            return real(*arguments)

        return call

    chain, rotation = common.chain, common.evidence.rotation
    with (
        patch.object(chain, "write_whole", dying(chain.write_whole, partly=True)),
        patch.object(chain, "write_atomically", dying(chain.write_atomically)),
        patch.object(chain, "sync_folder", dying(chain.sync_folder)),
        patch.object(rotation, "write_atomically", dying(rotation.write_atomically)),
        patch.object(rotation, "sync_folder", dying(rotation.sync_folder)),
        patch.object(Path, "replace", dying(Path.replace)),
    ):
        yield


def test_the_files_are_one_log(tmp_path: Path, log_at: LogAt) -> None:
    log = log_at(tmp_path)
    assert add(log, 8) == [1, 2, 3, 4, 6, 7, 8, 10]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "audit-000001.jsonl",
        "audit-000002.jsonl",
        "audit.head",
        "audit.jsonl",
    ]
    entries = list(log.entries())
    assert [entry.number for entry in entries] == list(range(1, 11))
    fourth, fifth = entries[3:5]
    assert (fifth.event, fifth.facts["file"], fifth.facts["head"]) == (
        "audit.continued",
        "audit-000001.jsonl",
        fourth.head,
    )
    assert log.head == entries[-1].head
    assert (tmp_path / "audit-000001.jsonl").stat().st_mode & 0o777 == 0o400


def test_a_file_is_closed_at_its_size_too(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", limits=Limits(1000, 400))
    assert add(log, 3) == [1, 2, 4]


def test_a_new_process_goes_on_in_the_last_file(tmp_path: Path, log_at: LogAt) -> None:
    for expected in ([1, 2, 3], [4, 6, 7], [8, 10, 11]):
        assert add(log_at(tmp_path), 3) == expected
    assert numbers(tmp_path) == list(range(1, 12))


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("torn", [b"", b"x" * 2000], ids=["whole", "torn"])
@pytest.mark.parametrize("written", [1, 4, 8])
def test_killed_between_any_two_writes(
    tmp_path: Path, log_at: LogAt, written: int, torn: bytes, part: float
) -> None:
    for write in range(40):
        folder = tmp_path / str(write)
        told = add(log_at(folder), written)
        with (folder / "audit.jsonl").open("ab") as file:
            file.write(torn)
        with suppress(Killed), killed_before(write, part):
            told.append(log_at(folder).append("site.created", site="late").number)
        before = numbers(folder)
        assert before == list(range(1, len(before) + 1)) and set(told) <= set(before)
        add(log_at(folder), 2)
        after = list(AuditLog(folder / "audit.jsonl").entries())
        assert len([entry for entry in after if entry.facts.get("site") == "late"]) <= 1
        assert [entry.event for entry in after].count("audit.repaired") >= bool(torn)
        verdict = examine("log", open_source(folder))
        assert verdict.first_bad is None and verdict.entries == len(after)
        if len(told) > written:
            assert write > 3
            return
    raise AssertionError("it never got through")


def test_a_copy_that_a_killed_process_left_counts_for_nothing(tmp_path: Path, log_at: LogAt) -> None:
    add(log_at(tmp_path), 2)
    content = (tmp_path / "audit.jsonl").read_bytes()
    (tmp_path / "audit-000001.jsonl").write_bytes(content)
    assert numbers(tmp_path) == [1, 2]
    assert add(log_at(tmp_path, entries=10), 1) == [3]
    assert numbers(tmp_path) == [1, 2, 3]
    assert examine("log", open_source(tmp_path)).first_bad is None
    assert add(log_at(tmp_path, entries=3), 1) == [5]
    assert numbers(tmp_path) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("harm", ["changed", "gone", "emptied", "exchanged", "no end", "more", "none left"])
def test_nothing_is_added_where_a_closed_file_is_not_what_was_written(
    tmp_path: Path, log_at: LogAt, harm: str
) -> None:
    add(log_at(tmp_path), 10)
    first, second = (tmp_path / f"audit-00000{number}.jsonl" for number in (1, 2))
    content, other = first.read_bytes(), second.read_bytes()
    for path in (first, second):
        path.chmod(0o600)
    match harm:
        case "changed":
            first.write_bytes(content.replace(b"s1", b"s9"))
        case "gone":
            first.unlink()
        case "emptied":
            second.write_bytes(b"")
        case "exchanged":
            first.write_bytes(other)
            second.write_bytes(content)
        case "no end":
            first.write_bytes(content[:-1])
        case "more":
            (tmp_path / "audit-000003.jsonl").write_bytes(other)
        case "none left":
            first.unlink()
            second.unlink()
    current = (tmp_path / "audit.jsonl").read_bytes()
    for action in (lambda: add(log_at(tmp_path), 1), lambda: numbers(tmp_path)):
        with pytest.raises(AuditBroken, match=r"audit(-00000\d)?\.jsonl: entry \d+ "):
            action()
    assert (tmp_path / "audit.jsonl").read_bytes() == current
    assert examine("log", open_source(tmp_path)).first_bad is not None


def test_the_first_bad_entry_of_a_closed_file_is_named(tmp_path: Path, log_at: LogAt) -> None:
    add(log_at(tmp_path), 10)
    second = tmp_path / "audit-000002.jsonl"
    second.chmod(0o600)
    second.write_bytes(second.read_bytes().replace(b'"number":7', b'"number":9'))
    with pytest.raises(AuditBroken, match=r"audit-000002\.jsonl: entry 7 was changed"):
        add(log_at(tmp_path), 1)


def test_a_full_disk_leaves_the_log_as_it_is(tmp_path: Path, log_at: LogAt) -> None:
    log = log_at(tmp_path)
    add(log, 4)
    with (
        patch.object(common.evidence.rotation, "write_atomically", side_effect=DiskFull("full")),
        pytest.raises(DiskFull),
    ):
        add(log, 1)
    assert numbers(tmp_path) == [1, 2, 3, 4]
    assert add(log, 1) == [6]


# What an entry costs


def test_only_the_first_entry_of_a_process_reads_what_was_written(tmp_path: Path, log_at: LogAt) -> None:
    add(log_at(tmp_path, entries=100), 20)
    log = log_at(tmp_path, entries=100)
    with patch.object(Chain, "_verified", autospec=True, side_effect=Chain._verified) as verified:
        add(log, 10)
    assert verified.call_count == 1


@pytest.mark.parametrize("keeps_time", [False, True])
def test_a_change_between_two_entries_of_one_process_is_noticed(
    tmp_path: Path, log_at: LogAt, keeps_time: bool
) -> None:
    log = log_at(tmp_path, entries=100)
    add(log, 5)
    status = log.path.stat()
    log.path.write_bytes(log.path.read_bytes().replace(b"s1", b"s9"))
    if keeps_time:
        threading.Event().wait(0.02)  # longer than the kernel's clock stands still
        os.utime(log.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(AuditBroken, match="entry 2 was changed"):
        add(log, 1)


def test_a_head_that_was_changed_is_noticed_at_the_next_entry(tmp_path: Path, log_at: LogAt) -> None:
    log = log_at(tmp_path)
    add(log, 2)
    head = tmp_path / "audit.head"
    head.write_bytes(head.read_bytes().replace(b'"number":2', b'"number":3'))
    with pytest.raises(AuditBroken):
        add(log, 1)
    head.write_bytes(b"?")
    with pytest.raises(AuditBroken, match="names no entry"):
        _ = log.head


def test_threads_and_processes_take_turns(tmp_path: Path, log_at: LogAt) -> None:
    logs = [log_at(tmp_path), log_at(tmp_path)]
    threads = [threading.Thread(target=add, args=(logs[number % 2], 5)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([e for e in logs[0].entries() if e.event == "site.created"]) == 20
    assert numbers(tmp_path) == list(range(1, len(numbers(tmp_path)) + 1))


def test_the_mark_is_later_than_any_write_before_it(tmp_path: Path) -> None:
    entry = next_entry(None, "t", "e", {})
    with (tmp_path / "f").open("wb", buffering=0) as file:
        file.write(b"x")
        before = time.time_ns()
        mark = Mark.on(file, entry, 1)
        assert mark.stamp[3] >= before and mark.size_bytes == 1
        assert mark.holds(file)
        file.write(b"y")
        assert not mark.holds(file)


def test_a_closed_file_that_is_touched_is_read_again(tmp_path: Path, log_at: LogAt) -> None:
    log = log_at(tmp_path)
    add(log, 6)
    closed = tmp_path / "audit-000001.jsonl"
    closed.chmod(0o600)
    closed.write_bytes(closed.read_bytes().replace(b'"site":"s1"', b'"site":"s91"'))
    with pytest.raises(AuditBroken, match=r"audit-000001\.jsonl: entry 2 was changed"):
        add(log, 4)  # which closes a file


def test_a_file_is_closed_in_an_order_that_a_power_cut_cannot_harm(
    tmp_path: Path, log_at: LogAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_at(tmp_path)
    add(log, 4)
    done: list[str] = []
    replace = Path.replace

    def synced(descriptor: int) -> None:
        done.append(f"kept {Path(f'/proc/self/fd/{descriptor}').readlink().name}")

    def replaced(self: Path, target: Path) -> Path:
        done.append(f"put {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    add(log, 1)
    folder, pid = f"kept {tmp_path.name}", os.getpid()
    assert done[:9] == [
        folder,
        f"kept .audit-000001.jsonl.{pid}.partial",
        "put audit-000001.jsonl",
        folder,
        "kept .audit.jsonl.partial",
        "put audit.jsonl",
        folder,
        f"kept .audit.head.{pid}.partial",
        "put audit.head",
    ]
