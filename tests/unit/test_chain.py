"""The chain: its format is fixed, whatever is done to it is noticed, and no moment to die in breaks it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import common.chain
from common.chain import GENESIS, Chain, Entry, next_entry, read_entry
from common.errors import DiskFull, LedgerBroken, OutputUnwritable

GOLDEN = (
    rb'{"digest":"e46dbf50f906e123d5346072a5b62e831526ee9cc96f7b330415b2c50aefe369","event":"cohort.added",'
    rb'"facts":{"cases":3,"cohort":"br\u00f6st","done":true,"share":0.5,"why":null},"number":1,'
    rb'"previous":"0000000000000000000000000000000000000000000000000000000000000000",'
    rb'"time":"2026-01-02T03:04:05+00:00"}'
    b"\n"
    rb'{"digest":"51b2f6f62bcdaa4dc0e13fd0e7358ba10c2b79d60e7c05f3f2e907c2776f861a","event":"cohort.removed",'
    rb'"facts":{},"number":2,"previous":"e46dbf50f906e123d5346072a5b62e831526ee9cc96f7b330415b2c50aefe369",'
    rb'"time":"2026-01-02T03:04:05+00:00"}'
    b"\n"
)
GOLDEN_HEAD = b'{"digest":"51b2f6f62bcdaa4dc0e13fd0e7358ba10c2b79d60e7c05f3f2e907c2776f861a","number":2}'


class Killed(BaseException):
    """The process is gone."""


def at(path: Path) -> Chain:
    return Chain(path, LedgerBroken, lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def add(chain: Chain, event: str = "e", **facts: int) -> Entry:
    with chain.opened() as opened:
        return opened.append(event, facts)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    made = at(tmp_path / "c.jsonl")
    for number in range(3):
        add(made, number=number)
    return made


@contextmanager
def killed_in(monkeypatch: pytest.MonkeyPatch, function: str) -> Iterator[None]:
    """The process dies when it is about to call a function of the module."""

    def dies(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(common.chain, function, dies)
        with pytest.raises(Killed):
            yield


# Format


def test_the_format_is_that_of_the_first_release(tmp_path: Path) -> None:
    chain = at(tmp_path / "c.jsonl")
    with chain.opened() as opened:
        opened.append(
            "cohort.added", {"cohort": "bröst", "cases": 3, "share": 0.5, "done": True, "why": None}
        )
        opened.append("cohort.removed", {})
    assert chain.path.read_bytes() == GOLDEN
    assert chain.head_path.read_bytes() == GOLDEN_HEAD


def test_what_the_first_release_wrote_is_read(tmp_path: Path) -> None:
    chain = at(tmp_path / "c.jsonl")
    chain.path.write_bytes(GOLDEN)
    chain.head_path.write_bytes(GOLDEN_HEAD)
    first, second = chain.entries()
    assert (first.number, first.event, first.facts["cohort"], first.previous) == (
        1,
        "cohort.added",
        "bröst",
        GENESIS,
    )
    assert second.head == f"2:{second.digest}" and second.previous == first.digest
    assert add(chain).number == 3


def test_an_entry_is_read_from_its_line() -> None:
    entry = next_entry(None, "t", "e", {"a": 1})
    assert read_entry(entry.to_line()) == entry
    for line in (b"", b"[]", b"3", b"{}", b'{"a":', entry.to_line().replace(b'"number":1', b'"number":"1"')):
        assert read_entry(line) is None
    assert read_entry(b"[" * 100_000) is None


# Tampering


@pytest.mark.parametrize("file", ["path", "head_path"])
def test_every_byte_counts(chain: Chain, file: str) -> None:
    path: Path = getattr(chain, file)
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as handle:
        for place, byte in enumerate(content):
            os.pwrite(handle.fileno(), bytes([byte ^ (0x01, 0x20, 0x80)[place % 3]]), place)
            with pytest.raises(LedgerBroken):
                chain.entries()
            os.pwrite(handle.fileno(), bytes([byte]), place)
    assert len(chain.entries()) == 3


def test_every_cut_is_noticed(chain: Chain) -> None:
    for size in reversed(range(chain.path.stat().st_size)):
        os.truncate(chain.path, size)
        with pytest.raises(LedgerBroken):
            chain.entries()


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_every_line_is_missed(chain: Chain, missing: int) -> None:
    lines = chain.path.read_bytes().splitlines(keepends=True)
    chain.path.write_bytes(b"".join(lines[:missing] + lines[missing + 1 :]))
    with pytest.raises(LedgerBroken):
        chain.entries()


@pytest.mark.parametrize("gone", ["path", "head_path"])
def test_a_file_that_is_gone_is_missed(chain: Chain, gone: str) -> None:
    getattr(chain, gone).unlink()
    with pytest.raises(LedgerBroken):
        chain.entries()
    with pytest.raises(LedgerBroken):
        add(chain)


def test_a_spelling_that_was_not_written_is_noticed(chain: Chain) -> None:
    chain.path.write_bytes(chain.path.read_bytes().replace(b'"number":2', b'"number": 2'))
    with pytest.raises(LedgerBroken, match="entry 2 was changed"):
        chain.entries()


def test_what_is_broken_is_left_as_it_is(chain: Chain) -> None:
    content = chain.path.read_bytes().replace(b'"number":1', b'"number":7') + b"half a li"
    chain.path.write_bytes(content)
    with pytest.raises(LedgerBroken):
        add(chain)
    assert chain.path.read_bytes() == content


def test_the_last_line_end_is_no_reason_to_drop_an_entry(chain: Chain) -> None:
    content = chain.path.read_bytes()[:-1] + b" "
    chain.path.write_bytes(content)
    with pytest.raises(LedgerBroken):
        add(chain)
    assert chain.path.read_bytes() == content


# Ends of processes


def test_what_was_not_written_to_its_end_is_not_there(chain: Chain) -> None:
    size, line = chain.path.stat().st_size, next_entry(chain.entries()[-1], "t", "e", {}).to_line()
    with chain.path.open("ab") as file:
        file.write(line)
    for part in reversed(range(len(line))):
        os.truncate(chain.path, size + part)
        assert len(chain.entries()) == 3
    assert add(chain).number == 4 and len(chain.entries()) == 4


@pytest.mark.parametrize("function", ["write_atomically", "sync_folder"])
def test_dying_between_entry_and_head_again_and_again(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    for _ in range(3):
        with killed_in(monkeypatch, function):
            add(chain)
        assert len(chain.entries()) in (3, 4)
    before = len(chain.entries())
    assert add(chain).number == before + 1


def test_the_head_is_mended_before_the_next_entry(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    head = chain.head_path.read_bytes()
    for expected in (4, 5, 6):
        add(chain)
        chain.head_path.write_bytes(head)  # as if the process had died before it wrote the head
        assert len(chain.entries()) == expected
        with chain.opened():
            pass
        head = chain.head_path.read_bytes()
        assert b'"number":%d' % expected in head


def test_an_entry_is_on_the_disk_before_its_head_and_after_the_head_before(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    add(chain)
    before, entry, head, after = synced
    assert before == after == chain.path.parent.name and entry == "c.jsonl" and ".head" in head


def test_the_first_entry_has_its_folders_name_on_the_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(common.chain, "sync_folder", synced.append)
    (tmp_path / "new").mkdir()
    add(at(tmp_path / "new" / "c.jsonl"))
    assert synced == [tmp_path / "new", tmp_path / "new", tmp_path]


# Several at once


def test_a_decision_is_alone(chain: Chain) -> None:
    order: list[str] = []

    def other() -> None:
        add(at(chain.path))
        order.append("other")

    with chain.opened() as opened:
        waiting = threading.Thread(target=other)
        waiting.start()
        waiting.join(0.05)
        opened.append("mine", {})
        order.append("mine")
    waiting.join()
    assert order == ["mine", "other"] and len(chain.entries()) == 5


def test_who_waited_for_a_file_that_was_replaced_gets_the_new_one(chain: Chain) -> None:
    found: list[int] = []
    with chain.opened():
        waiting = threading.Thread(target=lambda: found.append(add(at(chain.path)).number))
        waiting.start()
        waiting.join(0.05)
        first = next_entry(None, "t", "new", {})
        new = chain.path.with_name("new")
        new.write_bytes(first.to_line())
        new.replace(chain.path)
        chain.write_head(first)
    waiting.join()
    assert found == [2] and chain.entries()[0].event == "new"


# What the disk refuses


def test_reading_makes_no_file(tmp_path: Path) -> None:
    assert at(tmp_path / "c.jsonl").entries() == ()
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_broken(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").mkdir()
    with pytest.raises(LedgerBroken, match="cannot be read"):
        at(tmp_path / "c.jsonl").entries()
    with pytest.raises(OutputUnwritable):
        add(at(tmp_path / "c.jsonl"))
    (tmp_path / "d.head").mkdir()
    with pytest.raises(LedgerBroken, match="cannot be read"):
        at(tmp_path / "d.jsonl").entries()


def test_a_full_disk_costs_nothing_but_the_entry(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(common.chain, "write_whole", full)
        with pytest.raises(DiskFull) as caught:
            add(chain)
    assert "--out" not in caught.value.hint
    assert len(chain.entries()) == 3 and add(chain).number == 4


def test_a_value_that_json_has_not_is_refused_before_anything_is_written(chain: Chain) -> None:
    content = chain.path.read_bytes()
    with pytest.raises(ValueError, match="JSON"), chain.opened() as opened:
        opened.append("e", {"a": float("nan")})
    assert chain.path.read_bytes() == content


def test_short_writes_are_written_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = bytearray()

    class Slow:
        def write(self, data: memoryview) -> int:
            written.extend(data[:3])
            return len(data[:3])

        def fileno(self) -> int:
            return 0

    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    common.chain.write_whole(Slow(), b"0123456789")  # type: ignore[arg-type]
    assert bytes(written) == b"0123456789"
