"""Heads of the other side: noted when they changed, told apart from those that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.audit import AuditLog
from common.errors import EnvelopeRefused
from common.evidence.heads import PeerHeads, notes_in

LogAt = Callable[..., AuditLog]
A, B = "a" * 64, "b" * 64


@pytest.fixture
def log(tmp_path: Path, log_at: LogAt) -> AuditLog:
    return log_at(tmp_path, entries=100)


def events(log: AuditLog) -> list[str]:
    return [entry.event for entry in log.entries()]


def test_a_head_is_noted_when_it_changed(log: AuditLog) -> None:
    heads = PeerHeads(log)
    assert all(heads.note("alder", head, A, 5) for head in (f"3:{A}", f"3:{A}", f"4:{B}"))
    assert heads.note("birch", f"3:{B}", A, 5)
    told = [(entry.facts["peer"], entry.facts["head"]) for entry in log.entries()]
    assert told == [("alder", f"3:{A}"), ("alder", f"4:{B}"), ("birch", f"3:{B}")]
    assert log.append("site.created", site="x").number == 4


def test_an_empty_log_is_not_worth_a_note(log: AuditLog) -> None:
    assert PeerHeads(log).note("alder", "", A, 5)
    assert not events(log)


def test_what_was_noted_is_known_to_the_next_process(log: AuditLog) -> None:
    PeerHeads(log).note("alder", f"3:{A}", A, 5)
    assert PeerHeads(log).note("alder", f"3:{A}", A, 6)
    assert events(log) == ["peer.head"]
    assert not PeerHeads(log).note("alder", f"3:{B}", A, 6)


@pytest.mark.parametrize("head", [f"2:{A}", f"3:{B}", ""])
def test_a_head_that_cannot_follow_is_told(log: AuditLog, head: str) -> None:
    heads = PeerHeads(log)
    heads.note("alder", f"3:{A}", A, 5)
    assert not heads.note("alder", head, B, 6)
    assert events(log) == ["peer.head", "peer.rolled-back"]
    (_, last) = log.entries()
    assert (last.facts["before"], last.facts["statement"]) == (f"3:{A}", B)
    assert heads.note("alder", f"9:{B}", B, 7)  # it goes on from there; the accusation stays
    assert [note.rolled_back for note in notes_in(log.entries())] == [False, True, False]


def test_a_message_that_comes_late_accuses_nobody(log: AuditLog) -> None:
    heads = PeerHeads(log)
    heads.note("alder", f"5:{A}", A, 20)
    assert heads.note("alder", f"4:{B}", A, 10)
    assert heads.note("alder", f"5:{A}", A, 21)
    assert events(log) == ["peer.head", "peer.head"]


@pytest.mark.parametrize(
    "head", ["x", "0:" + A, "3:" + "A" * 64, "3:" + A + "\n", "-1:" + A, "3", "1" * 30 + ":" + A]
)
def test_what_is_no_head_is_refused(log: AuditLog, head: str) -> None:
    with pytest.raises(EnvelopeRefused):
        PeerHeads(log).note("alder", head, A, 5)
    assert not events(log)
