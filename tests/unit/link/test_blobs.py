"""The blob store: what it gives out is what was put in, whatever happened in between."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

import common.link.blobs
from common.errors import BlobRefused, DiskFull, OutputUnwritable
from common.link.blobs import BlobStore, digest_of
from common.link.pieces import MOST_BYTES

DATA = b"weights" * 11
DIGEST = hashlib.sha256(DATA).hexdigest()
PARTIAL = f"{DIGEST}.{len(DATA)}.partial"
NO_DIGESTS = [
    "",
    "..",
    "../x",
    DIGEST.upper(),
    DIGEST[:-1],
    DIGEST + "0",
    DIGEST + "\n",
    "/" + DIGEST[1:],
    "*" * 64,
]


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", 1000)


def names(store: BlobStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir() if path.name != "lock")


def reopened(store: BlobStore) -> BlobStore:
    """What another process sees."""
    return BlobStore(store.folder, store.limit_bytes)


def fail_with(number: int) -> Callable[..., Any]:
    def fails(*arguments: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    return fails


def test_what_is_put_can_be_read_by_everybody(store: BlobStore) -> None:
    assert store.put([DATA[:5], bytearray(DATA[5:9]), memoryview(DATA)[9:]]) == DIGEST
    for each in (store, reopened(store)):
        assert each.has(DIGEST) and each.size(DIGEST) == each.offset(DIGEST) == len(DATA)
        assert each.read(DIGEST) == DATA
        assert each.read(DIGEST).readonly
    assert names(store) == [DIGEST]


def test_only_the_owner_can_look_at_blobs(store: BlobStore) -> None:
    store.put([DATA])
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert (store.folder / DIGEST).stat().st_mode & 0o777 == 0o600


def test_a_blob_of_nothing_is_a_blob(store: BlobStore) -> None:
    nothing = store.put([])
    assert store.read(nothing) == b"" and list(store.chunks(nothing, 0, [9])) == []
    store.remove(nothing)
    assert store.append(nothing, 0, 0, b"") == 0
    store.finish(nothing)
    assert store.has(nothing)


def test_chunks_begin_where_they_are_asked_to(store: BlobStore) -> None:
    store.put([DATA])
    assert [*store.chunks(DIGEST, 60, repeat(9))] == [DATA[60:69], DATA[69:]]
    assert b"".join(store.chunks(DIGEST, 0, [5, 3, *repeat(30, 3)])) == DATA
    assert [*store.chunks(DIGEST, len(DATA), [])] == []
    for offset in (-1, len(DATA) + 1):
        with pytest.raises(BlobRefused):
            store.chunks(DIGEST, offset, [9])


@pytest.mark.parametrize("name", NO_DIGESTS)
def test_what_is_no_digest_never_becomes_a_path(store: BlobStore, name: str) -> None:
    before = sorted(store.folder.parent.rglob("*"))
    for call in (
        lambda: store.has(name),
        lambda: store.size(name),
        lambda: store.read(name),
        lambda: store.chunks(name, 0, [9]),
        lambda: store.offset(name),
        lambda: store.append(name, 0, 1, b"x"),
        lambda: store.finish(name),
        lambda: store.remove(name),
        lambda: store.put([b"x"], name),
    ):
        with pytest.raises(BlobRefused):
            call()
    assert sorted(store.folder.parent.rglob("*")) == before


def test_an_upload_goes_on_where_it_was_also_after_a_restart(store: BlobStore) -> None:
    assert store.offset(DIGEST) == 0
    assert store.append(DIGEST, 0, len(DATA), DATA[:20]) == 20
    assert not store.has(DIGEST)
    again = reopened(store)
    assert again.offset(DIGEST) == 20
    again.append(DIGEST, 20, len(DATA), DATA[20:])
    with pytest.raises(BlobRefused):
        again.read(DIGEST)
    again.finish(DIGEST)
    again.finish(DIGEST)
    assert again.read(DIGEST) == DATA and names(store) == [DIGEST]


def test_a_piece_may_come_twice(store: BlobStore) -> None:
    store.append(DIGEST, 0, len(DATA), DATA[:20])
    assert store.append(DIGEST, 0, len(DATA), DATA[:10]) == 20
    assert store.append(DIGEST, 10, len(DATA), DATA[10:30]) == 30
    store.append(DIGEST, 30, len(DATA), DATA[30:])
    store.finish(DIGEST)
    assert store.append(DIGEST, 0, len(DATA), DATA[:20]) == len(DATA)
    assert store.read(DIGEST) == DATA


@pytest.mark.parametrize(
    ("offset", "total", "data"),
    [(-1, 77, b"x"), (21, 77, b"x"), (20, 20, b"x"), (0, -1, b""), (70, 77, b"x" * 8), (20, 1001, b"x")],
)
def test_a_piece_that_does_not_fit_is_refused(store: BlobStore, offset: int, total: int, data: bytes) -> None:
    store.append(DIGEST, 0, len(DATA), DATA[:20])
    with pytest.raises(BlobRefused):
        store.append(DIGEST, offset, total, data)


def test_what_is_not_complete_cannot_be_finished_and_is_not_lost(store: BlobStore) -> None:
    with pytest.raises(BlobRefused):
        store.finish(DIGEST)
    store.append(DIGEST, 0, len(DATA), DATA[:20])
    with pytest.raises(BlobRefused):
        store.finish(DIGEST)
    assert store.offset(DIGEST) == 20


def test_other_bytes_than_the_digest_names_are_dropped(store: BlobStore) -> None:
    store.append(DIGEST, 0, len(DATA), DATA[:-1] + b"?")
    with pytest.raises(BlobRefused):
        store.finish(DIGEST)
    assert names(store) == [] and store.offset(DIGEST) == 0
    store.append(DIGEST, 0, len(DATA), DATA)
    store.finish(DIGEST)
    assert store.read(DIGEST) == DATA


def test_another_length_begins_anew(store: BlobStore) -> None:
    store.append(DIGEST, 0, 999, DATA[:20])
    store.append(DIGEST, 0, len(DATA), DATA)
    assert names(store) == [PARTIAL]
    store.finish(DIGEST)
    assert store.read(DIGEST) == DATA


def test_a_file_that_another_process_put_in_the_place_is_hashed_anew(store: BlobStore) -> None:
    store.append(DIGEST, 0, len(DATA), b"?" * 20)
    other = reopened(store)
    other.remove(DIGEST)
    other.append(DIGEST, 0, len(DATA), DATA[:30])
    store.append(DIGEST, 30, len(DATA), DATA[30:])
    store.finish(DIGEST)
    assert store.read(DIGEST) == DATA


def test_a_blob_is_put_over_whatever_was_left_of_it(store: BlobStore) -> None:
    (store.folder / PARTIAL).write_bytes(b"?" * 100)
    store.put([DATA])
    assert store.read(DIGEST) == DATA and names(store) == [DIGEST]


def test_a_blob_that_another_completes_at_that_moment_is_not_begun_again(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = store._folder.has

    def just_before(digest: str) -> bool:
        monkeypatch.setattr(store._folder, "has", looked)
        reopened(store).put([DATA])
        return False

    monkeypatch.setattr(store._folder, "has", just_before)
    assert store.append(DIGEST, 20, len(DATA), DATA[20:]) == len(DATA)
    assert names(store) == [DIGEST]


@pytest.mark.parametrize("damage", [DATA[:-1], DATA + b"x", b"?" + DATA[1:], b""])
def test_a_damaged_blob_is_not_given_out_and_can_be_put_again(store: BlobStore, damage: bytes) -> None:
    store.put([DATA])
    store.read(DIGEST)
    (store.folder / DIGEST).write_bytes(damage)
    with pytest.raises(BlobRefused):
        reopened(store).chunks(DIGEST, 0, [9])
    assert not store.has(DIGEST)
    store.put([DATA])
    assert store.read(DIGEST) == DATA


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digest of each whole blob that was hashed."""
    found: list[str] = []

    def counting(parts: Any) -> str:
        found.append(digest_of(parts))
        return found[-1]

    monkeypatch.setattr(common.link.blobs, "digest_of", counting)
    return found


def by_append(store: BlobStore) -> None:
    store.append(DIGEST, 0, len(DATA), DATA[:20])
    store.append(DIGEST, 20, len(DATA), DATA[20:])
    store.finish(DIGEST)


def by_put(store: BlobStore) -> None:
    store.put([DATA], DIGEST)


def spoil(store: BlobStore) -> None:
    """Write to a blob, the clock being at another time than when it was stored."""
    path = store.folder / DIGEST
    path.write_bytes(b"?" + DATA[1:])
    os.utime(path, ns=(0, 0))


def test_a_blob_is_hashed_again_only_after_it_was_touched(
    store: BlobStore, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put([DATA], DIGEST)
    hashed.clear()
    monkeypatch.setattr(common.link.blobs, "_TICK_NS", -(10**12))
    other = reopened(store)
    other.read(DIGEST)
    other.read(DIGEST)
    assert hashed == [DIGEST]
    spoil(store)
    with pytest.raises(BlobRefused):
        other.read(DIGEST)
    assert len(hashed) == 2


@pytest.mark.parametrize("write", [by_append, by_put])
def test_what_a_store_hashed_as_it_wrote_it_is_not_hashed_again(
    store: BlobStore, hashed: list[str], write: Callable[[BlobStore], None]
) -> None:
    write(store)
    hashed.clear()
    assert store.read(DIGEST) == DATA
    store.put([DATA], DIGEST)
    store.finish(DIGEST)
    assert store.read(DIGEST) == DATA and hashed == []
    spoil(store)
    with pytest.raises(BlobRefused):
        store.read(DIGEST)
    assert len(hashed) == 1


def test_a_spoilt_blob_that_is_put_again_is_hashed_all_the_same(store: BlobStore) -> None:
    """That it counts as put just now must not hide that it was touched."""
    store.put([DATA], DIGEST)
    spoil(store)
    store.put([DATA], DIGEST)
    with pytest.raises(BlobRefused):
        store.read(DIGEST)


def test_a_blob_that_another_wrote_just_now_is_not_taken_for_known(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put([DATA])
    other = reopened(store)
    monkeypatch.setattr(common.link.blobs, "_TICK_NS", 10**12)
    other.read(DIGEST)
    monkeypatch.setattr(common.link.blobs, "digest_of", lambda parts: "")
    with pytest.raises(BlobRefused):
        other.read(DIGEST)


def test_a_digest_that_is_given_is_checked(store: BlobStore) -> None:
    with pytest.raises(BlobRefused):
        store.put([DATA[1:]], DIGEST)
    assert names(store) == []


def test_the_limit_counts_what_was_announced(store: BlobStore) -> None:
    store.put([b"a" * 400])
    store.append("0" * 64, 0, 500, b"x")
    for call in (lambda: store.put([b"b" * 101]), lambda: store.append("1" * 64, 0, 101, b"x")):
        with pytest.raises(BlobRefused):
            call()
    with pytest.raises(BlobRefused):
        reopened(store).put([b"b" * 101])
    store.remove("0" * 64)
    store.put([b"b" * 600])
    assert store.put([b"a" * 400]) and len(names(store)) == 2  # what is here needs no room


def test_only_so_many_blobs_are_kept(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.link.blob_folder.MOST_BLOBS", 2)
    store.put([b"a"])
    store.append("0" * 64, 0, 0, b"")
    with pytest.raises(BlobRefused):
        store.put([b"c"])


def test_other_files_in_the_folder_are_left_alone(store: BlobStore) -> None:
    other = store.folder / "notes.txt"
    other.write_bytes(b"x" * 2000)
    store.put([DATA])
    store.keep([])
    assert names(store) == ["notes.txt"]


def test_keep_removes_the_others(store: BlobStore) -> None:
    kept, lost = store.put([b"kept"]), store.put([b"lost"])
    store.append(DIGEST, 0, len(DATA), DATA[:5])
    store.append("0" * 64, 0, 9, b"x")
    store.keep([kept, DIGEST])
    assert store.has(kept) and not store.has(lost)
    assert store.offset(DIGEST) == 5 and store.offset("0" * 64) == 0


def test_keep_leaves_what_was_touched_lately(store: BlobStore) -> None:
    old, again = store.put([b"old"]), store.put([b"again"])
    for digest in (old, again):
        os.utime(store.folder / digest, (0, 0))
    store.put([b"again"])
    store.append(DIGEST, 0, len(DATA), DATA[:5])
    store.keep([], untouched_s=3600)
    assert names(store) == sorted([again, PARTIAL])


def test_keep_leaves_what_is_being_written(store: BlobStore) -> None:
    def parts() -> Any:
        yield b"w"
        store.keep([])
        yield b"x"

    class Slow(list[bytes]):
        def __iter__(self) -> Any:
            return parts() if (store.folder / f"{digest}.2.partial").exists() else super().__iter__()

    digest = digest_of([b"w", b"x"])
    store.put(Slow([b"w", b"x"]), digest)
    assert store.read(digest) == b"wx"


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, OutputUnwritable)]
)
@pytest.mark.parametrize(
    "where", ["blobs._write", "blobs.sync_folder", "blobs.os.fsync", "blob_folder.locked blobs.locked"]
)
def test_a_disk_that_fails_is_a_coded_error(
    store: BlobStore,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[DiskFull | OutputUnwritable],
    where: str,
) -> None:
    store.append(DIGEST, 0, len(DATA), DATA)
    with monkeypatch.context() as patched:
        for name in where.split():
            patched.setattr(f"common.link.{name}", fail_with(number))
        with pytest.raises(error):
            store.put([b"other"])
        if where == "blobs._write":
            with pytest.raises(error):
                store.append("0" * 64, 0, 9, b"x")
        else:
            with pytest.raises(error):
                store.finish(DIGEST)
    store.finish(DIGEST)
    assert store.read(DIGEST) == DATA
    assert store.read(store.put([b"other"])) == b"other"


def test_a_write_that_is_cut_short_is_gone_on_with(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(file: Any, data: memoryview) -> None:
        file.write(data[:7])
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr("common.link.blobs._write", short)
        with pytest.raises(DiskFull):
            store.append(DIGEST, 0, len(DATA), DATA)
    assert store.offset(DIGEST) == 7
    store.append(DIGEST, 7, len(DATA), DATA[7:])
    store.finish(DIGEST)
    assert store.read(DIGEST) == DATA


def test_a_put_that_fails_gives_its_room_back(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("common.link.blobs._write", fail_with(errno.ENOSPC))
        with pytest.raises(DiskFull):
            store.put([DATA])
    assert names(store) == []


def test_a_folder_that_cannot_be_made_is_a_coded_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnwritable):
        BlobStore(tmp_path / "file" / "blobs", 1)


def test_threads_may_send_one_blob_at_once(store: BlobStore) -> None:
    failed: list[Exception] = []

    def send(size: int) -> None:
        try:
            for start in range(0, len(DATA), size):
                store.append(DIGEST, start, len(DATA), DATA[start : start + size])
            store.finish(DIGEST)
            store.put([DATA])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=send, args=(size,)) for size in (1, 2, 3, 5, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and store.read(DIGEST) == DATA and names(store) == [DIGEST]


# Stores one and the same megabytes, over and over, by both ways.
_STORES = """
import sys
from pathlib import Path
from common.link.blobs import BlobStore
store, data = BlobStore(Path(sys.argv[1]), 9 * 2**20), bytes(range(256)) * 2**13
print("ready", flush=True)
sys.stdin.readline()
for turn in range(int(sys.argv[2])):
    digest = store.put([data[:99], data[99:]])
    assert store.read(digest) == data
    if sys.argv[3] == "alone":
        store.remove(digest)
        for start in range(0, len(data), 2**18):
            store.append(digest, start, len(data), data[start:start + 2**18])
        store.finish(digest)
        assert store.read(digest) == data
        store.remove(digest)
"""
BIG = bytes(range(256)) * 2**13


def storing(folder: Path, turns: int, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _STORES, str(folder), str(turns), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(common.link.blobs.__file__).parents[2],
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_processes_may_store_one_blob_at_once(tmp_path: Path) -> None:
    processes = [storing(tmp_path, 3, "together") for _ in range(3)]
    for process in processes:
        go(process)
    for process in processes:
        with process:
            assert process.wait(30) == 0
    store = BlobStore(tmp_path, 9 * 2**20)
    assert store.read(digest_of([BIG])) == BIG and names(store) == [digest_of([BIG])]


@pytest.mark.parametrize("after_s", [0.002, 0.006, 0.011, 0.02])
def test_a_process_that_is_killed_leaves_a_store_that_works(tmp_path: Path, after_s: float) -> None:
    with storing(tmp_path, 1000, "alone") as process:
        go(process)
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
    store, digest = BlobStore(tmp_path, 9 * 2**20), digest_of([BIG])
    if store.has(digest):
        assert store.read(digest) == BIG
    start = store.offset(digest)
    for at in range(start, len(BIG), MOST_BYTES):
        store.append(digest, at, len(BIG), BIG[at : at + MOST_BYTES])
    store.finish(digest)
    assert store.read(digest) == BIG and names(store) == [digest]


def test_another_stores_blob_is_adopted_without_a_copy_and_stays_when_it_goes(
    store: BlobStore, tmp_path: Path
) -> None:
    made = BlobStore(tmp_path / "made", 1000, durable=False)
    made.put([DATA])
    store.adopt(made, DIGEST)
    assert (store.folder / DIGEST).samefile(made.folder / DIGEST)
    made.keep(())
    assert bytes(reopened(store).read(DIGEST)) == DATA


def test_a_blob_on_a_disk_without_links_is_copied(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = BlobStore(tmp_path / "made", 1000)
    made.put([DATA])
    monkeypatch.setattr(Path, "hardlink_to", fail_with(errno.EXDEV))
    store.adopt(made, DIGEST)
    assert bytes(store.read(DIGEST)) == DATA and names(store) == [DIGEST]


def test_what_is_adopted_must_be_there_and_have_room(store: BlobStore, tmp_path: Path) -> None:
    made = BlobStore(tmp_path / "made", 1000)
    with pytest.raises(BlobRefused):
        store.adopt(made, DIGEST)
    made.put([DATA])
    small = BlobStore(tmp_path / "small", len(DATA) - 1)
    with pytest.raises(BlobRefused):
        small.adopt(made, DIGEST)
    assert names(small) == []


def test_an_adopted_blob_that_was_spoilt_is_not_given_out(store: BlobStore, tmp_path: Path) -> None:
    made = BlobStore(tmp_path / "made", 1000, durable=False)
    made.put([DATA])
    (made.folder / DIGEST).write_bytes(DATA[:-1] + b"x")
    store.adopt(made, DIGEST)
    with pytest.raises(BlobRefused):
        store.read(DIGEST)
    assert not store.has(DIGEST)
