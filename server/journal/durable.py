"""A run's journal in a database, with the arrays of updates and counts in files beside it.

    checkpoints/round-0003.safetensors      the model (:class:`server.models.ModelFiles`)
    rounds/0003/train/SITE.blob             an update that was admitted: the very file in which it arrived
    rounds/0003/train/SITE.safetensors      the same, where it lay in no file, or on another disk
    rounds/0003/evaluate/SITE.safetensors   a site's counts
    rounds/memory-0003.safetensors          what the strategy must remember after a round

A file that arrived gets a second name here and is not written again: its row says where in it the arrays lie.

A file is written whole before the row that names it is, so a row that is there has its file; a file without a
row is one that a killed process left, and is written again. A file is used only if its digest is that of its
row. What is damaged of a round that is not finished is let go of by whoever takes the run over, and asked for
or made again (:mod:`server.journal.mending`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from sqlalchemy import Connection, Row, Table, delete, insert, select, update

from common.chain import Clock
from common.errors import JournalTaken, WeightsDamaged
from common.metrics import sums_of
from common.study import Study
from common.tasks import Evaluation
from common.update import Contribution
from common.weights import FileWeights, Weights, digest, save_weights
from server.journal.database import Database
from server.journal.files import linked, made, told, understood
from server.journal.mending import Damage, damage_of, let_go
from server.journal.protocol import Course, Stage
from server.journal.sealed import damaged
from server.journal.state import by_site, course_of, of_round
from server.journal.tables import contribution as contributions
from server.journal.tables import evaluation as evaluations
from server.journal.tables import readmission as readmissions
from server.journal.tables import refusal as refusals
from server.journal.tables import round_ as rounds
from server.journal.tables import run as runs
from server.models import FROM_BACKUP, ModelFiles, verified

ROUNDS, LOSS = "rounds", "loss"
ABOUT, MEMORY = "about", "memory"  # what was told of a trained round, and the digest of what is remembered
_AGAIN = "Start the coordinator again: what is damaged of a round under way is then asked for once more."


class DurableJournal:
    """A :class:`server.journal.protocol.RunJournal` that outlives all processes; from :meth:`Journal.run`."""

    def __init__(self, database: Database, run: int, owner: int, folder: Path, now: Clock) -> None:
        self._database, self._run, self._owner, self._now = database, run, owner, now
        self._folder, self._out = folder / ROUNDS, folder

    @property
    def begun(self) -> str:
        """When the run began, in UTC."""
        with self._database.reading() as connection:
            return str(connection.scalar(select(runs.c.begun).where(runs.c.id == self._run)))

    def require_mine(self) -> None:
        """See the protocol."""
        with self._writing():
            pass

    def finished(self) -> list[dict[str, Any]]:
        """See the protocol."""
        query = select(rounds.c.number, rounds.c.entry).where(rounds.c.run == self._run)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(rounds.c.number)).all()
        if [row.number for row in found] != list(range(1, len(found) + 1)):
            raise damaged("a round is missing")
        return [dict(row.entry) for row in found if row.entry is not None]

    def course(self) -> Course | None:
        """See the protocol."""
        with self._database.reading() as connection:
            return course_of(connection, self._run)

    def begin(self, course: Course) -> None:
        """See the protocol.

        Raises:
            WeightsDamaged: It would begin from another model than the round before has made.
        """
        before = select(rounds.c.model_digest).where(of_round(rounds, self._run, course.number - 1))
        with self._database.reading() as connection:
            made = connection.scalar(before)
        if made is not None and made != course.base_digest:
            raise WeightsDamaged(
                f"the model of round {course.number - 1} is not the one that was made", hint=FROM_BACKUP
            )
        values = {
            "base_digest": course.base_digest,
            "asked": list(course.asked),
            "deadline": course.deadline,
            "model_digest": course.model_digest,
            "about": {},
        }
        self._put(rounds, {"number": course.number}, values)

    def base(self, number: int) -> str:
        """See the protocol."""
        with self._database.reading() as connection:
            return (
                connection.scalar(select(rounds.c.base_digest).where(of_round(rounds, self._run, number)))
                or ""
            )

    def keep(self, contribution: Contribution, number: int | None = None) -> Contribution:
        """See the protocol."""
        self.require_mine()
        number, site = contribution.round if number is None else number, contribution.site
        known = digest(contribution.delta)
        arrived = self._arrived(number, site)
        places = linked(arrived, contribution.delta)
        if places is None:
            stored: FileWeights = save_weights(
                self._file(number, "train", site), contribution.delta, {"digest": known}
            )
        else:
            stored = FileWeights(arrived, places)
        about = {f.name: getattr(contribution, f.name) for f in fields(Contribution) if f.name != "delta"}
        values = {"about": about, "digest": known, "places": None if places is None else told(places)}
        with self._writing() as connection:
            self._replace(connection, contributions, {"number": number, "site": site}, values)
            self._forgive(connection, number, "train", site)
        return replace(contribution, delta=stored)

    def has_update(self, site: str, trained_for: int) -> bool:
        """See the protocol."""
        since = (contributions.c.run == self._run) & (contributions.c.number >= trained_for)
        with self._database.reading() as connection:
            found = connection.scalars(
                select(contributions.c.about).where(since, contributions.c.site == site)
            )
            return any(about["round"] == trained_for for about in found)

    def contributed(self, number: int) -> tuple[str, ...]:
        """See the protocol."""
        query = select(contributions.c.site).where(of_round(contributions, self._run, number))
        with self._database.reading() as connection:
            return tuple(sorted(connection.scalars(query)))

    def kept(self, number: int) -> dict[str, Contribution]:
        """See the protocol."""
        query = select(contributions).where(of_round(contributions, self._run, number))
        with self._database.reading() as connection:
            found = by_site(connection, query)
        return {row.site: Contribution(**row.about, delta=self._update(row)) for row in found}

    def refuse(self, number: int, stage: Stage, site: str, reason: str) -> None:
        """See the protocol."""
        key = {"number": number, "stage": stage, "site": site}
        told = reason[:500].replace(
            "\0", "\N{REPLACEMENT CHARACTER}"
        )  # PostgreSQL's text holds no such character
        self._put(refusals, key, {"reason": told, "since": self._time()})

    def refused(self, number: int, stage: Stage) -> dict[str, str]:
        """See the protocol."""
        query = select(refusals).where(of_round(refusals, self._run, number), refusals.c.stage == stage)
        with self._database.reading() as connection:
            return {row.site: row.reason for row in by_site(connection, query)}

    def trained(self, number: int, model_digest: str, about: Mapping[str, Any], memory: Weights) -> None:
        """See the protocol."""
        self.require_mine()
        if memory:
            save_weights(self._memory(number), memory, {})
        told = {ABOUT: dict(about), MEMORY: digest(memory) if memory else ""}
        with self._writing() as connection:
            values = {"model_digest": model_digest, "about": told}
            connection.execute(update(rounds).where(of_round(rounds, self._run, number)).values(**values))

    def known(self) -> Mapping[str, Any]:
        """See the protocol."""
        return dict(self._told()[1].get(ABOUT, {}))

    def memory(self) -> Weights:
        """See the protocol."""
        number, told = self._told()
        with self._database.reading() as connection:
            ended = connection.scalar(select(runs.c.ended).where(runs.c.id == self._run))
        if ended is not None or not told.get(MEMORY):
            return {}
        return dict(verified(self._memory(number), told[MEMORY], FROM_BACKUP))

    def count(self, evaluation: Evaluation) -> None:
        """See the protocol."""
        self.require_mine()
        number, site = evaluation.round, evaluation.site
        arrays = evaluation.sums.arrays()
        arrays[LOSS] = np.asarray(evaluation.sums.loss, np.float64)  # with them under one digest
        known = digest(arrays)
        save_weights(self._file(number, "evaluate", site), arrays, {"digest": known})
        values = {"base_digest": evaluation.base_digest, "loss": evaluation.sums.loss, "digest": known}
        with self._writing() as connection:
            self._replace(connection, evaluations, {"number": number, "site": site}, values)
            self._forgive(connection, number, "evaluate", site)

    def counted(self, number: int) -> dict[str, Evaluation]:
        """See the protocol."""
        query = select(evaluations).where(of_round(evaluations, self._run, number))
        with self._database.reading() as connection:
            found = by_site(connection, query)
        counted = {}
        for row in found:
            arrays = dict(self._counts(row))
            sums = sums_of(float(arrays.pop(LOSS)), arrays)
            counted[row.site] = Evaluation(row.site, number, row.base_digest, sums)
        return counted

    def readmitted(self) -> list[tuple[int, str]]:
        """See the protocol."""
        query = select(readmissions.c.number, readmissions.c.site).where(readmissions.c.run == self._run)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(readmissions.c.number))
            return [(row.number, row.site) for row in found]

    def finish(self, number: int, entry: Mapping[str, Any]) -> None:
        """See the protocol."""
        with self._writing() as connection:
            connection.execute(
                update(rounds).where(of_round(rounds, self._run, number)).values(entry=dict(entry))
            )
        shutil.rmtree(self._round(number), ignore_errors=True)
        with suppress(OSError):  # it costs room, and nothing else
            self._memory(number - 1).unlink(missing_ok=True)

    def end(self, status: str) -> None:
        """Write down that nothing more will be done, and how the run ended."""
        with self._writing() as connection:
            values = {"ended": self._time(), "status": status}
            connection.execute(update(runs).where(runs.c.id == self._run).values(**values))
        shutil.rmtree(self._folder, ignore_errors=True)

    def mend(self, study: Study) -> None:
        """Let go of what is damaged of the round under way, for it to be asked for or made again.

        Not of a model under the coordinator's own noise: a second one of the same updates would tell more of
        them than was promised. Whoever needs it finds it damaged.
        """
        course = self.course()
        if course is None:
            return
        model = self._out / ModelFiles.name(course.number)
        with self._database.reading() as connection:
            found = damage_of(connection, self._run, course, model, self._update, self._counts)
        noised = study.privacy is not None and study.privacy.sites is not None
        if found == Damage() or (found.model and noised):
            return
        with self._writing() as connection:
            deadline = self._now().timestamp() + study.federation.deadline_s
            let_go(connection, self._run, course, found, deadline)

    # How it is written

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction of the process that conducts the run.

        Raises:
            JournalTaken: That is another one by now.
        """
        with self._database.writing() as connection:
            mine = select(runs.c.owner).where(runs.c.id == self._run).with_for_update()
            if connection.scalar(mine) != self._owner:
                raise JournalTaken("another process conducts this run")
            yield connection

    def _put(self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        with self._writing() as connection:
            self._replace(connection, table, key, values)

    def _replace(
        self, connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]
    ) -> None:
        whole = {"run": self._run, **key}
        chosen = [table.c[name] == value for name, value in whole.items()]
        if connection.execute(update(table).where(*chosen).values(**values)).rowcount == 0:
            connection.execute(insert(table).values(**whole, **values))

    def _forgive(self, connection: Connection, number: int, stage: Stage, site: str) -> None:
        chosen = (refusals.c.stage == stage) & (refusals.c.site == site)
        connection.execute(delete(refusals).where(of_round(refusals, self._run, number), chosen))

    def _told(self) -> tuple[int, Mapping[str, Any]]:
        """Number of the last round that was trained, and what was told of it; 0 and nothing before."""
        query = select(rounds.c.number, rounds.c.about).where(
            rounds.c.run == self._run, rounds.c.model_digest != ""
        )
        with self._database.reading() as connection:
            row = connection.execute(query.order_by(rounds.c.number.desc()).limit(1)).first()
        return (0, {}) if row is None else (row.number, row.about)

    def _update(self, row: Row[Any]) -> Weights:
        """A site's update, as its row says."""
        if row.places is None:
            return verified(self._file(row.number, "train", row.site), row.digest, _AGAIN)
        places = understood(row.places)
        return verified(self._arrived(row.number, row.site), row.digest, _AGAIN, places)

    def _counts(self, row: Row[Any]) -> Weights:
        """A site's counts, as their row says."""
        return verified(self._file(row.number, "evaluate", row.site), row.digest, _AGAIN)

    def _round(self, number: int) -> Path:
        return self._folder / f"{number:04d}"

    def _memory(self, number: int) -> Path:
        return made(self._folder) / f"memory-{number:04d}.safetensors"

    def _file(self, number: int, stage: Stage, site: str) -> Path:
        # Safe as a file name whatever a site is called.
        return made(self._round(number) / stage) / f"{quote(site, safe=' ')}.safetensors"

    def _arrived(self, number: int, site: str) -> Path:
        return self._file(number, "train", site).with_suffix(".blob")

    def _time(self) -> str:
        return self._now().isoformat(timespec="seconds")
