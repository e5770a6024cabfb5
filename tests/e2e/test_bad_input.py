"""Whatever is wrong: a code, one screen, no traceback, the documented exit status, nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.cli import main

STUDY = """
[study]
name = "small"
labels = {0 = "normal", 1 = "ill"}
[sequence]
size = 16
[model]
hidden = 4
[federation]
rounds = 1
"""


@dataclass(slots=True)
class Desk:
    """A folder with a study and a manifest of small pictures, to be spoiled by a test."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def lines(self) -> list[str]:
        return (self.folder / "manifest.csv").read_text().splitlines()

    def rewrite(self, change: Callable[[list[str]], list[str]]) -> None:
        (self.folder / "manifest.csv").write_text("\n".join(change(self.lines())) + "\n")

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of ``consilium ARGUMENTS``."""
        self.monkeypatch.setattr("sys.argv", ["consilium", *map(str, arguments)])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self.capture.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    def simulate(self, *arguments: object, command: str = "simulate") -> tuple[int, str, str]:
        study, manifest = self.folder / "study.toml", self.folder / "manifest.csv"
        return self.run(command, study, "--data", manifest, "--out", self.out, *arguments)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    draw = np.random.default_rng(0)
    rows = ["path,site,patient_id,split,label"]
    for site in ("north", "south"):
        for number in range(8):
            name = f"{site}-{number}.png"
            Image.fromarray(draw.integers(0, 255, (16, 16), dtype=np.uint8)).save(tmp_path / name)
            rows.append(f"{name},{site},{site}-{number},{'test' if number > 5 else 'train'},{number % 2}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "study.toml").write_text(STUDY)
    monkeypatch.delenv("CONSILIUM_DEBUG", raising=False)
    return Desk(tmp_path, capsys, monkeypatch)


def shows(result: tuple[int, str, str], status: int, code: str, *words: str) -> None:
    """The result is one screen with this error and nothing else."""
    exit_status, out, err = result
    assert f"error {code} " in err
    assert exit_status == status
    assert "hint" in err
    assert "Traceback" not in out + err
    assert len(err.splitlines()) <= 25
    for word in words:
        assert word in err


def spoil_study(desk: Desk, old: str, new: str) -> None:
    study = desk.folder / "study.toml"
    assert old in study.read_text()
    study.write_text(study.read_text().replace(old, new))


def test_study_missing(desk: Desk) -> None:
    shows(desk.run("study", "check", desk.folder / "none.toml"), 3, "study-file-missing", "none.toml")


def test_study_not_toml(desk: Desk) -> None:
    spoil_study(desk, 'name = "small"', "name = small")
    shows(desk.simulate(), 3, "study-syntax", "line 3")


def test_unknown_key_names_the_right_one(desk: Desk) -> None:
    spoil_study(desk, "rounds = 1", "ronuds = 1")
    shows(desk.simulate(), 3, "study-unknown-key", "federation.ronuds", "did you mean 'rounds'")


def test_value_out_of_bounds(desk: Desk) -> None:
    spoil_study(desk, "hidden = 4", "hidden = 0")
    shows(desk.simulate(), 3, "study-invalid-value", "model.hidden")


def test_manifest_missing(desk: Desk) -> None:
    (desk.folder / "manifest.csv").unlink()
    shows(desk.simulate(), 4, "manifest-missing", "manifest.csv")


def test_manifest_without_a_column(desk: Desk) -> None:
    desk.rewrite(lambda lines: [lines[0].replace("label", "lable"), *lines[1:]])
    shows(desk.simulate(), 4, "manifest-invalid", "'label'")


def test_label_that_the_study_does_not_name(desk: Desk) -> None:
    desk.rewrite(lambda lines: [*lines[:-1], lines[-1][:-1] + "7"])
    shows(desk.simulate(), 4, "label-unknown", "'7'", "line 17")


def test_patient_in_two_splits_names_the_rows_and_not_the_patient(desk: Desk) -> None:
    desk.rewrite(lambda lines: [*lines, "north-0.png,north,north-7,train,0"])
    result = desk.simulate()
    shows(result, 4, "patient-in-two-splits", "line 9", "line 18")
    assert "north-7" not in result[2]


def test_empty_site(desk: Desk) -> None:
    desk.rewrite(
        lambda lines: [line.replace("train", "val") if ",north," in line else line for line in lines]
    )
    shows(desk.simulate(), 4, "site-empty", "'north'")


def test_site_without_test_cases(desk: Desk) -> None:
    desk.rewrite(lambda lines: [line for line in lines if not (",south," in line and ",test," in line)])
    shows(desk.simulate(), 4, "site-without-test-cases", "'south'", "min_test_cases = 0")


def test_site_without_test_cases_is_accepted_where_the_study_says_so(desk: Desk) -> None:
    desk.rewrite(lambda lines: [line for line in lines if not (",south," in line and ",test," in line)])
    spoil_study(desk, "[sequence]", "[data]\nmin_test_cases = 0\n[sequence]")
    status, out, _ = desk.simulate("--json")
    run = json.loads(out)
    assert status == 0
    assert list(run["final"]["sites"]) == ["north"]
    assert "no test cases" in run["sites"]["south"]["notes"]


def test_site_of_one_class_is_allowed_and_reported(desk: Desk) -> None:
    desk.rewrite(lambda lines: [line[:-1] + "1" if ",south," in line else line for line in lines])
    status, out, _ = desk.simulate()
    assert status == 0
    assert "south: all training cases have one class: ill" in out


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nnot really", b"hello"])
def test_unreadable_picture_is_named(content: bytes, desk: Desk) -> None:
    (desk.folder / "south-3.png").write_bytes(content)
    shows(desk.simulate(), 4, "image-unreadable", "south-3.png")


def test_missing_picture_is_named(desk: Desk) -> None:
    (desk.folder / "south-7.png").unlink()
    shows(desk.simulate(), 4, "image-missing", "south-7.png")


def test_sites_would_overrule_real_sites(desk: Desk) -> None:
    shows(desk.simulate("--sites", 3), 4, "sites-overruled", "north, south")


def test_where_selects_nothing(desk: Desk) -> None:
    shows(desk.simulate("--where", "site=west"), 4, "site-unknown", "site=west")


def test_where_without_a_value_is_wrong_usage(desk: Desk) -> None:
    status, _, err = desk.simulate("--where", "west")
    assert status == 2
    assert "COLUMN=VALUE" in err


def test_device_that_is_not_there(desk: Desk) -> None:
    shows(desk.simulate("--device", "cuda:99"), 6, "device-unavailable", "cuda:99")


def test_output_folder_of_something_else_is_never_touched(desk: Desk) -> None:
    desk.out.mkdir()
    (desk.out / "thesis.docx").write_text("years of work")
    shows(desk.simulate("--overwrite"), 6, "output-exists")
    assert (desk.out / "thesis.docx").read_text() == "years of work"


def test_earlier_run_is_replaced_only_when_asked(desk: Desk) -> None:
    assert desk.simulate("--json")[0] == 0
    before = (desk.out / "run.json").read_bytes()
    shows(desk.simulate(), 6, "output-exists", "--overwrite")
    assert (desk.out / "run.json").read_bytes() == before
    assert desk.simulate("--json", "--overwrite")[0] == 0


def test_output_folder_under_a_file(desk: Desk) -> None:
    (desk.folder / "out").write_text("a file")
    shows(desk.simulate(), 6, "output-exists")


def test_port_taken(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shows(desk.simulate("--port", port, command="local"), 6, "port-taken", str(port))
    assert not desk.out.exists()


def test_disk_full_leaves_no_half_written_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("common.files.os.fsync", full)
    shows(desk.simulate(), 6, "disk-full", "No space left")
    assert not desk.out.exists()


@pytest.mark.parametrize("spoil", ["label", "picture"])
def test_nothing_is_left_of_a_run_that_could_not_begin(spoil: str, desk: Desk) -> None:
    if spoil == "label":
        desk.rewrite(lambda lines: [*lines[:-1], lines[-1][:-1] + "7"])
    else:
        (desk.folder / "south-3.png").write_bytes(b"")
    desk.simulate()
    assert not desk.out.exists()


def test_errors_are_one_json_object_for_machines(desk: Desk) -> None:
    status, out, err = desk.simulate("--json", "--where", "site=west")
    assert status == 4
    assert json.loads(out)["error"]["code"] == "site-unknown"
    assert not err


def test_a_defect_shows_its_place_and_not_its_text(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("Mustermann^Max")

    monkeypatch.setattr("deploy.launch.resolve", broken)
    result = desk.simulate()
    shows(result, 1, "internal", "KeyError")
    assert "Mustermann" not in result[2]


def test_a_run_with_a_file_of_ones_own_beside_it_is_never_replaced(desk: Desk) -> None:
    assert desk.simulate("--json")[0] == 0
    (desk.out / "thesis.docx").write_text("years of work")
    shows(desk.simulate("--overwrite"), 6, "output-exists", "thesis.docx")
    assert (desk.out / "thesis.docx").exists()


def test_names_are_shown_as_they_are(desk: Desk) -> None:
    """A terminal library's markup in a site's name is text like any other."""
    desk.rewrite(lambda lines: [line.replace(",north,", ",north [/x],") for line in lines])
    status, out, _ = desk.simulate()
    assert status == 0
    assert "north [/x]" in out


def test_baselines_where_nobody_has_test_cases(desk: Desk) -> None:
    desk.rewrite(lambda lines: [line for line in lines if ",test," not in line])
    spoil_study(desk, "[sequence]", "[data]\nmin_test_cases = 0\n[sequence]")
    assert desk.simulate("--baselines")[0] == 0


def test_a_picture_named_twice(desk: Desk) -> None:
    desk.rewrite(lambda lines: [*lines, "north-0.png,north,somebody-else,test,0"])
    shows(desk.simulate(), 4, "manifest-invalid", "lines 2 and 18")


def test_an_earlier_run_outlives_one_that_could_not_begin(desk: Desk) -> None:
    assert desk.simulate("--json")[0] == 0
    before = (desk.out / "model.safetensors").read_bytes()
    (desk.folder / "south-3.png").write_bytes(b"")
    shows(desk.simulate("--overwrite"), 4, "image-unreadable")
    assert (desk.out / "model.safetensors").read_bytes() == before


def test_fewer_sites_than_the_study_asks_for(desk: Desk) -> None:
    spoil_study(desk, "rounds = 1", "rounds = 1\nmin_sites = 3")
    shows(desk.simulate(), 5, "quorum-not-reached", "2 sites", "min_sites from 3")
    assert not desk.out.exists()
