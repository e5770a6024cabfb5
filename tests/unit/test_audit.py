"""The audit log: what is written stays, and whatever is done to it afterwards is noticed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.audit import GENESIS, AuditLog
from common.errors import AuditBroken


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    filled = AuditLog(tmp_path / "audit.jsonl", lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    for number in range(3):
        filled.append("cohort.added", cases=number)
    return filled


def test_entries_come_back_chained(log: AuditLog) -> None:
    entries = list(log.entries())
    assert [e.facts["cases"] for e in entries] == [0, 1, 2]
    assert entries[0].previous == GENESIS
    assert [e.previous for e in entries[1:]] == [e.digest for e in entries[:-1]]
    assert entries[0].time == "2026-01-02T03:04:05+00:00"


def test_an_empty_log_has_no_entries(tmp_path: Path) -> None:
    assert not list(AuditLog(tmp_path / "audit.jsonl").entries())


@pytest.mark.parametrize("change", ["changed", "dropped", "swapped", "cut", "emptied", "removed", "added"])
def test_tampering_is_noticed_by_reading_it_all(log: AuditLog, change: str) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    new = {
        "changed": [lines[0].replace(b'"cases":0', b'"cases":9'), *lines[1:]],
        "dropped": [lines[0], lines[2]],
        "swapped": [lines[1], lines[0], lines[2]],
        "cut": lines[:2],
        "emptied": [],
        "removed": None,
        "added": [*lines, b"{}\n"],
    }[change]
    log.path.unlink() if new is None else log.path.write_bytes(b"".join(new))
    with pytest.raises(AuditBroken):
        list(log.entries())


def test_nothing_is_added_to_a_log_that_was_changed_anywhere(log: AuditLog) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join([lines[0].replace(b'"cases":0', b'"cases":9'), *lines[1:]]))
    with pytest.raises(AuditBroken, match="entry 1"):
        log.append("cohort.added")


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_nothing_is_added_to_a_log_that_was_cut(log: AuditLog, kept: int) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:kept]))
    with pytest.raises(AuditBroken):
        log.append("cohort.added")


def test_half_a_line_left_by_a_power_cut_is_taken_away_and_that_is_told(log: AuditLog) -> None:
    with log.path.open("ab") as file:
        file.write(b'{"number":4,"ti')
    assert log.append("cohort.shown").number == 5
    assert [e.number for e in log.entries()] == [1, 2, 3, 4, 5]
    told = list(log.entries())[3]
    assert (told.event, told.facts["bytes"]) == ("audit.repaired", 15)


@pytest.mark.parametrize("written", [1, 3])
def test_a_power_cut_between_entry_and_head_is_survived(tmp_path: Path, written: int) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    head, before = tmp_path / "audit.head", b""
    for number in range(written):
        before = head.read_bytes() if head.exists() else b""
        log.append("cohort.added", cases=number)
    head.write_bytes(before) if before else head.unlink()
    assert len(list(log.entries())) == written
    assert log.append("cohort.added").number == written + 1
    assert len(list(log.entries())) == written + 1


def test_two_writers_take_turns(log: AuditLog) -> None:
    other = AuditLog(log.path)
    for _ in range(3):
        other.append("a")
        log.append("b")
    assert [e.number for e in log.entries()] == list(range(1, 10))


def test_the_log_is_for_its_owner_only(log: AuditLog) -> None:
    assert log.path.stat().st_mode & 0o777 == 0o600
