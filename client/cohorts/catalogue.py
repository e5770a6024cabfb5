"""``site.db``: what was seen, what was kept of it, and the cases made of that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import (
    Connection,
    RowMapping,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from client.cohorts import tables
from client.cohorts.case import Case, Content, fingerprint
from client.cohorts.database import Database
from client.cohorts.rules import Rules
from client.cohorts.store import Blob
from client.dicom.instance import Instance
from client.dicom.outcomes import Outcome, Reason
from client.dicom.pixels import Display
from common.errors import CohortUnknown

_INSTANCE: TypeAdapter[Instance] = TypeAdapter(Instance)
_DISPLAY: TypeAdapter[Display] = TypeAdapter(Display)
_BLOB: TypeAdapter[Blob] = TypeAdapter(Blob)


@dataclass(frozen=True, slots=True)
class CohortRow:
    """A cohort as the catalogue has it."""

    id: int
    name: str
    rules: Rules
    created: str
    intakes: int
    ready: bool
    stored_bytes: int
    fingerprint: str
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SeenFile:
    """What became of a file; see :mod:`client.cohorts.tables`."""

    mark: str
    stamp: str
    outcome: Outcome
    why: str = ""
    decoded: bool | None = None


_FILE: TypeAdapter[SeenFile] = TypeAdapter(SeenFile)


@dataclass(frozen=True, slots=True)
class NewImage:
    """An object whose pixels were just stored under their digest."""

    instance: Instance
    digest: str
    display: Display


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An object whose pixels are stored; ``file`` is the id of the file it came from."""

    id: int
    file: int
    digest: str
    instance: Instance
    display: Display


class Catalogue:
    """The database of one site.

    Args:
        path: Its file; made if it is not there.

    Raises:
        HomeInvalid: It is not one, or of another release.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of the block's changes, or none.

        Raises:
            DiskFull, OutputUnwritable: They cannot be written. Others as of :class:`Database`.
        """
        with self._database.writing() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def cohorts(self) -> list[CohortRow]:
        """All cohorts by name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(tables.cohort).order_by(tables.cohort.c.name)).mappings()
            return [_cohort(row) for row in rows]

    def cohort(self, name: str) -> CohortRow:
        """One cohort.

        Raises:
            CohortUnknown: There is none of that name.
        """
        known = self.cohorts()
        for row in known:
            if row.name == name:
                return row
        names = ", ".join(row.name for row in known) or "none yet"
        raise CohortUnknown(f"no cohort {name!r}; there are: {names}")

    def create(self, name: str, rules: Rules) -> CohortRow:
        """A new cohort with nothing in it."""
        values = {
            "name": name,
            "settings": rules.to_json(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "notes": {},
        }
        with self.transaction() as connection:
            connection.execute(insert(tables.cohort).values(values))
        return self.cohort(name)

    def change_rules(self, name: str, rules: Rules) -> CohortRow:
        """The cohort with other rules."""
        with self._database.writing() as connection:
            connection.execute(
                update(tables.cohort).where(tables.cohort.c.name == name).values(settings=rules.to_json())
            )
        return self.cohort(name)

    def remove(self, cohort: int) -> None:
        """Forget a cohort and everything of it."""
        with self.transaction() as connection:
            connection.execute(delete(tables.cohort).where(tables.cohort.c.id == cohort))

    def begin_intake(self, cohort: int) -> int:
        """Number of the intake that begins; the cohort is not ready until :meth:`settle`."""
        with self.transaction() as connection:
            row = connection.execute(
                select(tables.cohort.c.intakes, tables.cohort.c.ready).where(tables.cohort.c.id == cohort)
            ).one()
            number = row.intakes + 1 if row.ready or row.intakes == 0 else int(row.intakes)
            connection.execute(
                update(tables.cohort).where(tables.cohort.c.id == cohort).values(intakes=number, ready=False)
            )
        return int(number)

    def stamps(self, cohort: int, but: Collection[Reason] = ()) -> dict[str, str]:
        """Stamp of every file seen, by mark, ``but`` those in quarantine for such reasons."""
        left_out = tables.file.c.why.in_([str(reason) for reason in but])
        with self._database.reading() as connection:
            rows = connection.execute(
                select(tables.file.c.mark, tables.file.c.stamp).where(
                    tables.file.c.cohort == cohort, ~left_out
                )
            )
            return {row.mark: row.stamp for row in rows}

    def add(
        self,
        connection: Connection,
        cohort: int,
        intake: int,
        seen: Sequence[tuple[SeenFile, NewImage | None]],
        blobs: Sequence[Blob],
        stored_bytes: int,
    ) -> None:
        """Remember files with the objects that they held; each takes the place of its mark's earlier one.

        Args:
            connection: Of a transaction.
            cohort: Which.
            intake: Number of the intake.
            seen: The files, no mark twice, and what is stored of each.
            blobs: Arrays that were not stored before.
            stored_bytes: How far the pixel file is good.
        """
        of_cohort = tables.file.c.cohort == cohort
        _insert_all(
            connection, tables.blob, (_BLOB.dump_python(b, mode="json") | {"cohort": cohort} for b in blobs)
        )
        if seen:
            earlier = delete(tables.file).where(of_cohort, tables.file.c.mark == bindparam("old"))
            connection.execute(earlier, [{"old": file.mark} for file, _ in seen])
            about = {"cohort": cohort, "intake": intake}
            ids = connection.scalars(
                insert(tables.file).returning(tables.file.c.id, sort_by_parameter_order=True),
                [_FILE.dump_python(file, mode="json") | about for file, _ in seen],
            )
            held = ((file, image) for file, (_, image) in zip(ids, seen, strict=True) if image)
            _insert_all(connection, tables.image, (_image_values(cohort, *pair) for pair in held))
        connection.execute(
            update(tables.cohort).where(tables.cohort.c.id == cohort).values(stored_bytes=stored_bytes)
        )

    def blobs(self, cohort: int) -> dict[str, Blob]:
        """Every stored array by digest."""
        with self._database.reading() as connection:
            rows = connection.execute(select(tables.blob).where(tables.blob.c.cohort == cohort))
            return {r.digest: Blob(r.digest, r.offset, r.dtype, tuple(r.shape)) for r in rows}

    def images(self, cohort: int) -> list[StoredImage]:
        """Every stored object, in the order of what is known of each, whatever order they came in."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(tables.image)
                .where(tables.image.c.cohort == cohort)
                .order_by(*(tables.image.c[key] for key in ("digest", "sop", "facts", "display", "id")))
            )
            return [
                StoredImage(
                    r.id,
                    r.file,
                    r.digest,
                    _INSTANCE.validate_python(r.facts),
                    _DISPLAY.validate_python(r.display),
                )
                for r in rows
            ]

    def cases(self, cohort: int) -> list[Case]:
        """Every case, by name."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(tables.case).where(tables.case.c.cohort == cohort).order_by(tables.case.c.name)
            )
            return [
                Case(r.name, r.patient, r.split, r.label, Content.of_json(r.content), r.intake) for r in rows
            ]

    def settle(
        self,
        cohort: int,
        cases: Sequence[Case],
        outcomes: Mapping[int, tuple[Outcome, str]],
        notes: Mapping[str, Any],
    ) -> str:
        """The cohort's fingerprint, now that an intake has come to its end.

        Args:
            cohort: Which.
            cases: All its cases; they take the place of those it had.
            outcomes: By id of a file, what became of it.
            notes: Counts for ``cohort show``.
        """
        found = fingerprint(cases)
        with self.transaction() as connection:
            connection.execute(delete(tables.case).where(tables.case.c.cohort == cohort))
            _insert_all(connection, tables.case, (_case_values(cohort, case) for case in cases))
            if outcomes:
                connection.execute(
                    update(tables.file)
                    .where(tables.file.c.id == bindparam("which"))
                    .values(outcome=bindparam("what"), why=bindparam("reason")),
                    [{"which": file, "what": str(o), "reason": str(w)} for file, (o, w) in outcomes.items()],
                )
            connection.execute(
                update(tables.cohort)
                .where(tables.cohort.c.id == cohort)
                .values(ready=True, fingerprint=found, notes=dict(notes))
            )
        return found

    def counts(self, cohort: int) -> list[tuple[str, str, bool | None, int]]:
        """Outcome, reason or kind, whether pixels were decoded, and how many files."""
        columns = (tables.file.c.outcome, tables.file.c.why, tables.file.c.decoded)
        with self._database.reading() as connection:
            rows = connection.execute(
                select(*columns, func.count()).where(tables.file.c.cohort == cohort).group_by(*columns)
            )
            return [(r[0], r[1], r[2], int(r[3])) for r in rows]

    def set_aside(self, cohort: int) -> dict[str, tuple[str, str]]:
        """Outcome and reason of every file that is in no case, by mark."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(tables.file.c.mark, tables.file.c.outcome, tables.file.c.why).where(
                    tables.file.c.cohort == cohort, tables.file.c.outcome != str(Outcome.case)
                )
            )
            return {r.mark: (r.outcome, r.why) for r in rows}

    def forget_files(self, cohort: int) -> None:
        """Forget what was seen, and what was kept of it but for the arrays."""
        with self.transaction() as connection:
            connection.execute(delete(tables.file).where(tables.file.c.cohort == cohort))

    def put_labels(self, cohort: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Labels that take the place of those the cohort had."""
        with self.transaction() as connection:
            connection.execute(delete(tables.label).where(tables.label.c.cohort == cohort))
            _insert_all(connection, tables.label, ({**row, "cohort": cohort} for row in rows))

    def labels(self, cohort: int) -> list[dict[str, Any]]:
        """The cohort's labels."""
        with self._database.reading() as connection:
            rows = connection.execute(select(tables.label).where(tables.label.c.cohort == cohort))
            return [dict(row) for row in rows.mappings()]

    def portraits(self, cohort: int) -> dict[str, Any]:
        """What the quality report kept of cases' pixels, by the case's digest."""
        with self._database.reading() as connection:
            rows = connection.execute(select(tables.portrait).where(tables.portrait.c.cohort == cohort))
            return {r.digest: r.content for r in rows}

    def put_portraits(self, cohort: int, portraits: Mapping[str, Any]) -> None:
        """Keep what the quality report computed; what is no longer needed goes."""
        with self.transaction() as connection:
            connection.execute(delete(tables.portrait).where(tables.portrait.c.cohort == cohort))
            _insert_all(
                connection,
                tables.portrait,
                ({"cohort": cohort, "digest": d, "content": c} for d, c in portraits.items()),
            )


def _insert_all(connection: Connection, table: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    values = [dict(row) for row in rows]
    if values:
        connection.execute(insert(table), values)


def _image_values(cohort: int, file: int, image: NewImage) -> dict[str, Any]:
    return {
        "cohort": cohort,
        "file": file,
        "sop": image.instance.sop,
        "patient": image.instance.patient,
        "digest": image.digest,
        "facts": _INSTANCE.dump_python(image.instance, mode="json"),
        "display": _DISPLAY.dump_python(image.display, mode="json"),
    }


def _case_values(cohort: int, case: Case) -> dict[str, Any]:
    return {
        "cohort": cohort,
        "name": case.name,
        "patient": case.patient,
        "split": case.split,
        "label": case.label,
        "intake": case.intake,
        "digest": case.digest,
        "content": case.content.to_json(),
    }


def _cohort(row: RowMapping) -> CohortRow:
    return CohortRow(
        id=row["id"],
        name=row["name"],
        rules=Rules.of_json(row["settings"]),
        created=row["created"],
        intakes=row["intakes"],
        ready=row["ready"],
        stored_bytes=row["stored_bytes"],
        fingerprint=row["fingerprint"],
        notes=row["notes"],
    )
