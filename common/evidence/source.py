"""What a path given to ``consilium audit verify`` stands for: the files of one log, with its head."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.chain import HEAD_SUFFIX, locked
from common.errors import AuditBroken
from common.evidence.entry import PLAIN, Form
from common.evidence.export import BEGINNING, EXPORTED
from common.evidence.reading import Part
from common.evidence.rotation import closed_files, without_copy

AUDIT_FILE = "audit.jsonl"


@dataclass(frozen=True, slots=True)
class Source:
    """One log, as its files are.

    Attributes:
        parts: The files, the oldest first.
        head: Name and content of the head's file, which is empty where that is missing; None where it was not
            given.
        form: How the entries are spelt.
        is_live: Whether an entry may be being written to the last file: half a line is then nothing odd.
    """

    parts: Sequence[Part]
    head: Part | None
    form: Form
    is_live: bool


def homes_in(path: Path) -> list[Path]:
    """The homes in a folder that is none itself; anything else as it is."""
    if not path.is_dir() or (path / AUDIT_FILE).exists():
        return [path]
    return sorted(file.parent for file in path.glob(f"*/{AUDIT_FILE}")) or [path]


def open_source(path: Path) -> Source:
    """The log at a path.

    Args:
        path: A home or a folder with a copy of its ``audit*`` files; one such file, with the closed files and
            the head that lie beside it; or an export.

    Raises:
        AuditBroken: It cannot be read.
    """
    try:
        written = path / AUDIT_FILE if path.is_dir() else path
        head = written.with_suffix(HEAD_SUFFIX)
        with _still(written):
            files = [*closed_files(written), *([written] if written.exists() else [])]
            parts = without_copy([Part(file.name, file.read_bytes()) for file in files])
            content = head.read_bytes() if head.exists() else b"" if path.is_dir() else None
    except OSError as error:
        raise AuditBroken(f"{path} cannot be read: {error.strerror or error}") from None
    if not parts:
        raise AuditBroken(f"{path} holds no {AUDIT_FILE}", hint="Give a home, an audit.jsonl, or an export.")
    exported = parts[0].content.startswith(BEGINNING)
    return Source(
        parts=parts,
        head=None if exported or content is None else Part(head.name, content),
        form=EXPORTED if exported else PLAIN,
        is_live=not exported and parts[-1].name == written.name,
    )


@contextmanager
def _still(written: Path) -> Iterator[None]:
    """Nobody adds to the log during the block, where it is one that is being written."""
    with ExitStack() as stack:
        if written.exists():
            stack.enter_context(locked(written, os.O_RDONLY, fcntl.LOCK_SH))
        yield
