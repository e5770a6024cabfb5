"""Private studies from the command line: what they cost is shown, and a spent budget ends a site's part."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from client.cohorts.home import Home, create_home
from client.cohorts.intake import Request, take_in
from client.cohorts.rules import Rules
from client.ledger import Ledger
from tests.e2e.conftest import ROOT
from tests.e2e.test_engines import COMMAND

BUDGET = 1.6  # one round costs 1.36, two 2.06
STUDY = """
[study]
name = "private-phantom"
[study.labels]
0 = "normal"
1 = "lesion"
[sequence]
kind = "rows"
size = 64
[model]
encoder = "hog"
hidden = 8
[training]
optimizer = "sgd"
learning_rate = 1.0
[federation]
rounds = {rounds}
min_sites = 1
[privacy]
noise_multiplier = 2.0
sample_rate = 1.0
target_delta = 1e-3
"""


@pytest.fixture(scope="module")
def home(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A site with a cohort and a budget that is soon spent."""
    made = create_home(tmp_path_factory.mktemp("private") / "home", "alder")
    take_in(made, Request("chest", (manifest.parent / "alder",), Rules(), labels=manifest))
    policy = made.folder / "policy.toml"
    policy.write_text(policy.read_text() + f"\n[privacy.cohorts.chest]\nepsilon = {BUDGET}\ndelta = 1e-3\n")
    return Home(made.folder)


def consilium(*arguments: object, fails: int = 0) -> str:
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def study(folder: Path, rounds: int) -> Path:
    path = folder / "private.toml"
    path.write_text(STUDY.format(rounds=rounds))
    return path


def run_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    jsonschema.validate(found, json.loads((ROOT / "docs/run.schema.json").read_text()))
    return found


def test_a_simulation_goes_on_without_the_site_whose_budget_is_spent(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    told = consilium(
        "simulate",
        study(tmp_path, 4),
        "--data",
        manifest,
        "--out",
        out,
        "--budget",
        "alder=2.5",
        "--budget",
        "50",
    )
    run = run_of(out)
    missing = [round_["missing"].get("alder", "") for round_ in run["rounds"]]
    assert missing[0] == "" and missing[-1].startswith("budget-spent: ")
    assert all("birch" in round_["contributed"] for round_ in run["rounds"])
    costs = [round_["training"]["birch"]["epsilon"] for round_ in run["rounds"]]
    assert costs == sorted(costs) and costs[0] > 0
    assert "alder: budget-spent" in told and "not private" in told
    report = (out / "report.html").read_text()
    assert "budget-spent" in report and "epsilon" in report
    assert Ledger(out / "ledgers/birch.jsonl", None).spent().epsilon > 0


@pytest.mark.slow
def test_when_no_site_has_budget_left_the_study_says_why(manifest: Path, tmp_path: Path) -> None:
    told = consilium(
        "simulate",
        study(tmp_path, 2),
        "--data",
        manifest,
        "--out",
        tmp_path / "run",
        "--budget",
        "0.5",
        fails=5,
    )
    assert "quorum-not-reached" in told and "alder: budget-spent" in told and "Traceback" not in told


def test_a_budget_for_nobody_is_refused(manifest: Path, tmp_path: Path) -> None:
    arguments = ("simulate", study(tmp_path, 2), "--data", manifest, "--out", tmp_path / "run")
    assert "budget-unused" in consilium(*arguments, "--budget", "nobody=1", fails=3)
    assert "without the privacy" in consilium(*arguments, "--baselines", fails=3)
    assert "[SITE=]EPSILON" in consilium(*arguments, "--budget", "alder=much", fails=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_simulation_leaves_the_hospital_s_ledger_alone(home: Home, tmp_path: Path) -> None:
    """It refuses what the hospital would, from a copy."""
    out = tmp_path / "run"
    cohort = ("--home", home.folder, "--cohort", "alder=chest")
    consilium("simulate", study(tmp_path, 4), *cohort, "--out", out, fails=5)
    assert "budget-spent" in run_of(out)["error"]["message"]
    assert len(run_of(out)["rounds"]) >= 1
    assert not home.ledger("chest").path.exists()


@pytest.mark.slow
def test_a_local_federation_spends_the_hospital_s_budget_until_it_is_gone(home: Home, tmp_path: Path) -> None:
    """Real processes over TLS; what was spent is known to the next study, whoever runs it."""
    cohort, out = ("--home", home.folder, "--cohort", "alder=chest"), tmp_path / "run"
    refused = consilium("local", study(tmp_path, 2), *cohort, "--out", out, fails=5)
    assert "alder: budget-spent" in refused and "Traceback" not in refused
    (trained,) = run_of(out)["rounds"]
    spent = home.ledger("chest").spent()
    assert 0 < spent.epsilon < BUDGET
    assert trained["training"]["alder"]["epsilon"] == pytest.approx(spent.epsilon, rel=0.02)
    shown = json.loads(consilium("site", "ledger", "show", "chest", "--home", home.folder, "--json"))
    assert "private-phantom" in json.dumps(shown)
    assert consilium("site", "ledger", "verify", "chest", "--home", home.folder)
    again = consilium("simulate", study(tmp_path, 2), *cohort, "--out", tmp_path / "again", fails=5)
    assert "alder: budget-spent" in again and not (tmp_path / "again").exists()
