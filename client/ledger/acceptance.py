"""A person decides how a ledger goes on that is not what was written.

The file is kept beside the new one, never deleted. The new chain begins with who decided and why, with all
spending that can still be found, each counted whole, and with the heads that others may still name.

A crash in between leaves the old file, or a new one that is found wanting; the same decision, taken once
more, then ends the work.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.ledger.records import Accepted, Carried, Former, Record, Reserved, facts_of
from client.ledger.remains import Remains, carried, remains_of
from client.ledger.task import Task
from client.ledger.witness import Witness
from common.chain import Chain, Entry, locked, next_entry, sync_folder, write_whole
from common.files import write_atomically
from common.private.event import Event


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decides.

    Attributes:
        by: Who.
        reason: Why, in a sentence. It must name no patient.
        added: Spending that is known of and nowhere written.
    """

    by: str
    reason: str
    added: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the ledger goes on.

    Attributes:
        aside: The old files, under their new names; none where the ledger was whole.
        counted: Reservations that were taken over or added, each whole.
        lost: Lines, at least, that are missing, changed or unreadable, and not in the audit log either.
        head: The ledger's new head.
    """

    aside: tuple[Path, ...]
    counted: int
    lost: int
    head: str


def added_by(decision: Decision, cohort: str, delta: float) -> tuple[Carried, ...]:
    """What the person adds, as records."""
    task = Task("", "", 0, "", cohort, "")
    return tuple(carried(Reserved.of(task, event, delta), "person", "") for event in decision.added)


def restart(chain: Chain, witness: Witness | None, decision: Decision, added: Sequence[Carried]) -> Outcome:
    """How the ledger goes on after a new chain was put in the place of the old one.

    Raises:
        AuditBroken: The audit log is not what was written either; nothing was done.
        LedgerBroken: A newer Consilium wrote in the ledger; nothing was done.
        DiskFull, OutputUnwritable: It cannot be written.
    """
    with chain.writing(), locked(chain.path, os.O_RDWR | os.O_CREAT) as file:
        content = file.readall()
        head = chain.head_path.read_bytes() if chain.head_path.exists() else b""
        testimonies = witness.testimonies() if witness else ()
        found = remains_of(content, head, testimonies)
        aside = _set_aside({chain.path: content, chain.head_path: head})
        records = _beginning(found, decision, added, aside)
        entries = _chained(records, chain.time())
        with _put_in_place(chain.path, entries):
            chain.write_head(entries[-1])
            if witness:
                _tell(witness, records, entries, testimonies)
    return Outcome(aside, len(found.spending) + len(added), found.lost, entries[-1].head)


def _beginning(
    found: Remains, decision: Decision, added: Sequence[Carried], aside: Sequence[Path]
) -> list[Record]:
    accepted = Accepted(
        by=decision.by,
        reason=decision.reason,
        aside=" ".join(path.name for path in aside),
        lost=found.lost,
    )
    return [accepted, *found.spending.values(), *added, *(Former(head=head) for head in found.heads)]


def _chained(records: Sequence[Record], time: str) -> list[Entry]:
    entries: list[Entry] = []
    for record in records:
        entries.append(next_entry(entries[-1] if entries else None, time, record.kind, facts_of(record)))
    return entries


def _set_aside(contents: dict[Path, bytes]) -> tuple[Path, ...]:
    """Copies of the files that have any content, under names that are free; on the disk."""
    for number in itertools.count(1):
        aside = {path.with_name(f"{path.name}.aside-{number}"): kept for path, kept in contents.items()}
        if not any(path.exists() for path in aside):
            break
    for path, kept in aside.items():
        if kept:
            write_atomically(path, kept, 0o400)
            sync_folder(path.parent)
    return tuple(path for path, kept in aside.items() if kept)


@contextmanager
def _put_in_place(path: Path, entries: Sequence[Entry]) -> Iterator[None]:
    """Put the entries at ``path`` in one step; during the block nobody else opens them."""
    partial = path.with_name(f".{path.name}.partial")
    with locked(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as file:
        write_whole(file, b"".join(entry.to_line() for entry in entries))
        partial.replace(path)
        sync_folder(path.parent)
        yield


def _tell(
    witness: Witness, records: Sequence[Record], entries: Sequence[Entry], testimonies: Sequence[Entry]
) -> None:
    """Tell the audit log what it could not know, and the last entry: it is then told all that it must be."""
    known = {each.facts.get("id") for each in testimonies}
    for record, entry in zip(records, entries, strict=True):
        news = isinstance(record, Accepted) or (isinstance(record, Carried) and record.id not in known)
        if news or entry is entries[-1]:
            witness.tell(entry)
