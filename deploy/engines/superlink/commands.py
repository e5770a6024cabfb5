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
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

from common.errors import EngineFailed

COMMAND = (sys.executable, "-P", __file__)
"""Starts the child process, which wants its standard input and output to be pipes.

By path, not as a module: importing the package that this file is in would take longer than loading ``flwr``.
"""

_TICK_S = 0.25
_READ_BYTES = 65_536


class CommandFailed(EngineFailed):
    """A ``flwr`` command ended with an error."""


class FlowerCommands:
    """The parent's end of the child process.

    Args:
        process: The child, started with ``COMMAND``.
        tick: Called about four times a second while an answer is awaited; may raise.
    """

    def __init__(self, process: subprocess.Popen[bytes], tick: Callable[[], None]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process needs pipes")
        self._requests, self._answers = process.stdin, process.stdout
        self._tick = tick

    def __call__(self, *arguments: str) -> str:
        """Return what ``flwr`` prints when called with ``arguments``.

        Raises:
            CommandFailed: The command failed; the child is ready for the next one.
        """
        # A child that has ended is reported by ``tick``, which knows its log.
        with suppress(BrokenPipeError):
            self._requests.write(json.dumps(arguments).encode() + b"\n")
            self._requests.flush()
        answer = json.loads(self._read_line())
        output: str = answer["output"]
        if not answer["ok"]:
            self._tick()  # the death of another process, if there was one, says more than a failed command
            raise CommandFailed(f"`flwr {' '.join(arguments[:2])}` failed: {output.strip()}")
        return output

    def json(self, *arguments: str) -> Any:
        """Return what ``flwr`` answers when it is asked for JSON.

        Raises:
            CommandFailed: The command failed, which it may tell in the answer alone.
        """
        output = self(*arguments, "--format=json")
        answer = json.loads(output)
        if not answer.get("success"):
            raise CommandFailed(f"`flwr {arguments[0]}` failed: {output.strip()}")
        return answer

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
