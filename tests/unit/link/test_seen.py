"""No statement counts twice: not after a restart, a torn line, or a clock that was set back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import common.link.seen as seen_module
from common.errors import ClockSkewed, EnvelopeReplayed, OutputUnwritable
from common.link.envelope import Seen, Statement

NOW = 1_800_000_000_000
MINUTE = 60_000


class Clock:
    """A clock that a test sets."""

    def __init__(self, now_ms: int = NOW) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def said(number: int, issued: int = NOW, sender: str = "north") -> Statement:
    return Statement(
        "reply", "0123456789ab", sender, "coordinator", f"{number:032x}", "task-1", issued, "", {}
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock, request: pytest.FixtureRequest) -> Callable[..., Seen]:
    """Another start of the process with the same file, and a window of one hour."""

    def started(**changes: Any) -> Seen:
        seen = Seen(tmp_path / "seen", **{"window_ms": 60 * MINUTE, "now_ms": clock, **changes})
        request.addfinalizer(seen.close)
        return seen

    return started


def test_nothing_counts_twice(start: Callable[..., Seen]) -> None:
    seen = start()
    seen.take(said(1))
    seen.take(said(2))
    seen.take(said(1, sender="south"))
    for statement in (said(1), said(2), said(1, sender="south"), said(1, issued=NOW + 1)):
        with pytest.raises(EnvelopeReplayed):
            seen.take(statement)


def test_nothing_counts_again_after_a_restart(start: Callable[..., Seen]) -> None:
    start().take(said(1))
    for _ in range(3):
        with pytest.raises(EnvelopeReplayed):
            start().take(said(1))
    again = start()
    again.take(said(2))
    with pytest.raises(EnvelopeReplayed):
        start().take(said(2))


def test_outside_the_window(start: Callable[..., Seen], clock: Clock) -> None:
    seen = start()
    seen.take(said(1, NOW - 60 * MINUTE))
    seen.take(said(2, NOW + 5 * MINUTE))
    for issued in (NOW - 60 * MINUTE - 1, NOW + 5 * MINUTE + 1):
        with pytest.raises(ClockSkewed):
            seen.take(said(3, issued))
    clock.now_ms += 61 * MINUTE
    with pytest.raises(EnvelopeReplayed):
        seen.take(said(1, NOW - 60 * MINUTE))
    with pytest.raises(ClockSkewed):
        start().take(said(1, NOW - 60 * MINUTE))


def test_clock_set_back(start: Callable[..., Seen], clock: Clock) -> None:
    """What was forgotten stays refused, and what is new is taken."""
    start().take(said(1, NOW))
    clock.now_ms = NOW + 365 * 24 * 60 * MINUTE
    start()  # forgets it
    clock.now_ms = NOW + MINUTE
    for _ in range(2):
        seen = start()
        with pytest.raises(ClockSkewed):
            seen.take(said(1, NOW))
    seen.take(said(1, NOW, sender="south"))
    seen.take(said(2, NOW + 1))


def test_file_and_memory_are_bounded(
    start: Callable[..., Seen], clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_module, "_SLACK", 20)
    monkeypatch.setattr("common.chain.os.fsync", lambda _: None)
    seen = start()
    longest = 0
    for number in range(600):
        clock.now_ms += MINUTE
        seen.take(said(number, clock.now_ms))
        longest = max(longest, len((tmp_path / "seen").read_bytes().splitlines()))
    assert longest <= 2 * 62 + 20
    with pytest.raises(EnvelopeReplayed):
        start().take(said(599, clock.now_ms))
    with pytest.raises(ClockSkewed):
        start().take(said(0, NOW))


def test_sender_of_very_many(
    start: Callable[..., Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own oldest are forgotten, and refused from then on; nobody else's."""
    monkeypatch.setattr(seen_module, "_SLACK", 20)
    monkeypatch.setattr("common.chain.os.fsync", lambda _: None)
    seen = start(limit=10)
    seen.take(said(0, NOW - 30 * MINUTE, sender="south"))
    for number in range(300):
        seen.take(said(number, NOW + number))
    assert len((tmp_path / "seen").read_bytes().splitlines()) < 60
    with pytest.raises(ClockSkewed):
        seen.take(said(0, NOW))
    with pytest.raises(EnvelopeReplayed):
        seen.take(said(299, NOW + 299))
    with pytest.raises(EnvelopeReplayed):
        seen.take(said(0, NOW - 30 * MINUTE, sender="south"))
    seen.take(said(1, NOW - 30 * MINUTE, sender="south"))


def test_torn_last_line(start: Callable[..., Seen], tmp_path: Path) -> None:
    """What was not wholly written was never let pass: it may come."""
    seen = start()
    seen.take(said(1))
    seen.take(said(2))
    file = tmp_path / "seen"
    whole = file.read_bytes()
    for cut in range(1, len(whole) // 2):
        file.write_bytes(whole[:-cut])
        again = start()
        with pytest.raises(EnvelopeReplayed):
            again.take(said(1))
        again.take(said(2))


@pytest.mark.parametrize("damage", [b"rubbish\n", b"\n", b"\xff\xfe\n", b"1 north " + b"ab" * 15 + b"\n"])
def test_damaged_line(start: Callable[..., Seen], clock: Clock, tmp_path: Path, damage: bytes) -> None:
    """Which statement it was is unknown, so none that was issued before is taken."""
    start().take(said(1))
    file = tmp_path / "seen"
    file.write_bytes(damage + file.read_bytes())
    for _ in range(2):
        again = start()
        with pytest.raises(EnvelopeReplayed):
            again.take(said(1))
        with pytest.raises(ClockSkewed):
            again.take(said(2, NOW, sender="south"))
    clock.now_ms += MINUTE
    again.take(said(2, NOW + 1, sender="south"))


def test_only_the_owner_reads_it(start: Callable[..., Seen], tmp_path: Path) -> None:
    start()
    assert (tmp_path / "seen").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_remembered_does_not_count(
    start: Callable[..., Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = start()

    def full(file: Any, data: bytes) -> None:
        file.write(data[:10])
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(seen_module, "write_whole", full)
        with pytest.raises(OutputUnwritable):
            seen.take(said(1))
    seen.take(said(1))
    with pytest.raises(EnvelopeReplayed):
        seen.take(said(1))
    lines = (tmp_path / "seen").read_text().splitlines()
    assert lines == [f"{NOW} north {1:032x}"]


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    with pytest.raises(OutputUnwritable):
        Seen(tmp_path / "seen")
    with pytest.raises(OutputUnwritable):
        Seen(tmp_path / "nowhere" / "seen")


def test_one_of_many_threads(start: Callable[..., Seen]) -> None:
    """One statement that arrives in eight calls at once counts in one."""
    seen, taken = start(), []

    def arrive() -> None:
        for number in range(20):
            try:
                seen.take(said(number))
            except EnvelopeReplayed:
                continue
            taken.append(number)

    threads = [threading.Thread(target=arrive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(20))
