"""What is damaged of a round under way: it is let go of, so that it is asked for, or made, once more.

Nothing is guessed: a file that is not what its row says is worth nothing. A model is made again of the
updates that made it. If one of those is damaged, its site is asked once more and has a round's whole time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from common.errors import WeightsDamaged
from server.journal.protocol import Course
from server.journal.state import by_site, of_round
from server.journal.tables import contribution as contributions
from server.journal.tables import evaluation as evaluations
from server.journal.tables import round_ as rounds
from server.models import verified

log = logging.getLogger("consilium.coordinator.journal")

Opened = Callable[[Row[Any]], object]
"""Opens the arrays of a site's row; raises WeightsDamaged where they are not what was written."""


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
    connection: Connection, run: int, course: Course, model: Path, update_of: Opened, counts_of: Opened
) -> Damage:
    """What is damaged of a round.

    Args:
        connection: To the database.
        run: Whose round.
        course: How far it is.
        model: Where its model lies, if it has one.
        update_of: Opens updates.
        counts_of: Opens counts.
    """
    given, counted = (
        by_site(connection, select(table).where(of_round(table, run, course.number)))
        for table in (contributions, evaluations)
    )
    updates, counts = _damaged(given, update_of), _damaged(counted, counts_of)
    made = course.model_digest
    spoilt = bool(made) and (bool(updates) or not _is_whole(lambda: verified(model, made, "")))
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


def _damaged(rows: Iterable[Row[Any]], opened: Opened) -> tuple[str, ...]:
    return tuple(row.site for row in rows if not _is_whole(partial(opened, row)))


def _is_whole(opened: Callable[[], object]) -> bool:
    try:
        opened()
    except WeightsDamaged:
        return False
    return True
