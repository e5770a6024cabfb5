"""``[studies]`` and ``[consent]`` of policy.toml: read strictly, and held to for every study."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.cohorts.home import POLICY_FILE, Home
from client.cohorts.records.layout import RecordRules
from client.cohorts.registering import register_records
from client.cohorts.rules import Rules
from client.cohorts.settings import POLICY_TEMPLATE, Policy, StudyPolicy, read_settings
from client.policy import bounded_update, check_policy, check_study, limit_gpu
from client.site import Site
from common.contract import METRICS
from common.errors import CohortHeldBack, ConsiliumError, HomeInvalid, PolicyRefused, PrivacyRequired
from common.study import Study, parse_study
from common.weights import norm
from tests.unit.cohorts.archives import labels_of, new_home
from tests.unit.contract.drafts import study_with

STEPS: dict[str, Any] = {
    "study": {"name": "small", "labels": {"0": "normal", "1": "lesion"}},
    "sequence": {"kind": "steps", "variables": {"HR": {"centre": 80.0, "scale": 20.0}}},
}
NOISE = {"privacy": {"noise_multiplier": 1.0, "sample_rate": 0.5, "accountant": "rdp"}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A site with a cohort of six records of six patients, four of them to be trained on."""
    folder = tmp_path_factory.mktemp("site")
    made = new_home(folder / "home")
    names = [f"P{number}" for number in range(6)]
    table = folder / "records.csv"
    table.write_text("patient,time,variable,value\n" + "".join(f"{name},0,HR,80\n" for name in names))
    rows = " ".join(f"{name},{n % 2},{'train' if n < 4 else 'test'}" for n, name in enumerate(names))
    register_records(made, "icu", table, labels_of(folder / "l.csv", rows), Rules(), RecordRules())
    return made


def site(home: Home, policy: str) -> Site:
    (home.folder / POLICY_FILE).write_text(policy)
    return Site("test", home=str(home.folder), cohort="icu")


def records_study(**sections: Any) -> Study:
    return parse_study({**STEPS, **sections})


def test_the_template_is_the_default() -> None:
    assert Policy.model_validate(tomllib.loads(POLICY_TEMPLATE)) == Policy()
    assert Policy().studies.metrics == METRICS


@pytest.mark.parametrize(
    "text",
    [
        "[consent]\napprovers = 0\n",
        "[consent]\nallowed = [1]\n",
        "[consent]\nwho = []\n",
        "[studies]\nminimum_cases = 0\n",
        "[studies]\nmax_epsilon = 0.0\n",
        "[studies]\nmax_epsilon = inf\n",
        '[studies]\ntasks = ["everything"]\n',
        '[studies]\nmodels = ["transformer"]\n',
        '[studies]\nmetrics = ["patients"]\n',
        '[studies]\nhours = "20-6"\n',
        '[studies]\nhours = "20:00-25:00"\n',
        '[studies]\nhours = "20:00-20:00"\n',
        "[studies]\nquarantine_threshold = 1.1\n",
        "[studies]\nmax_update_norm = 0\n",
        "[studies]\ngpu_share = 0\n",
        "[studies]\ngpu_share = 1.5\n",
        "[studies]\nepsilon = 1.0\n",
    ],
)
def test_a_policy_is_read_strictly(tmp_path: Path, text: str) -> None:
    (tmp_path / POLICY_FILE).write_text(text)
    with pytest.raises(HomeInvalid):
        read_settings(tmp_path / POLICY_FILE, Policy)


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("20:00-06:00", ["20:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "19:59"]),
        ("06:00-20:00", ["06:00", "12:00", "19:59"], ["20:00", "00:00", "05:59"]),
        ("", ["00:00", "12:00"], []),
    ],
)
def test_hours_may_go_over_midnight(hours: str, inside: list[str], outside: list[str]) -> None:
    rules = StudyPolicy(hours=hours)
    assert all(rules.allows(time.fromisoformat(clock)) for clock in inside)
    assert not any(rules.allows(time.fromisoformat(clock)) for clock in outside)


@pytest.mark.parametrize(
    ("rules", "sections", "refusal"),
    [
        ({}, {}, None),
        ({"max_epsilon": 4.0}, {"privacy": {"target_epsilon": 4.0}}, None),
        ({"max_epsilon": 4.0}, {"privacy": {"target_epsilon": 4.1}}, PolicyRefused),
        (
            {"max_epsilon": 4.0},
            {"privacy": {"target_epsilon": 1.0, "evaluation_epsilon": 5.0}},
            PolicyRefused,
        ),
        (
            {"max_epsilon": 4.0},
            {"privacy": {"sites": {"noise_multiplier": 1.0, "planned_sites": 9}}},
            PrivacyRequired,
        ),
        ({"max_epsilon": 4.0}, {}, PrivacyRequired),
        ({"tasks": ()}, {}, PolicyRefused),
        ({"models": ("lstm", "rnn")}, {}, PolicyRefused),
        ({"models": ("lstm",)}, {"model": {"cell": "lstm"}}, None),
        ({"metrics": ("test-loss", "confusion", "calibration", "score-histogram")}, {}, PolicyRefused),
        ({"metrics": ("test-loss", "confusion", "calibration", "score-histogram")}, NOISE, None),
        ({"metrics": tuple(m for m in METRICS if m != "score-histogram")}, NOISE, PolicyRefused),
        ({"metrics": ("loss", *METRICS[2:])}, {"federation": {"strategy": "qfedavg"}}, PolicyRefused),
        ({"metrics": ("loss", *METRICS[2:])}, {}, None),
    ],
)
def test_a_study_passes_or_not(
    rules: dict[str, Any], sections: dict[str, Any], refusal: type[ConsiliumError] | None
) -> None:
    policy = Policy(studies=StudyPolicy(**rules))
    if refusal is None:
        check_study(policy, study_with(**sections))
        return
    with pytest.raises(refusal):
        check_study(policy, study_with(**sections))


def test_a_cohort_must_be_large_enough(home: Home) -> None:
    check_policy(site(home, "[studies]\nminimum_cases = 4\n"), records_study())
    with pytest.raises(PolicyRefused, match="4 training cases, fewer than 5"):
        check_policy(site(home, "[studies]\nminimum_cases = 5\n"), records_study())


def test_noise_is_reckoned_as_what_it_costs_so_many_patients(home: Home) -> None:
    study = records_study(**NOISE)
    check_policy(site(home, "[studies]\nmax_epsilon = 50.0\n"), study)
    with pytest.raises(PolicyRefused, match="max_epsilon"):
        check_policy(site(home, "[studies]\nmax_epsilon = 0.5\n"), study)


def test_a_threshold_for_studies_is_its_own(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = SimpleNamespace(quarantine_share=0.1)
    monkeypatch.setattr("client.cohorts.cohort.open_cohort", lambda home, name: opened)
    check_policy(site(home, "[studies]\nquarantine_threshold = 0.1\n"), records_study())
    with pytest.raises(CohortHeldBack, match="10% of the files"):
        check_policy(site(home, "[studies]\nquarantine_threshold = 0.09\n"), records_study())


def test_larger_updates_are_scaled_before_they_leave(home: Home) -> None:
    delta: dict[str, NDArray[Any]] = {
        "a": np.full(4, 3.0, np.float32),
        "b": np.array([[8.0]], np.float64),
        "n": np.array([7]),
    }
    limited = site(home, "[studies]\nmax_update_norm = 5.0\n")
    scaled = bounded_update(limited, delta)
    assert norm({"a": scaled["a"], "b": scaled["b"]}) == pytest.approx(5.0)
    np.testing.assert_allclose(scaled["a"], 1.5)
    assert scaled["n"] is delta["n"] and [a.dtype for a in scaled.values()] == [
        a.dtype for a in delta.values()
    ]
    for unlimited in (
        site(home, ""),
        site(home, "[studies]\nmax_update_norm = 10.0\n"),
        replace(limited, cohort=""),
    ):
        assert bounded_update(unlimited, delta) == delta


def test_training_takes_its_share_of_a_gpu(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[float, torch.device]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: limits.append(given))
    shared = site(home, "[studies]\ngpu_share = 0.5\n")
    limit_gpu(shared, torch.device("cpu"))
    limit_gpu(replace(shared, cohort=""), torch.device("cuda", 1))
    limit_gpu(shared, torch.device("cuda", 1))
    assert limits == [(0.5, torch.device("cuda", 1))]


def test_a_manifest_has_no_policy() -> None:
    check_policy(Site("elm", "manifest.csv"), study_with(privacy={"noise_multiplier": 1.0, "unit": "image"}))


def test_another_task_is_allowed_as_the_refusal_says() -> None:
    study = parse_study({**STEPS, "study": {**STEPS["study"], "task": "risk"}})
    with pytest.raises(PolicyRefused, match="tasks: risk is not among classification") as refused:
        check_study(Policy(), study)
    assert 'adds "risk" to tasks under [studies] in policy.toml' in refused.value.hint
    wider = POLICY_TEMPLATE.replace('tasks = ["classification"]', 'tasks = ["classification", "risk"]')
    check_study(Policy.model_validate(tomllib.loads(wider)), study)
