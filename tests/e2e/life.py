"""One life of a model, command by command: archives, cohorts, enrolment, study, and what is handed over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.phantom import write_hospitals
from tests.e2e.conftest import ROOT
from tests.e2e.pacs.conftest import (
    OUR_TITLE,
    PASSWORD,
    PASSWORD_VARIABLE,
    USER,
    Orthanc,
    free_port,
    program,
    wait_for_listener,
)
from tests.e2e.stacks import SIDE, SLICES, write_stack

COMMAND = [sys.executable, "-c", "from deploy.cli import main; main()"]
SITES = ("alder", "birch")
METHODS = {"alder": "move", "birch": "web"}  # how each hospital gets its pictures out of the archive
PATIENTS = 40
BUDGET, COST = 5.0, 3.0
"""What each hospital's cohort may spend, and what the study costs."""

POLICY = (
    ("epsilon = 8.0 ", f"epsilon = {BUDGET} "),
    ('accountant = "prv"', 'accountant = "rdp"'),
    ('tasks = ["classification"]', 'tasks = ["classification", "segmentation"]'),
)
"""What each hospital changes in its policy; the faster accountant is a little dearer."""

TITLE = "lesions"
STUDY = f"""
[study]
name = "{TITLE}"
[study.labels]
0 = "normal"
1 = "lesion"
[data]
modality = ["CR", "DX"]
[sequence]
kind = "rows"
size = 32
[model]
cell = "gru"
hidden = 16
[training]
learning_rate = 0.01
[federation]
rounds = 2
[privacy]
target_epsilon = {COST}
target_delta = 1e-5
sample_rate = 0.2
accountant = "rdp"
"""
STACKS, STACK_PATIENTS = "stacks", 12
STACK_STUDY = f"""
[study]
name = "{STACKS}"
task = "segmentation"
[study.labels]
0 = "background"
1 = "lesion"
[data]
modality = ["CT"]
[sequence]
kind = "slices"
size = {SIDE}
[model]
encoder = "cnn"
cell = "conv_gru"
hidden = 32
[training]
learning_rate = 0.005
batch_size = 2
local_epochs = 6
[federation]
rounds = 8
min_sites = 1
"""
SETTINGS = """
[receive]
ae_title = "{title}"
port = {receiver}
[archives.pacs]
host = "127.0.0.1"
port = {dicom}
ae_title = "ORTHANC"
calling_ae_title = "{title}"
url = "http://127.0.0.1:{http}/dicom-web"
user = "{user}"
password_env = "{password}"
"""


@dataclass(frozen=True, slots=True)
class Life:
    """Where the parts of one life are.

    Attributes:
        folder: Homes and pictures; every command is run in it.
        run: What the coordinator keeps of the study.
        elsewhere: The third hospital: the model's file, the evidence and a patient that nobody trained on.
    """

    folder: Path

    @property
    def run(self) -> Path:
        """The folder of the study's run."""
        (found,) = (self.folder / "coordinator" / "studies").glob("*/run")
        return found

    @property
    def elsewhere(self) -> Path:
        """The third hospital's folder."""
        return self.folder / "cedar"

    def said(self, *words: object, status: int = 0) -> str:
        """What a command prints, once it has ended with this status."""
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            cwd=self.folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def told(self, *words: object, status: int = 0) -> dict[str, Any]:
        """The object that a command prints with --json."""
        answer: dict[str, Any] = json.loads(self.said(*words, "--json", status=status))
        return answer

    def at_each(self, *words: object) -> list[str]:
        """What a command of both hospitals says; ``SITE`` in a word is the hospital's name."""

        def said(site: str) -> str:
            return self.said(*(str(word).replace("SITE", site) for word in words), "--home", site)

        with ThreadPoolExecutor(len(SITES)) as pool:  # two hospitals do not wait for each other
            return list(pool.map(said, SITES))

    @contextmanager
    def daemon(self, *words: object) -> Iterator[subprocess.Popen[bytes]]:
        """A command that serves until the block ends."""
        with (self.folder / f"{words[-1]}.log").open("ab") as log:
            command = [*COMMAND, *map(str, words)]
            process = subprocess.Popen(
                command, cwd=self.folder, env=_environment(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), PASSWORD_VARIABLE: PASSWORD, "COLUMNS": "200"}


def lived(folder: Path) -> Life:
    """One life in an empty folder, lived to its end: all daemons have stopped."""
    one = Life(folder)
    write_hospitals(one.folder / "pictures", sites=3, patients=PATIENTS)
    one.at_each("site", "init", "--name", "SITE")
    with Orthanc(one.folder / "orthanc").started() as archive:
        _send(archive, one.folder / "pictures", *SITES)
        _retrieve(one, archive)
        _take_in(one)
        _take_in_stacks(one, archive)
    with ExitStack() as daemons:
        _enrol(one, daemons)
        _study(one)
    _hand_over(one)
    return one


def _send(archive: Orthanc, pictures: Path, *folders: str) -> None:
    """As a scanner sends them."""
    sender = [program("storescu"), "-aec", "ORTHANC", "127.0.0.1", str(archive.dicom_port)]
    inside = [path for folder in folders for path in (pictures / folder).rglob("*")]
    files = [str(path) for path in inside if path.is_file()]
    subprocess.run([*sender, *files], check=True, capture_output=True, timeout=60)


def _retrieve(life: Life, archive: Orthanc) -> None:
    """Each hospital finds its pictures in the archive and fetches them into its inbox."""
    facts = {"receiver": archive.receiver.port, "dicom": archive.dicom_port, "http": archive.http_port}
    access = {"title": OUR_TITLE, "user": USER, "password": PASSWORD_VARIABLE}
    for site in SITES:
        settings = life.folder / site / "site.toml"
        settings.write_text(settings.read_text() + SETTINGS.format(**facts, **access))
    mine = ("--match", "PatientID=SITE-*", "--json")
    for said in life.at_each("site", "query", "pacs", *mine):
        assert len(json.loads(said)["found"]) == PATIENTS
    for site in SITES:
        method = ("--method", METHODS[site], "--home", site)
        fetched = life.told("site", "retrieve", "pacs", "--match", f"PatientID={site}-*", *method)
        sent = len(list((life.folder / "pictures" / site).rglob("*.dcm")))
        assert (fetched["expected"], fetched["new"], fetched["failed"]) == (sent, sent, 0)


def _take_in(life: Life) -> None:
    for site in SITES:
        policy = life.folder / site / "policy.toml"
        text = policy.read_text()
        for before, after in POLICY:
            assert text.count(before) == 1
            text = text.replace(before, after)
        policy.write_text(text)
    given = ("--dicom", "SITE/inbox", "--labels", "pictures/manifest.csv")
    for said in life.at_each("site", "cohort", "add", "chest", *given):
        assert str(PATIENTS) in said


def _take_in_stacks(life: Life, archive: Orthanc) -> None:
    """One hospital has CT stacks too, with masks that somebody drew; they reach its inbox after the rest."""
    names = [f"stack-{number:02d}" for number in range(STACK_PATIENTS)]
    for number, name in enumerate(names):
        write_stack(life.folder / "stacks", name, number).write_mask(life.folder / "masks")
    _send(archive, life.folder / "stacks", *names)
    wanted = ("--match", "PatientID=stack-*", "--method", "move")
    fetched = life.told("site", "retrieve", "pacs", *wanted, "--home", "alder")
    assert (fetched["new"], fetched["failed"]) == (STACK_PATIENTS * SLICES, 0)
    given = ("--dicom", "alder/inbox", "--masks", "masks", "--sequence", "slices", "--modality", "CT")
    said = life.said("site", "cohort", "add", STACKS, *given, "--home", "alder")
    assert str(STACK_PATIENTS) in said


def _enrol(life: Life, daemons: ExitStack) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    life.said("coordinator", "init", "--home", "coordinator", "--address", address, "--listen", address)
    for site in SITES:
        life.said("coordinator", "invite", site, "--home", "coordinator", "--out", f"{site}.invitation")
    coordinator = daemons.enter_context(life.daemon("coordinator", "start", "--home", "coordinator"))
    wait_for_listener(port, coordinator)
    life.at_each("site", "enrol", "--invitation", "SITE.invitation")
    for site in SITES:
        daemons.enter_context(life.daemon("site", "start", "--home", site))


def _study(life: Life) -> None:
    (life.folder / "study.toml").write_text(STUDY)
    life.said("study", "propose", "study.toml", "--home", "coordinator")
    for site in SITES:
        _until_known(life, site)
    life.at_each("site", "approve", TITLE, "--cohort", "chest", "--approver", "Dr. SITE")
    life.said("study", "start", TITLE, "--home", "coordinator", "--sites", len(SITES))
    life.said("study", "results", TITLE, "--home", "coordinator", "--wait")


def _until_known(life: Life, site: str) -> None:
    last_s = time.monotonic() + 30
    while not life.told("site", "studies", "--home", site)["studies"]:
        assert time.monotonic() < last_s, f"{site} was told of no study"


def _hand_over(life: Life) -> None:
    """The third hospital is given the model's file and the logs, and has pictures of its own."""
    shutil.copytree(life.folder / "pictures" / "cedar", life.elsewhere / "pictures")
    shutil.copy(life.run / "model.safetensors", life.elsewhere)
    for side in ("coordinator", *SITES):
        (life.elsewhere / "evidence" / side).mkdir(parents=True)
        for file in (life.folder / side).glob("audit*"):
            shutil.copy(file, life.elsewhere / "evidence" / side)
