"""Daemons as processes: where they listen, and what they let out of what goes wrong inside a hospital."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.cohorts.home import Home, create_home
from client.consent import Consents
from client.daemon import SiteStatus
from client.link import enrol
from common.audit import AuditLog
from common.chain import utc_now
from common.contract import code_digest, seal_contract
from common.evidence.verification import verify
from server.link.home import CoordinatorHome
from server.proposals import Proposals, RunOrder
from server.record import read_run
from tests.attacks.conftest import free_port
from tests.attacks.federation import ALDER, APPROVER, BIRCH, COHORT, COORDINATOR, SITES, until
from tests.attacks.processes import Daemon, daemon, family
from tests.unit.cohorts.archives import labels_of, laid, picture, taken
from tests.unit.contract.drafts import contract_with, study_with

NAME, NUMBER, FOLDER = "Leakname^Anna", "LEAK-4711", "leaking-archive"
BYTES = b"LEAKINGPIXELS..."  # one row of a picture
VALUES = np.frombuffer(BYTES, np.uint16)
LISTEN = "127.0.0.2"  # neither every address nor the usual one

# Loaded by each Python that starts with it. Where a file arms it, the process that is meant fails when it
# opens something of the hospital's; in the one that has pictures, a library says so in every way there is.
PLANTED = """
import logging, os, sys, warnings

TEXT = {text!r}

def fail(event, arguments):
    if event != "open" or not isinstance(arguments[0], str) or busy:
        return
    child = "client.executor.child" in sys.orig_argv
    for where, meant, part in (("child", child, "/cohorts/chest/"), ("daemon", not child, "/policy.toml")):
        armed = os.path.join({folder!r}, where)
        if meant and part in arguments[0] and os.path.exists(armed):
            busy.append(True)
            os.replace(armed, armed + "-fired")
            if child:
                warnings.warn(TEXT)
                logging.getLogger("pydicom").error(TEXT)
                print(TEXT)
                os.write(2, TEXT.encode())
            busy.clear()
            raise RuntimeError(TEXT)

busy = []
sys.addaudithook(fail)
"""


@dataclass
class Machines:
    """A coordinator and two hospitals, each with a home of its own."""

    folder: Path
    coordinator: Path
    homes: dict[str, Home]
    port: int
    daemons: dict[str, Daemon] = field(default_factory=dict)
    _seeds: Iterator[int] = field(default_factory=count)

    def run(self) -> dict[str, Any]:
        """A study of one round, from its proposal to its end, as run.json tells it."""
        now = utc_now()
        study = study_with(
            federation={"rounds": 1, "min_sites": 1, "deadline_s": 60.0}, data={"min_cases": 2}
        )
        terms = {"seed": next(self._seeds), "code_digest": code_digest(), "expires": now + timedelta(days=1)}
        with CoordinatorHome.open(self.coordinator) as home:
            contract = contract_with(study, federation=home.federation, issued=now, **terms)
            proposals = Proposals(home.studies)
            proposals.keep(contract, seal_contract(contract, home.signing_key, now))
        for home in self.homes.values():
            until(lambda home=home: contract.digest in Consents(home).known(), "the arrival of a contract")
            Consents(home).approve(contract.digest, COHORT, APPROVER, utc_now())
        proposals.order(contract.digest, RunOrder(sites=2))
        folder = proposals.run_folder(contract.digest)
        until(lambda: "report" in (read_run(folder) or {}).get("files", ()), "the study's end")
        run = read_run(folder)
        assert run is not None
        return run

    def arm(self, where: str) -> None:
        """Plant a defect in alder's ``daemon``, or in its ``child``."""
        (self.folder / where).touch()

    def forget(self) -> None:
        """Have alder's pictures read anew, by another process than the one that holds them in memory."""
        _, child = family(self.daemons[ALDER].process.pid)
        os.kill(child, signal.SIGKILL)

    def fired(self, where: str) -> bool:
        """Whether a planted defect came to pass."""
        return (self.folder / f"{where}-fired").exists()

    def found(self, secrets: Sequence[bytes]) -> list[str]:
        """Where one of these is that must not be there."""
        written = dict[Path, bytes]()
        for path in (*self.coordinator.rglob("*"), *(each.console for each in self.daemons.values())):
            with suppress(FileNotFoundError, IsADirectoryError):  # some are there for a moment only
                written[path] = path.read_bytes()
        assert len(written) > 20
        return [f"{path}: {each!r}" for path, text in written.items() for each in secrets if each in text]

    def codes(self) -> list[str]:
        """The codes in alder's audit log."""
        entries = AuditLog(self.homes[ALDER].folder / "audit.jsonl").entries()
        return [str(each.facts["code"]) for each in entries if "code" in each.facts]


def archive(folder: Path) -> Path:
    """Pictures of eight patients whose names, numbers, place and pixels must not get out."""
    patients = [f"{NUMBER}-{number}" for number in range(8)]
    pixels = [
        np.tile(VALUES, (6, 1)) + np.uint16(number) * (np.arange(6) == 5)[:, None] for number in range(8)
    ]
    shown = [
        picture(patient, pixels=each.astype(np.uint16), PatientName=NAME)
        for patient, each in zip(patients, pixels, strict=True)
    ]
    return laid(folder / FOLDER, shown)


def hospital(folder: Path, name: str) -> Home:
    """A hospital's home with a cohort."""
    home = create_home(folder / name, name)
    rows = " ".join(f"{NUMBER}-{n},{n % 2},{'test' if n > 5 else 'train'}" for n in range(8))
    labels = labels_of(folder / f"{name}-labels.csv", rows)
    taken(home, archive(folder / f"{name}-pictures"), name=COHORT, labels=labels)
    return home


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder, port = tmp_path_factory.mktemp("machines"), free_port()
    address = f"{LISTEN}:{port}"
    home = CoordinatorHome.create(folder / COORDINATOR, address, address)
    made = Machines(folder, home.folder, {name: hospital(folder, name) for name in SITES}, port)
    plant = folder / "plant"
    plant.mkdir()
    text = f"cannot read {folder}/{FOLDER}/IM0001 of {NAME}, {NUMBER}-1: {VALUES!r}"
    (plant / "sitecustomize.py").write_text(textwrap.dedent(PLANTED).format(text=text, folder=str(folder)))
    with daemon(folder / "coordinator.log", "coordinator", "start", "--home", home.folder) as coordinator:
        made.daemons[COORDINATOR] = coordinator
        until(lambda: b"listening" in coordinator.printed(), "the start")
        for name, each in made.homes.items():
            enrol(each.folder / "link", home.enrolment.invite(name), utc_now())
        home.close()
        start = ("site", "start", "--device", "cpu", "--home")
        alder, birch = (made.homes[name].folder for name in SITES)
        with (
            daemon(folder / "alder.log", *start, alder, first=str(plant)) as made.daemons[ALDER],
            daemon(folder / "birch.log", *start, birch) as made.daemons[BIRCH],
        ):
            for each in made.homes.values():
                until(lambda each=each: SiteStatus.read(each.folder).link == "connected", "a connection")
            yield made


def test_only_the_coordinator_listens_and_only_where_it_was_told(machines: Machines) -> None:
    """Before, in and after a study: neither a hospital nor what trains there waits for anybody."""
    for _ in range(2):
        assert machines.daemons[COORDINATOR].listens() == {f"tcp {LISTEN}:{machines.port}"}
        assert machines.daemons[ALDER].listens() == machines.daemons[BIRCH].listens() == set()
        assert machines.run()["rounds"][0]["contributed"] == [ALDER, BIRCH]


@pytest.fixture
def secrets(machines: Machines) -> list[bytes]:
    """What must not get out."""
    digits = ", ".join(map(str, VALUES[:3])).encode()
    home = str(machines.homes[ALDER].folder).encode()
    return [b"Leakname", NUMBER.encode(), FOLDER.encode(), BYTES[:8], digits, home + b"/cohorts"]


@pytest.mark.parametrize("where", ["child", "daemon"])
def test_a_defect_that_quotes_a_patient(where: str, machines: Machines, secrets: list[bytes]) -> None:
    """In the process that trains, where it costs a task, and in the daemon, where it ends no thread."""
    machines.arm(where)
    machines.forget()
    run = machines.run()
    assert machines.fired(where)
    assert run["status"] == "completed" and BIRCH in run["rounds"][0]["contributed"]
    assert machines.found(secrets) == []
    assert where == "daemon" or "internal" in machines.codes()
    assert b"internal: RuntimeError" in machines.daemons[ALDER].printed()


def test_a_case_that_is_broken(machines: Machines, secrets: list[bytes]) -> None:
    """What the hospital's own commands name is not named to anybody else."""
    for path in (machines.homes[ALDER].folder / "cohorts" / COHORT).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(BYTES[:4], b"????"))
    machines.forget()
    run = machines.run()
    assert run["rounds"][0]["missing"][ALDER].startswith("case-corrupt: ")
    assert run["status"] == "completed" and run["rounds"][0]["contributed"] == [BIRCH]
    assert "case-corrupt" in machines.codes()
    assert machines.found(secrets) == []


def test_the_logs_of_all_three_are_whole(machines: Machines) -> None:
    folders = {name: home.folder for name, home in machines.homes.items()}
    report = verify({**folders, COORDINATOR: machines.coordinator})
    assert report.is_whole, list(report.faults)
