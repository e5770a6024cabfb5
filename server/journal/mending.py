"""What is damaged of a round under way: it is let go of, so that it is asked for, or made, once more.

Nothing is guessed: a file that is not what its row says is worth nothing. A model is made again of the
updates that made it. If one of those is damaged, its site is asked once more and has a round's whole time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Table, delete, select, update

from common.errors import WeightsDamaged
from server.journal.protocol import Course
from server.journal.state import of_round
from server.journal.tables import contribution as contributions
from server.journal.tables import evaluation as evaluations
from server.journal.tables import round_ as rounds
from server.models import verified

log = logging.getLogger("consilium.coordinator.journal")

File = Callable[[str], Path]
"""Where the arrays of a site lie."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is not what was written.

    Attributes:
        updates: Sites whose updates it is.
        counts: Sites whose counts it is.
        model: Whether the round's model is, or an update that it was made of.
    """

    updates: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    model: bool = False


def damage_of(
    connection: Connection, run: int, course: Course, model: Path, update_of: File, counts_of: File
) -> Damage:
    """What is damaged of a round.

    Args:
        connection: To the database.
        run: Whose round.
        course: How far it is.
        model: Where its model lies, if it has one.
        update_of: Where updates lie.
        counts_of: Where counts lie.
    """
    updates = _damaged(_digests(connection, contributions, run, course.number), update_of)
    counts = _damaged(_digests(connection, evaluations, run, course.number), counts_of)
    spoilt = bool(course.model_digest) and (bool(updates) or not _is_whole(model, course.model_digest))
    return Damage(updates, counts, spoilt)


def let_go(connection: Connection, run: int, course: Course, damage: Damage, deadline: float) -> None:
    """Forget what is damaged.

    Args:
        connection: A transaction.
        run: Whose round.
        course: How far it was.
        damage: What is to be forgotten. Without the model, no counts of it are worth anything either.
        deadline: Until when whoever is asked once more may answer, in seconds since 1970.
    """
    for site in damage.updates:
        log.warning("round %s: the update of %s is damaged; it is asked for again", course.number, site)
    counted, given = (of_round(table, run, course.number) for table in (evaluations, contributions))
    connection.execute(delete(contributions).where(given, contributions.c.site.in_(damage.updates)))
    if damage.model:
        log.warning("round %s: its model is damaged; it is made again", course.number)
        connection.execute(delete(evaluations).where(counted))
    else:
        connection.execute(delete(evaluations).where(counted, evaluations.c.site.in_(damage.counts)))
    values = {"deadline": deadline, **({"model_digest": "", "about": {}} if damage.model else {})}
    connection.execute(update(rounds).where(of_round(rounds, run, course.number)).values(**values))


def _digests(connection: Connection, table: Table, run: int, number: int) -> dict[str, str]:
    query = select(table.c.site, table.c.digest).where(of_round(table, run, number))
    return {row.site: row.digest for row in connection.execute(query.order_by(table.c.site))}


def _damaged(digests: Mapping[str, str], place: File) -> tuple[str, ...]:
    return tuple(site for site, known in digests.items() if not _is_whole(place(site), known))


def _is_whole(path: Path, known: str) -> bool:
    try:
        verified(path, known, "")
    except WeightsDamaged:
        return False
    return True
