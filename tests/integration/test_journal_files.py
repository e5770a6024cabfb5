"""An update that arrived in a file is kept as it: not written again, whole when its first name is gone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, insert

from common.errors import WeightsDamaged
from common.link.blobs import BlobStore
from common.study import Study, parse_study
from common.update import Contribution
from common.weights import digest
from server.journal import Course, DurableJournal, Journal, migrations
from server.journal import files as journal_files
from server.journal.database import SCHEMA
from server.journal.tables import contribution, metadata, round_, run

DELTA = {"a": np.full((2, 3), 0.5, dtype=np.float32), "b": np.arange(4, dtype=np.float32)}
COURSE = Course(1, "0" * 64, ("alder",), 1e9)
AHEAD = b"what a blob has before its arrays"


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study({"study": {"name": "kept", "labels": {"0": "left", "1": "right"}}})


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", 2**30)


@pytest.fixture
def journal(study: Study, tmp_path: Path) -> Iterator[DurableJournal]:
    with Journal(tmp_path / "journal.db") as database:
        made = database.run("run", study, 0, tmp_path / "run")
        made.begin(COURSE)
        yield made


def arrived(store: BlobStore, beside: bytes = b"") -> tuple[Path, Contribution]:
    """A site's update in a blob, and the blob's file."""
    known = store.put([AHEAD, *(DELTA[name].tobytes() for name in DELTA), beside])
    view, begin, delta = store.read(known), len(AHEAD), {}
    for name, array in DELTA.items():
        delta[name] = np.frombuffer(view, array.dtype, array.size, begin).reshape(array.shape)
        begin += array.nbytes
    update = Contribution("alder", 1, "0" * 64, delta, 3, loss=0.5)
    return store.folder / known, update


def in_run(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "run/rounds/0001/train").iterdir())


def sound(journal: DurableJournal) -> bool:
    return digest(journal.kept(1)["alder"].delta) == digest(DELTA)


def test_the_file_gets_a_second_name(journal: DurableJournal, store: BlobStore, tmp_path: Path) -> None:
    blob, update = arrived(store)
    kept = journal.keep(update)
    (path,) = in_run(tmp_path)
    assert path.name == "alder.blob" and path.samefile(blob)
    assert path.stat().st_mode & 0o777 == 0o600
    store.remove(blob.name)
    assert digest(kept.delta) == digest(DELTA) and sound(journal)


def test_keeping_it_again_changes_nothing(journal: DurableJournal, store: BlobStore, tmp_path: Path) -> None:
    for _ in range(3):
        journal.keep(arrived(store)[1])
    assert [path.name for path in in_run(tmp_path)] == ["alder.blob"] and sound(journal)


def test_another_process_finds_it(
    journal: DurableJournal, store: BlobStore, study: Study, tmp_path: Path
) -> None:
    blob, update = arrived(store)
    journal.keep(update)
    store.remove(blob.name)
    with Journal(tmp_path / "journal.db") as reopened:
        assert sound(reopened.run("run", study, 0, tmp_path / "run"))


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "no links here")


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no room")


@pytest.mark.parametrize("trouble", ["another disk", "gone", "another file", "much beside"])
def test_what_cannot_be_linked_is_written(
    journal: DurableJournal,
    store: BlobStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    monkeypatch.setattr(journal_files, "MOST_BESIDE_BYTES", 100)
    blob, update = arrived(store, b"x" * (101 if trouble == "much beside" else 0))
    if trouble == "another disk":
        monkeypatch.setattr(os, "link", no_links)
    elif trouble == "gone":
        blob.unlink()
    elif trouble == "another file":
        blob.unlink()
        blob.write_bytes(b"something else")
    journal.keep(update)
    assert [path.name for path in in_run(tmp_path)] == ["alder.safetensors"] and sound(journal)


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_half_made_name_is_not_left(
    journal: DurableJournal,
    store: BlobStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    update = arrived(store)[1]
    with monkeypatch.context() as patch:
        patch.setattr(os, step, no_room)
        assert journal_files.linked(tmp_path / "here.blob", update.delta) is None
    assert not list(tmp_path.glob("*here*"))


def test_what_is_kept_later_takes_the_place(
    journal: DurableJournal, store: BlobStore, tmp_path: Path
) -> None:
    journal.keep(arrived(store)[1])
    journal.keep(replace(arrived(store)[1], delta={name: 2 * DELTA[name] for name in DELTA}))
    assert np.array_equal(journal.kept(1)["alder"].delta["b"], 2 * DELTA["b"])
    journal.finish(1, {})
    assert not (tmp_path / "run/rounds/0001").exists()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1] + b"\x01", lambda data: data[:40], lambda data: b""]
)
def test_a_damaged_file_is_let_go_of(
    journal: DurableJournal, store: BlobStore, study: Study, tmp_path: Path, damage: Any
) -> None:
    blob, update = arrived(store)
    journal.keep(update)
    store.remove(blob.name)
    (path,) = in_run(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsDamaged):
        journal.kept(1)
    with Journal(tmp_path / "journal.db") as reopened:
        assert reopened.run("run", study, 0, tmp_path / "run").contributed(1) == ()


# The column that says where the arrays lie


def config_of(connection: Any = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    config.attributes["connection"] = connection
    return config


def test_a_journal_of_the_release_before_goes_on(study: Study, tmp_path: Path) -> None:
    place = tmp_path / "journal.db"
    engine = create_engine(f"sqlite:///{place}")
    with engine.begin() as connection:
        command.upgrade(config_of(connection), "0001")
        begun = {"name": "run", "study_digest": "", "seed": 0, "owner": 0, "status": "", "begun": ""}
        connection.execute(insert(run).values(id=1, about={}, **begun))
        row = {"base_digest": "0" * 64, "asked": [], "deadline": 0.0, "model_digest": "", "about": {}}
        connection.execute(insert(round_).values(run=1, number=1, **row))
        kept = {"about": {"site": "alder", "round": 1}, "digest": "1" * 64}
        connection.execute(insert(contribution).values(run=1, number=1, site="alder", **kept))
    engine.dispose()
    with Journal(place) as journal:
        state = journal.state("run")
    assert state is not None and state.contributed == ("alder",)


def test_migrations_make_the_tables_that_the_program_uses(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.db"):
        pass
    engine = create_engine(f"sqlite:///{tmp_path / 'journal.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert ScriptDirectory.from_config(config_of()).get_heads() == [SCHEMA]
