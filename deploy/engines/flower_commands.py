"""Many ``flwr`` commands at the price of one start.

Each start of the ``flwr`` command takes about a second of processor time, and a federation needs one
command per site, one for the run and one for every look at its status. So one child process loads the
console script's entry point and carries out commands as they come: a JSON array of arguments per line on its
standard input, a JSON object with ``ok`` and ``output`` per line on its standard output.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import entry_points

from common.errors import EngineFailed

COMMAND = (sys.executable, "-P", "-m", "deploy.engines.flower_commands")
"""Starts the child process, which wants its standard input and output to be pipes."""

_TICK_S = 0.25
_READ_BYTES = 65_536


class FlowerCommands:
    """The parent's end of the child process.

    Args:
        process: The child, started with ``COMMAND``.
        tick: Called about four times a second while an answer is awaited; may raise.
    """

    def __init__(self, process: subprocess.Popen[bytes], tick: Callable[[], None]) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101
        self._requests, self._answers = process.stdin, process.stdout
        self._tick = tick

    def __call__(self, *arguments: str) -> str:
        """Return what ``flwr`` prints when called with ``arguments``.

        Raises:
            EngineFailed: The command failed.
        """
        self._requests.write(json.dumps(arguments).encode() + b"\n")
        self._requests.flush()
        answer = json.loads(self._read_line())
        output: str = answer["output"]
        if not answer["ok"]:
            raise EngineFailed(f"`flwr {' '.join(arguments[:2])}` failed: {output.strip()}")
        return output

    def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            self._tick()
            if select.select([self._answers], [], [], _TICK_S)[0]:
                line += os.read(self._answers.fileno(), _READ_BYTES)
        return line


def _carry_out(app: Callable[[list[str]], object], arguments: list[str]) -> bool:
    """Return whether the command succeeded."""
    # Flower looks at the command line itself to see whether JSON was asked for.
    sys.argv = ["flwr", *arguments]
    try:
        app(arguments)
    except SystemExit as exit_request:
        return exit_request.code in (None, 0)
    except Exception as error:  # noqa: BLE001 - the edge of this process: the parent reports it
        print(repr(error))  # noqa: T201 - captured, as everything the command prints
        return False
    return True


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    (script,) = entry_points(group="console_scripts", name="flwr")
    app = script.load()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as capture:
        # By descriptor: Flower keeps a reference to the first sys.stdout and prints JSON to that.
        os.dup2(capture.fileno(), 1)
        os.dup2(capture.fileno(), 2)
        for line in sys.stdin:
            capture.seek(0)
            capture.truncate()
            ok = _carry_out(app, json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            capture.seek(0)
            answers.write(json.dumps({"ok": ok, "output": capture.read()}) + "\n")
            answers.flush()


if __name__ == "__main__":
    _main()
