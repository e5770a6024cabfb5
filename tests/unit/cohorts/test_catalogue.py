"""``site.db``: the tables it has, what comes back out of it, and what it is when it cannot be used."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, UniqueConstraint, create_engine, insert, inspect, select

import common.database
from client.cohorts import migrations, tables
from client.cohorts.case import Case, Content, Piece, fingerprint
from client.cohorts.catalogue import Catalogue, CohortRow, NewImage, SeenFile
from client.cohorts.database import SCHEMA
from client.cohorts.rules import Rules
from client.cohorts.store import Blob
from client.dicom.instance import Instance
from client.dicom.outcomes import Kind, Outcome, Reason
from client.dicom.pixels import Display, Window
from client.dicom.place import Frame, Plane
from common.errors import CohortUnknown, ConsiliumError, DiskFull, HomeBusy, HomeInvalid, OutputUnwritable

PLANE = Plane((1.5, -0.1, 1 / 3), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.75))
INSTANCE = Instance(
    patient="P-A",
    study="2.25.1",
    series="2.25.2",
    sop="2.25.3",
    space="2.25.4",
    modality="CT",
    scanner="Siemens ABCD",
    year=2019,
    frames=(Frame(PLANE, (0.5, 0.75), "ABC", (1.0, 2.5), (3, 1)), Frame()),
    source="f" * 64,
)
DISPLAY = Display(0.1, -1024, True, Window(40, 400, "sigmoid"))
BLOB = Blob("d" * 64, 64, "uint16", (2, 6, 8))
FILE = SeenFile("m" * 64, "10:20", Outcome.case, decoded=True)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with closing(Catalogue(tmp_path / "site.db")) as opened:
        yield opened


@pytest.fixture
def cohort(catalogue: Catalogue) -> CohortRow:
    return catalogue.create("c", Rules())


def put(
    catalogue: Catalogue, cohort: CohortRow, *files: tuple[SeenFile, NewImage | None], blobs: Any = ()
) -> None:
    with catalogue.transaction() as connection:
        catalogue.add(connection, cohort.id, 1, files, blobs, 100)


def a_case(name: str = "C-1", **more: Any) -> Case:
    return replace(Case(name, "P-A", "train", "1", Content((Piece("d" * 64, 0),), (DISPLAY,)), 1), **more)


# Its tables


def shape(table: Table) -> dict[str, Any]:
    """What a migration and the definition have to agree in."""
    return {
        "columns": {c.name: (str(c.type), c.nullable, c.primary_key) for c in table.columns},
        "unique": {tuple(c.columns.keys()) for c in table.constraints if isinstance(c, UniqueConstraint)},
        "indices": {(i.name, tuple(i.columns.keys()), bool(i.unique)) for i in table.indexes},
        "keys": {(c.name, k.target_fullname, k.ondelete) for c in table.columns for k in c.foreign_keys},
    }


def test_migrations_make_the_tables_that_the_program_uses(tmp_path: Path) -> None:
    Catalogue(tmp_path / "site.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'site.db'}")
    made = MetaData()
    made.reflect(engine)
    assert made.tables.keys() - {"alembic_version"} == tables.metadata.tables.keys()
    for name, table in tables.metadata.tables.items():
        expected = shape(table)
        expected["unique"] |= {(c.name,) for c in table.columns if c.unique}
        assert shape(made.tables[name]) == expected, name
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA]


def test_all_its_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(Catalogue(tmp_path / "site.db")) as catalogue:
            catalogue.create("c", Rules())
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("site.db", "site.db-wal", "site.db-shm"), 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["site.db"]


@pytest.mark.parametrize("name", ["a?b=c", "50%41", "a b", "ä#1", "file:x"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with closing(Catalogue(tmp_path / name / "site.db")) as catalogue:
        catalogue.create("c", Rules())
    with closing(Catalogue(tmp_path / name / "site.db")) as catalogue:
        assert [row.name for row in catalogue.cohorts()] == ["c"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_foreign_keys_hold_and_writing_lasts(tmp_path: Path, catalogue: Catalogue) -> None:
    with catalogue.transaction() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("foreign_keys", "journal_mode", "secure_delete", "synchronous")
        }
    assert pragmas == {"foreign_keys": 1, "journal_mode": "wal", "secure_delete": 1, "synchronous": 2}


# When it cannot be used


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "site.db"
    path.write_bytes(b"This is a letter, and quite a long one. " * 100)
    before = path.read_bytes()
    with pytest.raises(HomeInvalid):
        Catalogue(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "site.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE file (x)")
    with pytest.raises(HomeInvalid, match="not a database of Consilium"):
        Catalogue(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("file",)]


def test_a_database_of_a_later_release(tmp_path: Path) -> None:
    path = tmp_path / "site.db"
    Catalogue(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
        other.commit()
    with pytest.raises(HomeInvalid, match="later release"):
        Catalogue(path)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent" / "site.db"):
        with pytest.raises(OutputUnwritable):
            Catalogue(place)


@pytest.mark.parametrize("made", [0, 1, 6])
def test_tables_are_made_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: int) -> None:
    from alembic import op

    real, count = op.create_table, [0]

    def interrupted(*arguments: Any, **more: Any) -> Any:
        count[0] += 1
        if count[0] > made:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(op, "create_table", interrupted)
        Catalogue(tmp_path / "site.db")
    with closing(sqlite3.connect(tmp_path / "site.db")) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == []
    with closing(Catalogue(tmp_path / "site.db")) as catalogue:
        assert catalogue.cohorts() == []


def test_a_full_disk(catalogue: Catalogue, cohort: CohortRow) -> None:
    long = [{"cohort": cohort.id, "digest": str(n), "content": "x" * 5000} for n in range(200)]
    with pytest.raises(DiskFull), catalogue.transaction() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        connection.execute(insert(tables.portrait), long)
    assert catalogue.portraits(cohort.id) == {}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_READONLY, OutputUnwritable),
        (sqlite3.SQLITE_IOERR_WRITE, OutputUnwritable),
        (sqlite3.SQLITE_CORRUPT, HomeInvalid),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, HomeBusy),
    ],
)
def test_what_sqlite_says_has_a_code(catalogue: Catalogue, code: int, kind: type[ConsiliumError]) -> None:
    from sqlalchemy.exc import OperationalError

    found = sqlite3.OperationalError("no")
    found.sqlite_errorcode = code
    with pytest.raises(kind), catalogue.transaction():
        raise OperationalError("SELECT", {}, found)


def test_a_defect_of_ours_keeps_its_own_name(catalogue: Catalogue, cohort: CohortRow) -> None:
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError), catalogue.transaction() as connection:
        connection.execute(insert(tables.cohort).values(name="c", settings={}, created="", notes={}))


def test_another_process_that_writes_is_waited_for(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common.database, "BUSY_MS", 50)
    with (
        catalogue.transaction() as connection,
        closing(Catalogue(tmp_path / "site.db")) as other,
    ):
        connection.execute(
            insert(tables.cohort).values(name="c", settings=Rules().to_json(), created="", notes={})
        )
        assert other.cohorts() == []  # who only reads need not wait
        with pytest.raises(HomeBusy):
            other.create("d", Rules())
    assert [row.name for row in catalogue.cohorts()] == ["c"]


def test_who_reads_before_writing_is_not_refused_for_it(tmp_path: Path, catalogue: Catalogue) -> None:
    """The other one waits, instead of changing what was read."""
    values = {"name": "c", "settings": Rules().to_json(), "created": "", "notes": {}}
    with closing(Catalogue(tmp_path / "site.db")) as other:
        meanwhile = threading.Thread(target=other.create, args=("d", Rules()))
        with catalogue.transaction() as connection:
            assert connection.execute(select(tables.cohort)).all() == []
            meanwhile.start()
            meanwhile.join(0.2)
            connection.execute(insert(tables.cohort).values(values))
        meanwhile.join()
    assert [row.name for row in catalogue.cohorts()] == ["c", "d"]


# What comes back


def test_cohorts_come_back_with_their_rules(catalogue: Catalogue) -> None:
    rules = Rules("frames", ("CT", "MR"), True, True, 0.1, ("hr",))
    made = catalogue.create("b", rules)
    catalogue.create("a", Rules())
    assert [row.name for row in catalogue.cohorts()] == ["a", "b"]
    assert catalogue.cohort("b") == made and made.rules == rules
    assert (made.ready, made.intakes, made.stored_bytes, made.fingerprint) == (False, 0, 0, "")
    with pytest.raises(CohortUnknown, match="a, b"):
        catalogue.cohort("c")


def test_objects_come_back_as_they_were(catalogue: Catalogue, cohort: CohortRow) -> None:
    put(catalogue, cohort, (FILE, NewImage(INSTANCE, BLOB.digest, DISPLAY)), blobs=[BLOB])
    (stored,) = catalogue.images(cohort.id)
    assert (stored.instance, stored.display, stored.digest) == (INSTANCE, DISPLAY, BLOB.digest)
    assert catalogue.blobs(cohort.id) == {BLOB.digest: BLOB}
    assert catalogue.stamps(cohort.id) == {FILE.mark: FILE.stamp}
    assert catalogue.counts(cohort.id) == [("case", "", True, 1)]
    assert catalogue.cohort("c").stored_bytes == 100


def test_a_file_takes_the_place_of_its_earlier_self(catalogue: Catalogue, cohort: CohortRow) -> None:
    image = NewImage(INSTANCE, BLOB.digest, DISPLAY)
    put(catalogue, cohort, (FILE, image), (replace(FILE, mark="n"), image), blobs=[BLOB])
    held = SeenFile(FILE.mark, "11:21", Outcome.quarantined, Reason.truncated, False)
    put(catalogue, cohort, (held, None))
    assert catalogue.stamps(cohort.id) == {FILE.mark: "11:21", "n": "10:20"}
    assert len(catalogue.images(cohort.id)) == 1
    assert catalogue.set_aside(cohort.id) == {FILE.mark: ("quarantined", "pixels-truncated")}


def test_files_that_are_to_be_tried_again_are_not_known(catalogue: Catalogue, cohort: CohortRow) -> None:
    files = [
        SeenFile("1", "s", Outcome.quarantined, Reason.hung),
        SeenFile("2", "s", Outcome.quarantined, Reason.empty),
        SeenFile("3", "s", Outcome.other, Kind.report),
        SeenFile("4", "s", Outcome.case),
    ]
    put(catalogue, cohort, *((file, None) for file in files))
    assert catalogue.stamps(cohort.id).keys() == {"1", "2", "3", "4"}
    assert catalogue.stamps(cohort.id, {Reason.hung, Reason.crashed}).keys() == {"2", "3", "4"}


def test_the_order_of_objects_is_not_that_of_their_arrival(tmp_path: Path) -> None:
    """Not even of those that agree in their UID and their pixels and differ in anything else."""
    images = [
        NewImage(replace(INSTANCE, patient=patient, sop=sop), digest, display)
        for patient in ("P-B", "P-A")
        for sop in ("2", "1")
        for digest in ("e", "d")
        for display in (Display(2.0), Display())
    ]
    found = []
    for name, order in (("one", images), ("other", images[::-1])):
        with closing(Catalogue(tmp_path / name)) as catalogue:
            cohort = catalogue.create("c", Rules())
            put(catalogue, cohort, *((replace(FILE, mark=str(n)), image) for n, image in enumerate(order)))
            found.append([(i.instance, i.digest, i.display) for i in catalogue.images(cohort.id)])
    assert found[0] == found[1] and len(found[0]) == 16


def test_an_intake_that_was_interrupted_keeps_its_number(catalogue: Catalogue, cohort: CohortRow) -> None:
    assert [catalogue.begin_intake(cohort.id) for _ in range(2)] == [1, 1]
    catalogue.settle(cohort.id, [], {}, {})
    assert catalogue.cohort("c").ready
    assert [catalogue.begin_intake(cohort.id) for _ in range(2)] == [2, 2]
    assert not catalogue.cohort("c").ready


def test_settling_puts_cases_and_outcomes_in_place(catalogue: Catalogue, cohort: CohortRow) -> None:
    put(catalogue, cohort, (FILE, NewImage(INSTANCE, BLOB.digest, DISPLAY)), blobs=[BLOB])
    (stored,) = catalogue.images(cohort.id)
    catalogue.settle(cohort.id, [a_case("C-9")], {}, {"old": 1})
    cases = [a_case("C-2", label=None), a_case("C-1", split="test")]
    found = catalogue.settle(cohort.id, cases, {stored.file: (Outcome.duplicate, "")}, {"cases": 2})
    assert catalogue.cases(cohort.id) == cases[::-1]
    row = catalogue.cohort("c")
    assert (row.fingerprint, row.notes, row.ready) == (found, {"cases": 2}, True)
    assert found == fingerprint(cases)
    assert catalogue.counts(cohort.id) == [("duplicate", "", True, 1)]


def test_labels_and_portraits_take_the_place_of_earlier_ones(catalogue: Catalogue, cohort: CohortRow) -> None:
    row = {"level": "patient", "key": "P-A", "value": "1", "split": None, "line": 2}
    for value in ("1", "0"):
        catalogue.put_labels(cohort.id, [{**row, "value": value}])
        catalogue.put_portraits(cohort.id, {value: {"mean": 0.5}})
    assert catalogue.labels(cohort.id) == [{**row, "value": "0", "cohort": cohort.id}]
    assert catalogue.portraits(cohort.id) == {"0": {"mean": 0.5}}


def test_a_cohort_that_is_removed_is_gone_from_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "site.db"
    with closing(Catalogue(path)) as catalogue:
        for name, patient in (("c", "P-GONE"), ("kept", "P-KEPT")):
            cohort = catalogue.create(name, Rules())
            instance = replace(INSTANCE, patient=patient)
            files = [
                (replace(FILE, mark=f"{patient}{n}"), NewImage(instance, "d", DISPLAY)) for n in range(100)
            ]
            put(catalogue, cohort, *files, blobs=[BLOB])
            labels = {"level": "patient", "key": patient, "value": "1", "split": None, "line": 2}
            catalogue.put_labels(cohort.id, [labels])
            catalogue.put_portraits(cohort.id, {patient: {}})
            catalogue.settle(cohort.id, [a_case(patient=patient)], {}, {})
    assert b"P-GONE" in path.read_bytes()
    with closing(Catalogue(path)) as catalogue:
        catalogue.remove(catalogue.cohort("c").id)
        assert [row.name for row in catalogue.cohorts()] == ["kept"]
    content = path.read_bytes()
    assert b"P-GONE" not in content and b"P-KEPT" in content
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        for name in inspect(engine).get_table_names():
            if name not in ("alembic_version", "cohort"):
                left = {row[0] for row in connection.exec_driver_sql(f'SELECT DISTINCT cohort FROM "{name}"')}
                assert left == {2}, name
    engine.dispose()
