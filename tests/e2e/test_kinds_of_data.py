"""From the command line: clips, views and records, dealt or at their sites, and phantoms of any study."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.cli import main

STUDY = """
[study]
name = "small"
labels = {{0 = "normal", 1 = "ill"}}
[model]
hidden = 4
[federation]
rounds = 1
[sequence]
{sequence}
"""
FRAMES = 'kind = "frames"\nsize = 8'
VIEWS = 'kind = "views"\nsize = 8'
STEPS = (
    'kind = "steps"\nvariables = {age = {centre = 50.0, scale = 10.0}, chol = {centre = 200.0, scale = 50.0}}'
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def consilium(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command: exit status, what it printed, what it said on stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["consilium", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def study(folder: Path, sequence: str) -> Path:
    path = folder / "study.toml"
    path.write_text(STUDY.format(sequence=sequence))
    return path


def simulated(run: Run, folder: Path, *arguments: object, command: str = "simulate") -> dict[str, Any]:
    code, printed, said = run(command, folder / "study.toml", *arguments, "--out", folder / "out", "--json")
    assert code == 0, said
    found: dict[str, Any] = json.loads(printed)
    return found


def manifest(folder: Path, rows: list[dict[str, str]]) -> Path:
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def people(count: int) -> list[dict[str, str]]:
    return [
        {
            "site": "elm",
            "patient_id": f"p{n}",
            "split": "test" if n % 3 == 0 else "train",
            "label": str(n % 2),
        }
        for n in range(count)
    ]


def test_clips_of_one_site_are_dealt_to_two(consilium: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(12):
        np.savez(tmp_path / f"{n}.npz", frames=rng.integers(0, 255, (2 + n % 3, 8, 8), dtype=np.uint8))
    path = manifest(tmp_path, [{"path": f"{n}.npz", **row} for n, row in enumerate(people(12))])
    study(tmp_path, FRAMES)
    run = simulated(consilium, tmp_path, "--data", path, "--sites", 2)
    assert sum(site["test_cases"] for site in run["sites"].values()) == 4


def test_views_of_a_patient_are_one_case(consilium: Run, tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), []
    for n, row in enumerate(people(12)):
        for view in range(1 + n % 2):
            name = f"{n}-{view}.png"
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / name)
            rows.append({"path": name, "view": str(view), **row})
    study(tmp_path, VIEWS)
    run = simulated(consilium, tmp_path, "--data", manifest(tmp_path, rows), "--sites", 2)
    assert sum(s["train_cases"] + s["test_cases"] for s in run["sites"].values()) == 12


def table(folder: Path) -> Path:
    rows = [
        f"{hospital},{n},{40 + n},{180 + 10 * (n % 2)},{n % 2},{'test' if n % 3 == 0 else 'train'},{n % 2}"
        for hospital in ("cleveland", "va")
        for n in range(8)
    ]
    (folder / "heart.csv").write_text("hospital,row,age,chol,num,split,label\n" + "\n".join(rows) + "\n")
    return folder / "heart.csv"


@pytest.mark.parametrize("command", ["simulate", pytest.param("local", marks=pytest.mark.slow)])
def test_records_are_at_the_sites_that_a_column_names(consilium: Run, tmp_path: Path, command: str) -> None:
    study(tmp_path, STEPS)
    run = simulated(
        consilium,
        tmp_path,
        *("--records", table(tmp_path), "--site-from", "hospital", "--ignore", "num"),
        command=command,
    )
    assert {name: site["test_cases"] for name, site in run["sites"].items()} == {"cleveland": 3, "va": 3}


@pytest.mark.parametrize("sequence", [FRAMES, VIEWS, STEPS], ids=["frames", "views", "steps"])
def test_without_data_there_are_phantoms_of_the_study_s_kind(
    consilium: Run, tmp_path: Path, sequence: str
) -> None:
    study(tmp_path, sequence)
    assert len(simulated(consilium, tmp_path, "--sites", 2)["sites"]) == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--ignore", "num"), "belongs to --records"),
        (("--site-from", "hospital"), "belongs to --records"),
        (("--records", "a.csv", "--data", "b.csv"), "takes the place of --data"),
        (("--records", "a.csv", "--cohort", "elm=x"), "takes the place of --data, --records"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    consilium: Run, tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    code, _, said = consilium("simulate", study(tmp_path, STEPS), *arguments, "--out", tmp_path / "out")
    assert code == 2 and word in " ".join(said.replace("│", " ").split())
    assert not (tmp_path / "out").exists()
