"""An audit as files: ``attack.json`` for programs, ``attack.html`` for people."""

from __future__ import annotations

import json
from pathlib import Path

from common.errors import OutputExists
from common.files import unwritable, write_atomically
from deploy.attack.attack import Audit
from deploy.attack.page import render

JSON, HTML = "attack.json", "attack.html"


def check_out(out: Path, overwrite: bool) -> None:
    """Pass a folder that an audit may be written to.

    Raises:
        OutputExists: It is a file, or holds an earlier audit that is not to be replaced.
    """
    if out.exists() and not out.is_dir():
        raise OutputExists(f"{out} is a file", hint="Choose another --out.")
    if not overwrite and any((out / name).exists() for name in (JSON, HTML)):
        raise OutputExists(f"{out} holds an earlier audit")


def write_audit(out: Path, audit: Audit) -> None:
    """Write both files.

    Raises:
        DiskFull, OutputUnwritable: They cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from None
    write_atomically(out / JSON, json.dumps(audit.to_dict(), indent=1) + "\n")
    write_atomically(out / HTML, render(audit))
