"""``consilium site``: what a data manager types, what comes back, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from client.cohorts.cohort import open_cohort
from client.cohorts.home import POLICY_FILE, Home, open_home
from client.cohorts.store import PIXEL_FILE
from common.audit import AuditLog
from deploy.cli import main
from tests.unit.cohorts.archives import EXPECTED, hospital, labels_of, laid, picture, slice_at, volume
from tests.unit.dicom.planted import PLANTED, everything, leaks
from tests.unit.dicom.planted import picture as planted_picture

ROOT = Path(__file__).parents[2]
SECRETS = ("Anna", "Berta", "Carla")


@dataclass(slots=True)
class Site:
    """A hospital's terminal."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    @property
    def home(self) -> Home:
        return open_home(self.folder / "home")

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of ``consilium site ARGUMENTS``."""
        self.monkeypatch.setattr("sys.argv", ["consilium", "site", *map(str, arguments)])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self.capture.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    def json(self, *arguments: object, status: int = 0) -> Any:
        """The one JSON object that the command prints."""
        found, out, err = self.run(*arguments, "--json")
        assert (found, err) == (status, ""), (out, err)
        document = json.loads(out)
        assert isinstance(document, dict)
        return document

    def error(self, status: int, code: str, *arguments: object) -> str:
        """The private message of a refusal, told the same way as text and as JSON."""
        found, out, err = self.run(*arguments)
        assert found == status and f"error {code} " in err and "hint" in err, (out, err)
        assert "Traceback" not in out + err and len(err.splitlines()) <= 25
        document = self.json(*arguments, status=status)["error"]
        assert document.keys() == {"code", "message", "hint"} and document["code"] == code
        assert not any(secret in document["message"] for secret in SECRETS)
        return str(document["message"])


@pytest.fixture
def bare(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Site:
    """No home yet."""
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CONSILIUM_DEBUG", raising=False)
    return Site(tmp_path, capsys, monkeypatch)


@pytest.fixture
def site(bare: Site) -> Site:
    assert bare.run("init", "--name", "alder")[0] == 0
    return bare


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return laid(tmp_path / "in", hospital())


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return labels_of(tmp_path / "labels.csv", "Anna,1,train Berta,0,test Carla,1,train")


def add(archive: Path, *more: object) -> tuple[object, ...]:
    return ("cohort", "add", "chest", "--dicom", archive, "--sequence", "slices", *more)


# A site


def test_a_site_is_made_once(bare: Site) -> None:
    status, out, _ = bare.run("init", "--name", "alder")
    assert status == 0 and "safe" in out
    assert stat.S_IMODE((bare.folder / "home").stat().st_mode) == 0o700
    assert bare.home.settings.name == "alder" and bare.home.database.exists()
    bare.error(6, "output-exists", "init", "--name", "alder")
    other = bare.folder / "other"
    assert bare.json("init", "--home", other) == {"home": str(other), "site": "site"}
    assert bare.run("init", "--home", bare.folder / "third", "--name", "a b")[0] == 2


def test_without_a_site_every_command_says_so(bare: Site, archive: Path) -> None:
    for arguments in (
        add(archive),
        ("cohort", "list"),
        ("cohort", "show", "chest"),
        ("cohort", "report", "chest", "--out", bare.folder / "r.html"),
        ("cohort", "remove", "chest", "--yes"),
        ("deidentify", "--dicom", archive, "--out", bare.folder / "out"),
    ):
        bare.error(6, "home-missing", *arguments)
    assert sorted(path.name for path in bare.folder.iterdir()) == ["in"]


# A cohort


def test_a_cohort_from_begin_to_end(site: Site, archive: Path, labels: Path) -> None:
    site.home.folder.joinpath(POLICY_FILE).write_text("quarantine_limit = 0.5\n")
    status, out, err = site.run(*add(archive, "--labels", labels))
    assert (status, err) == (0, "")
    for words in (
        "20  files seen",
        "9    in a case",
        "4    duplicates",
        "2      instance-conflict",
        "--cohort SITE=chest",
    ):
        assert words in " ".join(out.split("\n")), (words, out)
    document = site.json("cohort", "show", "chest")
    assert document["files"] == {"seen": 20, "case": 9, "other": 2, "duplicate": 4, "quarantined": 5}
    assert document["usable"] and document["trouble"] is None and document["left_out"] == []
    (listed,) = site.json("cohort", "list")["cohorts"]
    assert listed["fingerprint"] == document["fingerprint"] and listed["cohort"] == "chest"
    assert "usable" in site.run("cohort", "list")[1]
    page = site.folder / "report.html"
    told = site.json("cohort", "report", "chest", "--out", page)
    assert told["report"] == str(page) and page.stat().st_mode & 0o777 == 0o600
    assert not any(secret in page.read_text() for secret in SECRETS)
    assert site.run("cohort", "report", "chest", "--out", page)[0] == 0
    told = site.json("cohort", "summary", "chest")
    assert told["shared"] and told["summary"]["patients"] == "<10"
    policy = site.folder / "home" / "policy.toml"
    kept = [line for line in policy.read_text().splitlines() if not line.startswith("share_summary")]
    policy.write_text("\n".join([*kept, "share_summary = false"]))
    assert site.json("cohort", "summary", "chest")["summary"] is None
    assert "share_summary" in site.run("cohort", "summary", "chest")[1]
    assert site.run("cohort", "remove", "chest", "--json")[0] == 2  # nobody would be asked
    assert site.json("cohort", "remove", "chest", "--yes") == {"removed": "chest", "cases": 3}
    assert site.json("cohort", "list") == {"cohorts": []}
    assert "no cohort yet" in site.run("cohort", "list")[1]
    events = [entry.event for entry in AuditLog(site.home.folder / "audit.jsonl").entries()]
    assert events[:3] == ["site.created", "cohort.intake-begun", "cohort.intake-ended"]
    assert events[-1] == "cohort.removed"


def test_files_that_were_left_out_are_named(site: Site, archive: Path) -> None:
    document = site.json(*add(archive))
    left = {(Path(item["name"]).name, item["outcome"], item["why"]) for item in document["left_out"]}
    assert len(left) == sum(EXPECTED.values()) - EXPECTED["case"]
    assert ("IM0012", "quarantined", "not-dicom") in left and ("IM0013", "quarantined", "file-empty") in left
    assert site.json("cohort", "show", "chest", "--dicom", archive)["left_out"] == document["left_out"]
    out = site.run("cohort", "show", "chest", "--dicom", archive)[1]
    assert str(archive / "IM0012") in out and str(archive / "IM0000") not in out
    assert str(archive) not in site.run("cohort", "show", "chest")[1]


def test_a_later_intake_is_compared_with_the_earlier_ones(site: Site, tmp_path: Path) -> None:
    archive = laid(tmp_path / "in", [picture("Anna", number=n) for n in range(12)])
    site.json("cohort", "add", "c", "--dicom", archive)
    assert site.json("cohort", "show", "c")["moved"] is None
    laid(archive, [picture("Berta", number=n) for n in range(12)], prefix="later")
    site.json("cohort", "add", "c", "--dicom", archive)
    moved = site.json("cohort", "show", "c")["moved"]
    assert (moved["before"], moved["newest"]) == (12, 12) and isinstance(moved["shifts"], list)
    status, out, _ = site.run("cohort", "show", "c")
    assert status == 0 and "12  cases since the last intake, against 12 before" in out


def test_too_much_quarantine_is_told_and_holds_back(site: Site, archive: Path, labels: Path) -> None:
    document = site.json(*add(archive, "--labels", labels))
    assert not document["usable"] and document["trouble"]["code"] == "cohort-held-back"
    status, out, _ = site.run("cohort", "show", "chest")
    assert status == 0 and "It cannot be used" in out and "5 of the 20 files" in out


def test_a_table_of_measurements(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "records.csv"
    table.write_text("patient,minute,variable,value\nAnna,0,HR,80\nBerta,1,HR,oops\nBerta,2,HR,3\n")
    labels = labels_of(tmp_path / "l.csv", "Anna,1,train Berta,0,test")
    document = site.json(
        "cohort", "add", "icu", "--records", table, "--column", "time=minute", "--labels", labels
    )
    assert document["usable"] and document["sequence"] == "steps" and document["patients"] == 2
    assert document["cases"] == {"test": {"0": 1}, "train": {"1": 1}}
    assert site.json("cohort", "show", "icu")["moved"] is None
    assert site.run("cohort", "report", "icu", "--out", tmp_path / "r.html")[0] == 0


def test_what_is_removed_is_asked_about(site: Site, archive: Path) -> None:
    site.json(*add(archive))
    with open(os.devnull) as nothing:  # noqa: PTH123
        site.monkeypatch.setattr("sys.stdin", nothing)
        status, _, _ = site.run("cohort", "remove", "chest")
    assert status == 1 and open_cohort(site.home, "chest").cases
    assert site.run("cohort", "remove", "chest", "--yes")[0] == 0
    site.error(4, "cohort-unknown", "cohort", "show", "chest")
    assert not any(path.name == "chest" for path in site.home.folder.rglob("*"))


# What is refused


def test_commands_that_cannot_be_meant(site: Site, archive: Path) -> None:
    for arguments in (
        ("cohort", "add", "chest"),
        ("cohort", "add", "chest", "--dicom", archive, "--records", "x.csv"),
        ("cohort", "add", "../chest", "--dicom", archive),
        ("cohort", "add", ".", "--dicom", archive),
        ("cohort", "add", "", "--dicom", archive),
        ("cohort", "remove", "..", "--yes"),
        ("cohort", "add", "chest", "--dicom", archive, "--test-share", "1.5"),
        ("cohort", "add", "chest", "--dicom", archive, "--sequence", "steps"),
        ("deidentify", "--dicom", archive),
    ):
        status, out, err = site.run(*arguments)
        assert status == 2 and "Usage" in out + err, arguments
    assert site.json("cohort", "list") == {"cohorts": []}
    assert not list((site.home.folder / "cohorts").iterdir())


def test_data_that_cannot_be_used(site: Site, archive: Path, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.csv").write_text("Anna,1\nBerta,0\n")
    site.error(4, "intake-nothing-found", *add(tmp_path / "absent"))
    site.error(4, "intake-nothing-found", *add(tmp_path / "empty"))
    site.error(4, "labels-invalid", *add(archive, "--labels", tmp_path / "wrong.csv"))
    site.error(4, "records-invalid", "cohort", "add", "icu", "--records", tmp_path / "wrong.csv")
    assert site.json("cohort", "list") == {"cohorts": []}
    site.json(*add(archive, "--labels", labels))
    assert "keep_derived was False, is True" in site.error(
        4, "cohort-differs", *add(archive, "--keep-derived")
    )
    for command in ("show", "remove"):
        site.error(
            4, "cohort-unknown", "cohort", command, "absent", *(["--yes"] if command == "remove" else [])
        )
    site.error(4, "cohort-unknown", "cohort", "report", "absent", "--out", tmp_path / "r.html")
    site.json("cohort", "add", "letters", "--dicom", archive / "IM0012")
    site.error(4, "cohort-empty", "cohort", "report", "letters", "--out", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_home_that_cannot_be_used(site: Site, archive: Path) -> None:
    site.json(*add(archive))
    with site.home.changing("chest"):
        site.error(6, "home-busy", *add(archive))
        site.error(6, "home-busy", "cohort", "remove", "chest", "--yes")
    with site.home.folder.joinpath(POLICY_FILE).open("a") as policy:
        policy.write("minimum_cell = 0\n")
    assert "minimum_cell" in site.error(6, "home-invalid", "cohort", "list")
    site.home.folder.joinpath(POLICY_FILE).write_text("")
    os.truncate(site.home.cohort_folder("chest") / PIXEL_FILE, 10)
    site.error(4, "case-corrupt", "cohort", "show", "chest")
    site.error(4, "case-corrupt", *add(archive))
    (site.home.folder / "audit.jsonl").write_text("")
    site.error(6, "audit-broken", "cohort", "add", "other", "--dicom", archive)
    site.home.database.write_bytes(b"no database" * 1000)
    site.error(6, "home-invalid", "cohort", "show", "chest")


def test_a_full_disk(site: Site, archive: Path) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == PIXEL_FILE:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with site.monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        site.error(6, "disk-full", *add(archive))
    assert site.json("cohort", "show", "chest")["trouble"]["code"] == "cohort-unsuitable"
    assert site.json(*add(archive))["files"]["seen"] == 20


# As a process of its own


def test_a_process_says_its_object_and_nothing_else(site: Site, archive: Path) -> None:
    command = [sys.executable, "-m", "deploy.cli", "site", *map(str, add(archive)), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["files"]["seen"] == 20


STOPPED = """
import os, time
from pathlib import Path
from client.cohorts import intake
from deploy.cli import main

real, calls = intake._seen, 0

def stopped(*arguments):
    global calls
    calls += 1
    if calls == 6:
        Path(os.environ["REACHED"]).touch()
        time.sleep(30)
    return real(*arguments)

intake._seen = stopped
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
def test_an_interruption_is_told_and_costs_nothing(site: Site, archive: Path, number: signal.Signals) -> None:
    expected = site.json("cohort", "add", "whole", *add(archive)[3:])
    command = [sys.executable, "-c", STOPPED, "site", *map(str, add(archive))]
    reached = site.folder / "reached"
    environment = {**os.environ, "REACHED": str(reached)}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, env=environment) as process:
        last = time.monotonic() + 20
        while time.monotonic() < last and not reached.exists():
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and b"interrupted" in err and b"Traceback" not in err
    assert site.json("cohort", "show", "chest")["trouble"]["code"] == "cohort-unsuitable"
    assert open_cohort(site.home, "chest").seen == 5  # what was done is not done again
    after = site.json(*add(archive))
    assert after["fingerprint"] == expected["fingerprint"] and after["files"] == expected["files"]


# Clean files


def test_clean_files_can_be_read_and_name_nobody(site: Site, tmp_path: Path) -> None:
    family, _, town, number = PLANTED[:4]
    clean, written_on = everything(), planted_picture(BurnedInAnnotation="YES", SOPInstanceUID="1.2.3")
    clean.BurnedInAnnotation = "NO"
    folder = laid(tmp_path / town, [clean, written_on, picture(""), b"x"], number)
    with tarfile.open(folder / "more.tar.gz", "w:gz") as tar:
        for n, dataset in enumerate(volume(number, "2", 5)):
            dataset.save_as(tmp_path / "one", enforce_file_format=True)
            tar.add(tmp_path / "one", f"{family}/{n}")
    out = tmp_path / "clean"
    document = site.json("deidentify", "--dicom", folder, "--dicom", folder, "--out", out)
    written = [path for path in out.rglob("*") if path.is_file()]
    assert (document["seen"], document["written"], document["copies"]) == (10, 6, 1)
    assert sorted(item["why"] for item in document["left_out"]) == [
        "burned-in-text",
        "not-dicom",
        "patient-missing",
    ]
    assert len(written) == 6
    for path in written:
        dataset = dcmread(path)
        assert dataset.PatientID == site.home.pseudonyms.patient(number)
        assert dataset.pixel_array.size
        assert not leaks(path.read_bytes()) and not leaks(str(path.relative_to(out)).encode())
    site.error(6, "output-exists", "deidentify", "--dicom", folder, "--out", out)
    status, told, _ = site.run(
        "deidentify", "--dicom", folder, "--out", tmp_path / "again", "--allow-burned-in"
    )
    assert status == 0 and "7 of 9 files written" in told and "patient-missing" in told


def test_what_cannot_be_cleaned(site: Site, tmp_path: Path) -> None:
    site.error(
        4, "intake-nothing-found", "deidentify", "--dicom", tmp_path / "absent", "--out", tmp_path / "out"
    )
    (tmp_path / "file").write_text("x")
    archive = laid(tmp_path / "in", [slice_at(0.0)])
    site.error(6, "output-exists", "deidentify", "--dicom", archive, "--out", tmp_path / "file")
    site.error(6, "output-unwritable", "deidentify", "--dicom", archive, "--out", tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "x"
