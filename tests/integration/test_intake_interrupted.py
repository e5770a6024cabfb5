"""Intakes that meet broken decoders, a full disk, kill -9 and each other, and what they leave behind."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from client.cohorts import intake, shelf
from client.cohorts.aside import left_out
from client.cohorts.cohort import Cohort, open_cohort
from client.cohorts.home import POLICY_FILE, Home
from client.cohorts.rules import Rules
from client.cohorts.store import PIXEL_FILE
from client.dicom.archive import Found
from client.dicom.examination import Examined, Orders, examine
from client.dicom.outcomes import Quarantined, Reason
from common.audit import AuditLog
from common.errors import (
    CohortUnsuitable,
    DiskFull,
)
from tests.unit.cohorts.archives import (
    hospital,
    laid,
    new_home,
    outcomes,
    picture,
    same,
    taken,
    volume,
    whole,
)

ROOT = Path(__file__).parents[2]
SLICES = Rules("slices")


# Files that are no good for the process that opens them


def misbehaving(found: Found, orders: Orders) -> Examined:
    """As the examination, but for files whose name says something else; runs in a worker."""
    match found.path.stem:
        case "abort":
            os.abort()
        case "hang":
            time.sleep(60)
        case "memory":
            np.ones(2**40, dtype=np.uint8)
        case "error":
            raise ValueError("Anna")
        case "closed":
            raise Quarantined(Reason.unreadable)
    return examine(found, orders)


def test_a_file_that_ends_its_worker_costs_that_file(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[str]
) -> None:
    archive = laid(tmp_path / "in", [*volume("Anna", slices=3), *volume("Berta", slices=3)])
    for name in ("abort", "closed", "hang", "memory", "error"):
        shutil.copy(archive / "IM0000", archive / name)
    (home.folder / POLICY_FILE).write_text("file_time_s = 1.0\n")
    monkeypatch.setattr(intake, "examine", misbehaving)
    cohort = taken(Home(home.folder), archive, rules=SLICES)
    assert outcomes(cohort) == {
        "case": 6,
        "quarantined:decoder-crashed": 1,
        "quarantined:decoder-hung": 1,
        "quarantined:memory-exceeded": 1,
        "quarantined:decoder-failed": 1,
        "quarantined:file-unreadable": 1,
    }
    assert {(Path(item.name).name, item.why) for item in left_out(home, "c", [archive])} == {
        ("abort", "decoder-crashed"),
        ("closed", "file-unreadable"),
        ("hang", "decoder-hung"),
        ("memory", "memory-exceeded"),
        ("error", "decoder-failed"),
    }
    # What may have been the machine's fault is tried again; nothing else is.
    monkeypatch.setattr(intake, "examine", examine)
    seen.clear()
    again = taken(home, archive, rules=SLICES)
    assert sorted(seen) == ["abort", "closed", "hang", "memory"]
    assert outcomes(again) == {"case": 6, "duplicate": 4, "quarantined:decoder-failed": 1}
    assert again.row.fingerprint == cohort.row.fingerprint


# A full disk


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_full_disk_says_so_and_the_next_run_completes(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    archive = laid(tmp_path / "in", hospital())
    at_once = taken(home, archive, name="whole", rules=SLICES)
    real, calls = os.fsync, Counter[str]()

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == PIXEL_FILE:
            calls["fsync"] += 1
            if calls["fsync"] >= at:
                raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch, pytest.raises(DiskFull):
        patch.setattr(os, "fsync", full)
        patch.setattr(shelf, "COMMIT_FILES", 5)
        taken(home, archive, rules=SLICES)
    whole(home, "c")
    with pytest.raises(CohortUnsuitable):
        open_cohort(home, "c").require_usable(1.0)
    same(at_once, taken(home, archive, rules=SLICES))


ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from common.errors import DiskFull
from client.cohorts.cohort import open_cohort
from client.cohorts.home import open_home
from client.cohorts.intake import Request, take_in
from client.cohorts.rules import Rules
from common.audit import AuditLog

archive, template, disk = map(Path, sys.argv[1:])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", str(disk)], check=True)
subprocess.run(["cp", "-a", str(template), str(disk / "home")], check=True)
home = open_home(disk / "home")
request = Request("c", (archive,), Rules())
for _ in range(2):
    try:
        take_in(home, request)
    except DiskFull as error:
        print("full")
list(AuditLog(home.folder / "audit.jsonl").entries())
subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
take_in(home, request)
cohort = open_cohort(home, "c")
cohort.verify(cohort.cases)
list(AuditLog(home.folder / "audit.jsonl").entries())
print(cohort.row.fingerprint)
"""


def test_a_disk_that_really_is_full(home: Home, tmp_path: Path) -> None:
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    disk, trial = tmp_path / "disk", ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    try:
        subprocess.run([*private, *trial], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        if os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
            pytest.fail("a small disk cannot be mounted (unshare, of util-linux)")
        pytest.skip("needs leave to mount a small disk (unshare, of util-linux)")
    disk.mkdir()
    pixels = (np.random.default_rng(n).integers(0, 4096, (64, 100)).astype(np.uint16) for n in range(100))
    archive = laid(tmp_path / "in", [picture("Anna", number=n, pixels=p) for n, p in enumerate(pixels)])
    command = [*private, sys.executable, "-c", ON_A_SMALL_DISK, str(archive), str(home.folder), str(disk)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["full", "full", taken(home, archive).row.fingerprint]


# Killed


DRIVER = """
import os, signal, sys
from pathlib import Path
from client.cohorts import catalogue, home, shelf, store
from client.cohorts.intake import Request, take_in
from client.cohorts.rules import Rules

folder, archive, moment, when, count = sys.argv[1:]
owner, name = moment.split(".")
shelf.COMMIT_FILES = 4
calls = 0

def dying(real):
    def call(*arguments, **more):
        global calls
        calls += 1
        if calls == int(count) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **more)
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

kinds = {k.__name__: k for k in (catalogue.Catalogue, store.PixelWriter, home.Home, shelf.Shelf)}
setattr(kinds[owner], name, dying(getattr(kinds[owner], name)))
take_in(home.open_home(Path(folder)), Request("c", (Path(archive),), Rules("slices")))
"""

MOMENTS = [
    ("Catalogue.create", "after", 1),
    ("Catalogue.begin_intake", "after", 1),
    ("Home.audit", "before", 1),
    ("PixelWriter.append", "after", 2),
    ("PixelWriter.sync", "before", 1),
    ("PixelWriter.sync", "after", 2),
    ("Catalogue.add", "after", 1),  # in the middle of a transaction
    ("Shelf.commit", "after", 3),
    ("Catalogue.settle", "before", 1),
    ("Catalogue.settle", "after", 1),
    ("Home.audit", "before", 2),
]


def marked(mark: str) -> list[int]:
    """The processes that have the mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
    return found


def vanish(mark: str, within_s: float) -> bool:
    last = time.monotonic() + within_s
    while time.monotonic() < last:
        if not marked(mark):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cohort]:
    folder = tmp_path_factory.mktemp("whole")
    archive = laid(folder / "in", hospital())
    return archive, taken(new_home(folder / "home"), archive, rules=SLICES)


@pytest.mark.parametrize(("moment", "when", "count"), MOMENTS, ids=lambda value: str(value))
def test_killed_at_any_moment_the_next_run_makes_it_whole(
    home: Home, uninterrupted: tuple[Path, Cohort], moment: str, when: str, count: int
) -> None:
    archive, expected = uninterrupted
    mark = f"CONSILIUM_TEST_{uuid4().hex}"
    command = [sys.executable, "-c", DRIVER, str(home.folder), str(archive), moment, when, str(count)]
    killed = subprocess.run(
        command, cwd=ROOT, env={**os.environ, mark: "1"}, capture_output=True, text=True, timeout=60
    )
    assert killed.returncode == -9, killed.stderr
    assert vanish(mark, 5.0)
    whole(home, "c")
    after = taken(home, archive, rules=SLICES)  # at once: the lock went with the process
    same(expected, after)
    after.verify(after.cases)
    whole(home, "c")
    assert list(AuditLog(home.folder / "audit.jsonl").entries())[-1].event == "cohort.intake-ended"


HANGING = """
import sys, time
from client.dicom.workers import Limits, WorkerPool

with WorkerPool(time.sleep, 3, Limits(time_s=1.0), lambda _: 1.0).running() as pool:
    print("begun", flush=True)
    list(pool.map([60.0] * 100))
"""


def test_workers_that_hang_do_not_outlive_their_parent_for_long() -> None:
    mark = f"CONSILIUM_TEST_{uuid4().hex}"
    with subprocess.Popen(
        [sys.executable, "-c", HANGING], cwd=ROOT, env={**os.environ, mark: "1"}, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"begun\n"
        time.sleep(0.3)
        assert len(marked(mark)) >= 5  # itself, the fork server, three workers
        parent.kill()
    assert vanish(mark, 6.0)


TOGETHER = """
import sys
from pathlib import Path
from client.cohorts.home import open_home
from client.cohorts.intake import Request, take_in
from client.cohorts.rules import Rules

take_in(open_home(Path(sys.argv[1])), Request(sys.argv[3], (Path(sys.argv[2]),), Rules("slices")))
"""


def test_several_cohorts_may_be_taken_in_at_the_same_time(
    home: Home, uninterrupted: tuple[Path, Cohort]
) -> None:
    """Also where the database has yet to be made."""
    archive, expected = uninterrupted
    home.database.unlink()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(home.folder), str(archive), name],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        for name in "abc"
    ]
    told = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, told
    for name in "abc":
        assert open_cohort(home, name).row.fingerprint == expected.row.fingerprint
    events = Counter(entry.event for entry in AuditLog(home.folder / "audit.jsonl").entries())
    assert events["cohort.intake-begun"] == events["cohort.intake-ended"] == 3
