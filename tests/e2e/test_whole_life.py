"""The whole life of a model: from the archives of two hospitals to a report at a third, with its evidence.

Every step is a command as a person types it, and every part is a process of its own: an archive (Orthanc), a
coordinator, two hospitals. What the third hospital gets is the model's file and copies of the audit logs.
"""

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

import pytest

from client.predicting import open_model
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

pytestmark = pytest.mark.slow  # a minute and a half of real processes

COMMAND = [sys.executable, "-c", "from deploy.cli import main; main()"]
SITES = ("alder", "birch")
METHODS = {"alder": "move", "birch": "web"}  # how each hospital gets its pictures out of the archive
PATIENTS = 40
BUDGET, COST = 5.0, 3.0
"""What each hospital's cohort may spend, and what the study costs."""

POLICY = (("epsilon = 8.0 ", f"epsilon = {BUDGET} "), ('accountant = "prv"', 'accountant = "rdp"'))
"""What each hospital changes in its policy; the faster accountant is a little dearer."""

NOT_IN_EVIDENCE = 7
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


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """One life, lived to its end: all daemons have stopped."""
    one = Life(tmp_path_factory.mktemp("life"))
    write_hospitals(one.folder / "pictures", sites=3, patients=PATIENTS)
    one.at_each("site", "init", "--name", "SITE")
    with Orthanc(one.folder / "orthanc").started() as archive:
        _send(one, archive)
        _retrieve(one, archive)
    _take_in(one)
    with ExitStack() as daemons:
        _enrol(one, daemons)
        _study(one)
    _hand_over(one)
    return one


def _send(life: Life, archive: Orthanc) -> None:
    """As a scanner sends them."""
    sender = [program("storescu"), "-aec", "ORTHANC", "127.0.0.1", str(archive.dicom_port)]
    files = [str(file) for site in SITES for file in (life.folder / "pictures" / site).rglob("*.dcm")]
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


@pytest.fixture(scope="module")
def predicted(life: Life) -> dict[str, Any]:
    """What the model says of two patients of the third hospital, with a report of each."""
    given = [f"cedar/pictures/cedar-000{number}/1.dcm" for number in (1, 2)]
    evidence = ("--evidence", "cedar/evidence", "--dicom-sr", "cedar/reports")
    return life.told("predict", "cedar/model.safetensors", *given, *evidence)


def test_the_model_is_the_one_that_the_evidence_names(life: Life, predicted: dict[str, Any]) -> None:
    run = json.loads((life.run / "run.json").read_text())
    assert run["status"] == "completed" and len(run["rounds"]) == 2
    assert set(run["sites"]) == set(SITES) and run["final"]["pooled"] is not None
    assert predicted["evidence"]["weights"] == predicted["model"]["digest"] == run["final"]["model_digest"]
    assert predicted["evidence"]["study"] == TITLE
    assert {Path(log).name for log in predicted["evidence"]["tested_by"]} == set(SITES)


def test_logs_of_all_sides_agree_and_name_the_model(life: Life) -> None:
    checked = life.told("audit", "verify", "cedar/evidence", "--model", "cedar/model.safetensors")
    assert checked["whole"] and {log["owner"] for log in checked["logs"]} == {"coordinator", *SITES}
    assert not any(log["remarks"] for log in checked["logs"])
    assert len(checked["agreed"]) == 4 and all(pair["heads"] > 0 for pair in checked["agreed"])
    assert checked["model"]["study"] == TITLE
    by_hand = life.said("audit", "verify", *("coordinator", *SITES), "--model", life.run)
    assert by_hand.count(": whole") == 3 and f"model: study {TITLE}" in by_hand


def test_a_model_of_which_one_byte_is_another_is_not_used(life: Life, tmp_path: Path) -> None:
    content = bytearray((life.elsewhere / "model.safetensors").read_bytes())
    content[-1] ^= 1
    changed = tmp_path / "model.safetensors"
    changed.write_bytes(content)
    picture, evidence = "cedar/pictures/cedar-0001/1.dcm", ("--evidence", "cedar/evidence")
    assert open_model(changed).study.study.name == TITLE  # nothing else of it is odd
    refused = life.told("predict", changed, picture, *evidence, status=NOT_IN_EVIDENCE)
    assert refused["error"]["code"] == "model-not-in-evidence"
    refused = life.told("audit", "verify", "cedar/evidence", "--model", changed, status=NOT_IN_EVIDENCE)
    assert refused["error"]["code"] == "model-not-in-evidence"


def test_reports_are_read_back_by_other_programs(life: Life, predicted: dict[str, Any]) -> None:
    import highdicom
    from pydicom import dcmread

    reports = sorted((life.elsewhere / "reports").glob("*.dcm"))
    assert len(reports) == len(predicted["cases"]) == 2
    for path, case in zip(reports, predicted["cases"], strict=True):
        dump = subprocess.run(
            [program("dsrdump"), "+Pl", str(path)], capture_output=True, text=True, timeout=30, check=False
        )
        assert dump.returncode == 0 and "Imaging Measurement Report" in dump.stdout, dump.stderr
        assert predicted["model"]["digest"] in dump.stdout
        assert f'"{case["decision"]}"' in dump.stdout
        report = highdicom.sr.srread(path)
        source = dcmread(life.folder / case["input"], stop_before_pixels=True)
        assert report.PatientID == source.PatientID
        (group,) = report.content.get_image_measurement_groups()
        percents = {one.name.meaning: one.value for one in group.get_measurements()}
        said = {f"Probability of {name}": value for name, value in case["probabilities"].items()}
        assert percents == pytest.approx({name: 100 * value for name, value in said.items()}, abs=0.006)


def test_ledgers_say_what_was_spent(life: Life) -> None:
    for said in life.at_each("site", "ledger", "show", "chest", "--json"):
        spent = json.loads(said)
        assert 0 < spent["epsilon"] <= COST + 1e-6 < BUDGET == spent["budget"]["epsilon"]
        assert [study["study"] for study in spent["studies"]] == [TITLE]
    life.at_each("site", "ledger", "verify", "chest")
    told = json.loads((life.run / "run.json").read_text())["rounds"][-1]["training"]
    assert all(0 < told[site]["epsilon"] <= COST + 1e-6 for site in SITES)


def test_no_patient_is_in_what_left_the_hospitals(life: Life) -> None:
    places = [life.folder / "coordinator", life.elsewhere / "evidence", life.elsewhere / "model.safetensors"]
    files = [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        for site in SITES:
            assert f"{site}-00".encode() not in content and f"PHANTOM^{site.upper()}".encode() not in content
