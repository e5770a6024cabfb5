"""What can still be found of a ledger that is not what was written, in the audit log and in its own file.

Everything that is found counts whole, whatever was settled: where a line was changed or lost, nobody knows
what it said of fewer steps. The audit log, which was verified, is believed first. Where a line of the file
that has its own digest says otherwise, both count.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from client.ledger.records import (
    HEAD,
    Accepted,
    Carried,
    Former,
    Origin,
    Record,
    Reserved,
    Settled,
    Stopped,
    record_of,
    require_known_schema,
)
from common.chain import Entry, read_entry
from common.errors import LedgerBroken

_LINE_START = b'{"digest":"'
_LEDGER: Origin = "ledger"
_CHANGED: Origin = "changed line"


@dataclass(slots=True)
class Remains:
    """What was found.

    Attributes:
        spending: By id of the reservation.
        heads: Every head that was met, in order.
        lost: Lines, at least, that are missing, changed or unreadable, and not in the audit log either.
    """

    spending: dict[str, Carried] = field(default_factory=dict)
    heads: dict[str, None] = field(default_factory=dict)
    lost: int = 0

    def note_head(self, head: str) -> None:
        """Take in a head, if it is one."""
        if HEAD.fullmatch(head):
            self.heads[head] = None

    def take(self, record: Record, time: str, origin: Origin) -> None:
        """Take in what a line said; the more reliable lines come first."""
        match record:
            case Reserved():
                self._reserve(carried(record, origin, time), origin)
            case Stopped() | Former():
                self.note_head(record.head)
            case Settled() if record.id in self.spending and record.clip_norm is not None:
                update = {"clip_norm": record.clip_norm}
                self.spending[record.id] = self.spending[record.id].model_copy(update=update)
            case Settled() | Accepted():
                pass  # how many steps were done is not relied on; who accepted stands in the file set aside
            case _:
                raise TypeError(record.kind)

    def _reserve(self, record: Carried, origin: Origin) -> None:
        known = self.spending.setdefault(record.id, record)
        if origin == "ledger" and known.event != record.event:
            another = record.model_copy(update={"id": secrets.token_hex(16)})
            self.spending[another.id] = another


def remains_of(content: bytes, head: bytes, testimonies: Sequence[Entry]) -> Remains:
    """What can still be found.

    Args:
        content: The ledger's file, as it is.
        head: The file of its head, as it is.
        testimonies: The ledger's entries as the audit log was told them.

    Raises:
        LedgerBroken: A newer Consilium wrote some of it; nothing of that may be lost.
    """
    found = Remains()
    for each in testimonies:
        found.note_head(each.head)
        _take(found, each, "audit log")
    told = _since_begun(testimonies)
    last_told = max((each.number for each in told), default=0)
    lines, intact, changed = list(_lines(content)), list[Entry](), list[Entry]()
    for number, line in enumerate(lines, start=1):
        entry = read_entry(line)
        if entry is not None and entry.to_line() == line + b"\n":
            intact.append(entry)
            continue
        found.lost += number > last_told
        changed += [entry] if entry is not None else []
    for entries, origin in ((intact, _LEDGER), (changed, _CHANGED)):
        for entry in entries:
            found.note_head(entry.head)
            _take(found, entry, origin)
    found.note_head(_head_in(head))
    found.lost += max(0, _highest([*told, *intact], head) - max(last_told, len(lines)))
    return found


def carried(record: Reserved, origin: Origin, reserved_at: str) -> Carried:
    """A reservation as one that is taken over."""
    if isinstance(record, Carried):
        return record
    return Carried(**record.model_dump(), origin=origin, reserved_at=reserved_at)


def _take(found: Remains, entry: Entry, origin: Origin) -> None:
    where = f"entry {entry.number}"
    require_known_schema(entry.facts, where)
    try:
        found.take(record_of(entry.event, entry.facts, where), entry.time, origin)
    except LedgerBroken:
        found.lost += origin == "ledger"


def _since_begun(testimonies: Sequence[Entry]) -> list[Entry]:
    """Those of the chain that is in use, not of those that were set aside."""
    told: list[Entry] = []
    for each in testimonies:
        if each.event == Accepted.kind and each.number == 1:
            told.clear()
        told.append(each)
    return told


def _highest(entries: Sequence[Entry], head: bytes) -> int:
    """The highest number that the head's file, or a coordinator, says there once was."""
    stops = [str(entry.facts.get("head")) for entry in entries if entry.event == Stopped.kind]
    return max(
        int(said.partition(":")[0]) if HEAD.fullmatch(said) else 0 for said in (_head_in(head), *stops)
    )


def _head_in(content: bytes) -> str:
    try:
        head = json.loads(content)
        return f"{head['number']}:{head['digest']}"
    except (ValueError, KeyError, TypeError):
        return ""


def _lines(content: bytes) -> Iterator[bytes]:
    """The lines of a file; two whose line end was lost come apart again."""
    for line in content.split(b"\n"):
        if not line:
            continue
        if read_entry(line) is not None:
            yield line
            continue
        first, *others = line.split(_LINE_START)
        if first or not others:
            yield first
        for other in others:
            piece = _LINE_START + other
            yield piece[: piece.rfind(b"}") + 1] or piece
