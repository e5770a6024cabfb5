"""Supervised child processes: none dies unnoticed, none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import DiskFull, EngineFailed, MachineError, PortTaken
from deploy.engines.processes import Processes, tail
from deploy.engines.stragglers import MARK_VARIABLE, end_marked, marked

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")

SLEEP = ("sleep", "60")
# Starts a process that leaves the group and whose parent ends at once: only its mark leads to it.
RUNAWAY = ("sh", "-c", "setsid sleep 60 & echo $! > runaway; exec sleep 60")


def _processes(folder: Path, *, grace_s: float = 1.0) -> Processes:
    private = folder / "private"
    private.mkdir()
    return Processes(private, dict(os.environ), keep_logs_in=folder / "kept", grace_s=grace_s)


def _eventually(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 20  # generous: importing the package under load takes seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _number(file: Path) -> int:
    assert _eventually(lambda: file.exists() and file.read_text().strip())
    return int(file.read_text())


def _death(folder: Path, script: str) -> MachineError:
    with pytest.raises(MachineError) as caught, _processes(folder) as processes:
        processes.start("alpha", SLEEP)
        processes.start("beta", ("sh", "-c", script)).wait()
        processes.check()
    return caught.value


def test_running_processes_pass_the_check_and_end_with_the_context(tmp_path: Path) -> None:
    with _processes(tmp_path) as processes:
        children = [processes.start("alpha", SLEEP), processes.start("beta", SLEEP)]
        processes.check()
    assert [child.returncode for child in children] == [-15, -15]


def test_a_death_names_the_process_and_shows_its_last_lines(tmp_path: Path) -> None:
    error = _death(tmp_path, "seq 1 40; echo '\033[91mlast words\033[0m' >&2; exit 3")
    assert isinstance(error, EngineFailed)
    assert "beta ended early, with exit status 3" in error.private
    assert error.private.endswith("40\nlast words")
    assert "\n20\n" not in error.private


def test_a_killed_process_is_said_to_be_killed(tmp_path: Path) -> None:
    assert "beta ended early, killed by signal 9" in _death(tmp_path, "kill -9 $$").private


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("[Errno 98] error while attempting to bind: Address already in use", PortTaken),
        ("OSError: [Errno 28] No space left on device", DiskFull),
        ("sqlite3.OperationalError: database or disk is full", DiskFull),
    ],
)
def test_a_known_cause_becomes_its_own_error(tmp_path: Path, words: str, kind: type[MachineError]) -> None:
    assert type(_death(tmp_path, f"echo '{words}'; exit 1")) is kind


def test_logs_are_kept_after_a_failure_only(tmp_path: Path) -> None:
    with _processes(tmp_path) as processes:
        processes.start("alpha", SLEEP)
    assert not (tmp_path / "kept").exists()
    (tmp_path / "again").mkdir()
    _death(tmp_path / "again", "echo why")
    assert (tmp_path / "again" / "kept" / "beta.log").read_text() == "why\n"


def test_the_private_folder_is_gone_in_the_end(tmp_path: Path) -> None:
    with _processes(tmp_path) as processes:
        processes.start("alpha", ("sh", "-c", "mkdir deep && touch deep/file; exec sleep 60"))
        assert _eventually((tmp_path / "private" / "deep" / "file").exists)
    assert not (tmp_path / "private").exists()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    with _processes(tmp_path, grace_s=0.1) as processes:
        child = processes.start(
            "deaf", ("sh", "-c", "trap '' TERM; touch ready; while :; do sleep 0.1; done")
        )
        assert _eventually((tmp_path / "private" / "ready").exists)
    assert child.returncode == -9


@needs_proc
def test_a_runaway_grandchild_is_found_and_ended(tmp_path: Path) -> None:
    with _processes(tmp_path) as processes:
        processes.start("alpha", RUNAWAY)
        pid = _number(tmp_path / "private" / "runaway")
        assert _eventually(lambda: os.getsid(pid) == pid)
        assert _lives(pid)
    assert not _lives(pid)


@needs_proc
def test_a_killed_parent_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
        import os, time
        from pathlib import Path
        from deploy.engines.processes import Processes
        with Processes(Path("private"), dict(os.environ), keep_logs_in=Path("kept")) as processes:
            processes.start("alpha", {RUNAWAY!r})
            time.sleep(60)
    """
    private = tmp_path / "private"
    private.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", textwrap.dedent(script).replace('"private"', repr(str(private)))]
    parent = subprocess.Popen(command, cwd=tmp_path, env=environment)
    pid = _number(private / "runaway")
    parent.kill()
    parent.wait()
    assert _eventually(lambda: not _lives(pid) and not private.exists())


@needs_proc
def test_only_processes_with_the_mark_are_ended(tmp_path: Path) -> None:
    mine, other = (subprocess.Popen(SLEEP, env={**os.environ, MARK_VARIABLE: m}) for m in ("one", "two"))
    try:
        assert _eventually(lambda: marked("one") == [mine.pid])
        assert end_marked("one") == []
        assert mine.wait() == -9
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_missing_log_has_no_tail(tmp_path: Path) -> None:
    assert tail(tmp_path / "missing.log") == ""
