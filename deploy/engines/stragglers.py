"""Processes that outlive the one that started them, found by a mark in their environment.

A process inherits its environment from its parent, so a mark set once reaches children of children, also
those that have moved to another process group or were adopted by init. Invariant: this file needs nothing
but the standard library, because it is also run as a script: the *guardian*, which waits until the process
that started it ends in whatever way (``kill -9`` too), then ends all marked processes and removes their
folder.

The environment of another process can be read on Linux only; elsewhere nothing is found, and process groups
and Flower's own ``--parent-pid`` have to do.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK_VARIABLE = "CONSILIUM_FEDERATION"

_PROC = Path("/proc")
_POLL_S = 0.02


def marked(mark: str) -> list[int]:
    """Return the ids of all living processes that carry ``mark``, this one excepted."""
    entry = f"{MARK_VARIABLE}={mark}".encode()
    found = []
    for folder in _PROC.glob("[0-9]*"):
        # A process may end, or belong to somebody else; a zombie's environment is empty.
        with suppress(OSError):
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def end_marked(mark: str, *, patience_s: float = 5.0) -> list[int]:
    """Kill every process that carries ``mark``.

    Args:
        mark: The mark's value.
        patience_s: How long to wait for killed processes to go.

    Returns:
        The ids of those that were still there after ``patience_s``.
    """
    deadline = time.monotonic() + patience_s
    # Again and again: a process found now may have started another one in the meantime.
    while (pids := marked(mark)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    return pids


def start_guardian(mark: str, folder: Path) -> subprocess.Popen[bytes]:
    """Return a process that clears up as soon as its standard input is closed.

    Args:
        mark: The mark of the processes to end.
        folder: The folder to remove after that.
    """
    command = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), mark, str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != MARK_VARIABLE}
    # A session of its own, so that Ctrl-C in the terminal does not end it with the process it watches.
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", env=environment, start_new_session=True)


def _guard(mark: str, folder: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_marked(mark)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(sys.argv[1], sys.argv[2])
