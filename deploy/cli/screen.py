"""How the command ends: what a person or a machine sees of an error, and the exit status.

0 done   1 a defect of Consilium   2 wrong usage   3 study   4 data   5 federation   6 machine
7 identity, consent or the link   130 interrupted
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from common.errors import ConsiliumError, DiskFull
from common.files import unwritable

INTERRUPTED = 130


@contextmanager
def ending(as_json: bool) -> Iterator[None]:
    """Turn whatever ends a command into one screen and an exit status."""
    try:
        yield
    except ConsiliumError as error:
        show_error(error, as_json)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `consilium ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as defect:
        known = unwritable_or_none(defect)
        show_error(known or _unknown(defect), as_json)
        sys.exit(known.exit_code if known else 1)
    except Exception as defect:  # noqa: BLE001  the process edge
        show_error(_unknown(defect), as_json)
        sys.exit(1)


@contextmanager
def interruptible(told: str = "every process of the run has ended") -> Iterator[None]:
    """Say so when Ctrl-C or SIGTERM ended a run; typer would end without a word."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"interrupted; {told}", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)


def unwritable_or_none(error: OSError) -> ConsiliumError | None:
    """The coded error for a full disk, wherever it was met."""
    from pathlib import Path

    coded = unwritable(Path(str(error.filename or "")), error)
    return coded if isinstance(coded, DiskFull) else None


def show_error(error: ConsiliumError, as_json: bool) -> None:
    """The error as one JSON object on stdout, or as a few lines on stderr."""
    if as_json:
        print_json({"error": {"code": error.code, "message": error.private, "hint": error.hint}})
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("error ", "bold red"), (error.code, "bold"), f"  {error.public}"))
    if error.private != error.public:
        for line in error.private.splitlines()[:20]:
            console.print(Text(f"  {line}"))
    console.print(Text.assemble(("hint  ", "bold green"), error.hint))


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(document, indent=1))  # noqa: T201


def _unknown(defect: BaseException) -> ConsiliumError:
    """A defect of ours: its type and place, not its text, which may quote data."""
    trace = defect.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    if os.environ.get("CONSILIUM_DEBUG"):
        raise defect
    return ConsiliumError(
        f"{type(defect).__name__}{place}",
        hint="Set CONSILIUM_DEBUG=1 for the whole trace, and please report it.",
    )
