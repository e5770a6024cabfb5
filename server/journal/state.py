"""How a run stands, as its rows say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, select

from server.journal.protocol import Course
from server.journal.tables import contribution as contributions
from server.journal.tables import refusal as refusals
from server.journal.tables import round_ as rounds
from server.journal.tables import run as runs


@dataclass(frozen=True, slots=True)
class RunState:
    """How a run stands, for whoever asks.

    Attributes:
        name: Of the run.
        ended: Whether nothing more will be done.
        finished: How many rounds are.
        course: The round that is under way.
        contributed: Who has sent an update that counts.
        refused: Why others have not, by site, with the time since when.
        late: Whose updates of earlier rounds were refused as late in this one, likewise.
    """

    name: str
    ended: bool
    finished: int
    course: Course | None
    contributed: tuple[str, ...]
    refused: Mapping[str, tuple[str, str]]
    late: Mapping[str, tuple[str, str]]


def state_of(connection: Connection, name: str) -> RunState | None:
    """How a run stands; None if there is none of that name."""
    row = connection.execute(select(runs).where(runs.c.name == name)).first()
    if row is None:
        return None
    course = course_of(connection, row.id)
    number = course.number if course else 0
    kept = select(contributions.c.site).where(of_round(contributions, row.id, number))
    refused = of_round(refusals, row.id, number) & (refusals.c.stage != "gate")
    why = by_site(connection, select(refusals).where(refused))
    return RunState(
        name=name,
        ended=row.ended is not None,
        finished=_finished(connection, row.id),
        course=course,
        contributed=tuple(sorted(connection.scalars(kept))),
        refused={each.site: (each.reason, each.since) for each in why if each.stage != "late"},
        late={each.site: (each.reason, each.since) for each in why if each.stage == "late"},
    )


def course_of(connection: Connection, run: int) -> Course | None:
    """The round of a run that was begun and is not finished."""
    query = select(rounds).where(rounds.c.run == run).order_by(rounds.c.number.desc()).limit(1)
    row = connection.execute(query).first()
    if row is None or row.entry is not None:
        return None
    return Course(row.number, row.base_digest, tuple(row.asked), row.deadline, row.model_digest)


def by_site(connection: Connection, query: Select[Any]) -> list[Row[Any]]:
    """The rows in the order of their sites' names: Python's order, since each server has one of its own."""
    return sorted(connection.execute(query), key=lambda row: str(row.site))


def of_round(table: Table, run: int, number: int) -> ColumnElement[bool]:
    """What of a table belongs to a round of a run."""
    return (table.c.run == run) & (table.c.number == number)


def _finished(connection: Connection, run: int) -> int:
    entries = connection.scalars(select(rounds.c.entry).where(rounds.c.run == run))
    return sum(1 for entry in entries if entry is not None)
