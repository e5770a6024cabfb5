"""Whether logs are what was written, each by itself and against the heads that the others noted of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.evidence.entry import Head
from common.evidence.heads import Note
from common.evidence.source import open_source
from common.evidence.verdict import Verdict, examine


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A head that was noted or kept, and that the log it names does not hold.

    Attributes:
        log: Name of the log that lacks it.
        head: What it should hold.
        why: Who says so, and what is there instead.
    """

    log: str
    head: Head
    why: str

    def __str__(self) -> str:
        return f"{self.log}: entry {self.head.number} {self.why}"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of checking several logs, each by itself and against the others.

    Attributes:
        verdicts: One a log, in the order given.
        disagreements: Between them, or with heads given by hand.
        agreed: How many heads that one log noted of another are in that, by (noting, noted).
    """

    verdicts: tuple[Verdict, ...]
    disagreements: tuple[Disagreement, ...]
    agreed: Mapping[tuple[str, str], int]

    @property
    def is_whole(self) -> bool:
        """Whether everything is what was written, as far as what was given can tell."""
        return not self.disagreements and all(verdict.first_bad is None for verdict in self.verdicts)

    @property
    def faults(self) -> Iterator[str]:
        """What is not, a line each."""
        for verdict in self.verdicts:
            fault = verdict.first_bad
            if fault is not None:
                alone = Path(verdict.name).name == fault.file
                yield str(fault).replace(fault.file, verdict.name, 1) if alone else f"{verdict.name}: {fault}"
        yield from map(str, self.disagreements)


def verify(logs: Mapping[str, Path], heads: Sequence[Head] = (), owners: Collection[str] = ()) -> Report:
    """What becomes of checking logs, and of comparing them.

    Args:
        logs: Where they are, by what to call them.
        heads: Heads that somebody kept; each must be in one of the logs, or be what its first entry follows.
        owners: Names of logs that are also those of who wrote them.

    Raises:
        AuditBroken: One cannot be read at all.
    """
    verdicts = tuple(
        examine(name, open_source(path), heads, is_owner=name in owners) for name, path in logs.items()
    )
    agreed: dict[tuple[str, str], int] = {}
    disagreements = [*_unheld(verdicts, heads)]
    for noting in verdicts:
        for noted in verdicts:
            notes = [note for note in noting.notes if noted.owner and note.peer == noted.owner]
            found = list(filter(None, (_disagreement(noting, noted, note) for note in notes)))
            disagreements += found[:1]
            if notes and noting is not noted:
                agreed[noting.name, noted.name] = len(notes) - len(found)
    return Report(verdicts, tuple(disagreements), agreed)


def _unheld(verdicts: Sequence[Verdict], heads: Sequence[Head]) -> Iterator[Disagreement]:
    """Heads given by hand that no log holds; of several logs it is not known which one should."""
    for head in heads:
        if any(head in (each.at(head.number), each.before) for each in verdicts):
            continue
        if len(verdicts) > 1:
            yield Disagreement("the logs", head, f"is in none of them as --head names it: {head}")
        elif verdicts[0].first_bad is None:
            why = f"is not {head}, as --head names it; {_instead(verdicts[0], head)}"
            yield Disagreement(verdicts[0].name, head, why)


def _disagreement(noting: Verdict, noted: Verdict, note: Note) -> Disagreement | None:
    """What is wrong where a log lacks an entry that another one noted; None if nothing is."""
    place = noted.at(note.head.number)
    if note.head.number <= noted.before.number or (place is None and noted.first_bad is not None):
        return None  # an export that begins later cannot tell, nor what comes after the first bad entry
    if place == note.head:
        return None
    why = f"is not {note.head}, which {noting.name} noted in its entry {note.number}"
    return Disagreement(noted.name, note.head, f"{why}; {_instead(noted, note.head)}")


def _instead(verdict: Verdict, head: Head) -> str:
    there = verdict.at(head.number)
    if there is not None:
        return f"there it is {there}: one of the two was rewritten"
    return f"it ends with entry {verdict.head.number}: entries are missing, or it is an older copy"
