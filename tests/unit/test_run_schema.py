"""run.json's schema accepts what a run writes and refuses what it must never hold."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

HERE = Path(__file__).parent
SCHEMA = json.loads((HERE.parents[1] / "docs" / "run.schema.json").read_text(encoding="utf-8"))
SAMPLES = sorted((HERE / "samples").glob("run_*.json"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

Change = Callable[[dict[str, Any]], object]


def sample(name: str) -> dict[str, Any]:
    run: dict[str, Any] = json.loads((HERE / "samples" / f"run_{name}.json").read_text(encoding="utf-8"))
    return run


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_valid(path: Path) -> None:
    VALIDATOR.validate(json.loads(path.read_text(encoding="utf-8")))


def test_there_is_a_sample_of_each_end() -> None:
    assert {sample(path.stem.removeprefix("run_"))["status"] for path in SAMPLES} == {
        "completed",
        "failed",
        "interrupted",
    }


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param(lambda run: run.update(status="done"), "$.status", id="unknown status"),
        pytest.param(lambda run: run.update(final=None), "$.final", id="completed without a final model"),
        pytest.param(lambda run: run.update(schema=2), "$.schema", id="another schema"),
        pytest.param(lambda run: run.update(study_digest="abc"), "$.study_digest", id="no digest"),
        pytest.param(lambda run: run.update(patients=["p1"]), "$", id="unknown key"),
        pytest.param(
            lambda run: run["sites"]["nihcc"].update(path="/data"), "$.sites.nihcc", id="a site's path"
        ),
        pytest.param(lambda run: run["final"]["pooled"].update(auroc=1.2), "$.final", id="AUROC above one"),
        pytest.param(
            lambda run: run["final"]["pooled"].pop("confusion"), "$.final", id="no confusion matrix"
        ),
        pytest.param(
            lambda run: run["rounds"][0]["metrics"]["pooled"].pop("n"),
            "$.rounds[0].metrics",
            id="metrics without n",
        ),
        pytest.param(lambda run: run.update(started_at="yesterday"), "$.started_at", id="no time"),
    ],
)
def test_refused(change: Change, where: str) -> None:
    run = sample("completed")
    change(run)
    assert [error.json_path for error in VALIDATOR.iter_errors(run)] == [where]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param(lambda run: run.pop("privacy"), "$", id="silence about privacy"),
        pytest.param(lambda run: run["privacy"].update(noise="known"), "$.privacy", id="other noise"),
        pytest.param(lambda run: run["privacy"].update(unit=None), "$.privacy", id="nobody hidden"),
        pytest.param(
            lambda run: run["privacy"].update(unit=None, guarantee=None, sites=None),
            "$.privacy",
            id="nothing",
        ),
        pytest.param(lambda run: run["privacy"].update(seed=3), "$.privacy", id="the noise's seed"),
        pytest.param(lambda run: run["privacy"]["guarantee"].pop("target_delta"), "$.privacy", id="no delta"),
        pytest.param(
            lambda run: run["privacy"]["ledger_heads"].update(nihcc="7"), "$.privacy", id="no ledger head"
        ),
        pytest.param(
            lambda run: run["privacy"]["sites"]["epsilon"].append(-1.0), "$.privacy", id="epsilon below 0"
        ),
        pytest.param(
            lambda run: run["rounds"][0]["training"]["nihcc"].pop("target_delta"),
            "$.rounds[0].training.nihcc",
            id="epsilon without delta",
        ),
        pytest.param(
            lambda run: run["rounds"][0]["training"]["nihcc"].update(epsilon=None),
            "$.rounds[0].training.nihcc.epsilon",
            id="epsilon null",
        ),
        pytest.param(
            lambda run: run["rounds"][0]["training"]["nihcc"].update(patients=5),
            "$.rounds[0].training.nihcc",
            id="unknown figure of a site",
        ),
    ],
)
def test_refused_of_a_private_run(change: Change, where: str) -> None:
    run = sample("private")
    change(run)
    assert [error.json_path for error in VALIDATOR.iter_errors(run)] == [where]


def test_a_failed_run_says_why() -> None:
    assert not VALIDATOR.is_valid({**sample("failed"), "error": None})


def test_a_running_run_has_no_end() -> None:
    running = {**sample("interrupted"), "status": "running", "finished_at": None}
    assert VALIDATOR.is_valid(running)
    assert not VALIDATOR.is_valid({**running, "finished_at": "2026-11-21T02:00:00Z"})


def test_every_field_is_described() -> None:
    def undescribed(node: Any, path: str) -> list[str]:
        found = []
        for name, child in node.get("properties", {}).items():
            target = SCHEMA["$defs"][child["$ref"].rpartition("/")[2]] if "$ref" in child else child
            found += [] if "description" in {**target, **child} else [f"{path}.{name}"]
        return found

    study = {"study", "sequence", "federation", "model", "training", "data"}  # a study explains itself
    missing = undescribed(SCHEMA, "run")
    for name, definition in SCHEMA["$defs"].items():
        missing += undescribed(definition, name)
    assert [path for path in missing if path.rpartition(".")[2] not in study] == []
