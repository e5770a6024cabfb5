"""A file is written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from common.errors import ConsiliumError, DiskFull, OutputUnwritable
from common.files import unwritable, write_atomically


def failing_sync(number: int) -> object:
    def sync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    return sync


@pytest.mark.parametrize(
    ("content", "stored"), [("Größe\n", "Größe\n".encode()), (b"\0\xff", b"\0\xff"), ("", b"")]
)
def test_content_is_stored_byte_for_byte(tmp_path: Path, content: str | bytes, stored: bytes) -> None:
    write_atomically(tmp_path / "a.txt", content)
    assert (tmp_path / "a.txt").read_bytes() == stored


def test_old_file_is_replaced_and_nothing_else_remains(tmp_path: Path) -> None:
    for content in ("long old content", "new"):
        write_atomically(tmp_path / "a.txt", content)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "new")]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EIO, OutputUnwritable),
        (errno.EROFS, OutputUnwritable),
    ],
)
def test_failed_write_leaves_the_old_file_and_no_partial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[ConsiliumError]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", failing_sync(number))
    with pytest.raises(kind) as caught:
        write_atomically(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]
    assert str(path) in caught.value.private and str(path) not in str(caught.value.refusal())


def test_interruption_leaves_the_old_file_and_no_partial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


@pytest.mark.parametrize("place", ["missing/a.txt", "file/a.txt", "folder"])
def test_place_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("a file where a folder is expected")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputUnwritable, match=place):
        write_atomically(tmp_path / place, "x")
    assert sorted(tmp_path.rglob("*")) == before


def test_error_without_a_number_still_says_something() -> None:
    assert "odd" in unwritable(Path("a"), OSError("odd")).private
