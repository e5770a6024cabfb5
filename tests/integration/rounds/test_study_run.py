"""A study runs to its end or says why it did not, and leaves what it promised either way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import MessageType, RecordDict
from jsonschema import Draft202012Validator
from PIL import Image

from client.manifest import Row, write_manifest
from client.site import Site
from common.errors import NothingLearned, OutputUnwritable, QuorumNotReached, SiteRefused
from common.study import Study, load_study, to_toml
from common.weights import digest, load_weights
from server.models import ModelFiles
from server.record import RunRecord
from server.study_run import RunPlan, run_study

MakeGrid = Callable[..., Any]
MakePlan = Callable[..., RunPlan]
SCHEMA = Path(__file__).parents[3] / "docs" / "run.schema.json"
EVERYBODY = ("alder", "birch", "cedar", "dogwood")


@pytest.fixture
def plan(tmp_path: Path, make_study: Callable[..., Study]) -> MakePlan:
    def make(seed: int = 0, out: str = "run", run: dict[str, Any] | None = None, **sections: Any) -> RunPlan:
        made = RunPlan(make_study(**sections), seed, tmp_path / out, "test", 4, 1.0)
        return replace(made, **(run or {}))

    return make


def written(plan: RunPlan) -> dict[str, Any]:
    """run.json, valid against its schema and without what JSON does not know."""
    text = (plan.out / "run.json").read_text(encoding="utf-8")
    run: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"run.json holds {name}"))
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(run)
    return run


def in_round(number: int, happens: Callable[[], Any]) -> Callable[[Any, Any], Any]:
    """An answer as it should be, until a round in which something happens instead."""
    return lambda request, reply: happens() if request.content["about"]["round"] == number else reply


def failing(error: BaseException) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    return fail


def test_a_study_runs_to_its_end(grid_of: MakeGrid, plan: MakePlan) -> None:
    made = plan()
    record = run_study(grid_of(), made)
    run = written(made)
    assert isinstance(record, RunRecord) and record.status == run["status"] == "completed"
    assert run["error"] is None and run["finished_at"] >= run["started_at"]
    assert list(run["sites"]) == list(EVERYBODY)
    assert run["sites"]["birch"]["train_labels"] == {"normal": 4, "lesion": 4}
    assert [r["round"] for r in run["rounds"]] == [1, 2]
    for entry in run["rounds"]:
        assert entry["contributed"] == list(EVERYBODY) and entry["missing"] == {}
        assert {site: told["cases"] for site, told in entry["training"].items()} == {
            "alder": 6, "birch": 8, "cedar": 10, "dogwood": 5,
        }  # fmt: skip
        assert all(told["update_norm"] > 0 for told in entry["training"].values())
        assert entry["metrics"]["pooled"]["n"] == 10
    assert run["final"]["round"] == 2 and run["final"]["pooled"]["n"] == 10
    assert {site: m["n"] for site, m in run["final"]["sites"].items()} == {
        "alder": 2, "birch": 4, "cedar": 2, "dogwood": 2,
    }  # fmt: skip


def test_the_files_are_those_that_the_record_names(grid_of: MakeGrid, plan: MakePlan) -> None:
    made = plan()
    run_study(grid_of(), made)
    run = written(made)
    assert run["files"] == {
        "model": "model.safetensors",
        "study": "study.toml",
        "checkpoints": ["checkpoints/round-0001.safetensors", "checkpoints/round-0002.safetensors"],
    }
    assert sorted(str(p.relative_to(made.out)) for p in made.out.rglob("*") if p.is_file()) == sorted(
        ["run.json", "model.safetensors", "study.toml", ModelFiles.name(0), *run["files"]["checkpoints"]]
    )
    assert load_study(made.out / "study.toml") == made.study
    digests = [digest(load_weights(made.out / name)) for name in run["files"]["checkpoints"]]
    assert digests == [entry["model_digest"] for entry in run["rounds"]] and len(set(digests)) == 2
    assert digest(load_weights(made.out / "model.safetensors")) == run["final"]["model_digest"] == digests[1]


def test_the_same_seed_gives_the_same_bytes(grid_of: MakeGrid, plan: MakePlan) -> None:
    def model(out: str, seed: int, order: int) -> bytes:
        made = plan(seed, out, federation={"fraction_sites": 0.5})
        run_study(grid_of(order=order), made)
        return (made.out / "model.safetensors").read_bytes()

    assert model("a", 3, 0) == model("b", 3, 1) != model("c", 4, 0)


def test_rounds_are_evaluated_as_often_as_asked_and_at_the_end(grid_of: MakeGrid, plan: MakePlan) -> None:
    made = plan(federation={"rounds": 5, "evaluate_every": 2})
    run_study(grid_of(), made)
    assert [entry["metrics"] is not None for entry in written(made)["rounds"]] == [
        False,
        True,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("last", [2, 9])
def test_the_mean_of_the_last_models_is_tested_and_kept(grid_of: MakeGrid, plan: MakePlan, last: int) -> None:
    made, alone = (
        plan(out=out, federation={"rounds": 4, "evaluate_every": 3, "average_last": k})
        for out, k in (("mean", last), ("alone", 1))
    )
    grid = grid_of()
    run_study(grid, made)
    run_study(grid_of(), alone)
    run, raw = written(made), written(alone)
    # Training goes on from the rounds' own models: those are what they are without averaging.
    digests = [entry["model_digest"] for entry in run["rounds"]]
    models = [load_weights(made.out / name) for name in run["files"]["checkpoints"]]
    assert digests == [digest(weights) for weights in models]
    assert len(digests) == 4 and set(digests).isdisjoint([run["final"]["model_digest"]])

    def mean(number: int) -> str:
        taken = models[max(0, number - last) : number]
        return digest(
            {n: np.mean([m[n] for m in taken], axis=0, dtype=np.float64).astype("f4") for n in models[0]}
        )

    tested = [c["about"]["base_digest"] for kind, c in grid.sent if kind == MessageType.EVALUATE]
    assert list(dict.fromkeys(tested)) == [mean(3), mean(4)]
    assert run["final"]["model_digest"] == digest(load_weights(made.out / "model.safetensors")) == mean(4)
    assert run["rounds"][3]["metrics"]["pooled"]["loss"] == run["final"]["pooled"]["loss"]
    assert raw["final"]["model_digest"] == raw["rounds"][3]["model_digest"]


def test_averaging_changes_no_round(grid_of: MakeGrid, plan: MakePlan) -> None:
    # The study's text is sent to the sites, and nothing that they do depends on it.
    checkpoints = []
    for last in (1, 2):
        made = plan(out=str(last), federation={"average_last": last})
        run_study(grid_of(), made)
        checkpoints.append([entry["model_digest"] for entry in written(made)["rounds"]])
    assert checkpoints[0] == checkpoints[1]


def test_a_study_that_hides_sites_says_what_it_cost(grid_of: MakeGrid, plan: MakePlan, faults: Any) -> None:
    sites = {"noise_multiplier": 3.0, "clip_norm": 0.2, "planned_sites": 4}
    rounds = {"rounds": 3}
    made = plan(run={"noise_seed": 9}, privacy={"sites": sites}, federation=rounds)
    no = faults.refused()
    in_second = lambda asked: asked.content["about"]["round"] == 2  # noqa: E731
    gone = {"birch": replace(no, answer=lambda q, a: no.answer(q, a) if in_second(q) else a)}
    run_study(grid_of(faults=gone), made)
    run = written(made)
    privacy = run["privacy"]
    assert (privacy["noise"], privacy["unit"], privacy["guarantee"]) == ("seeded", None, None)
    assert privacy["sites"]["noise_multiplier"] == 3.0 and privacy["sites"]["sample_rate"] == 1.0
    spent = privacy["sites"]["epsilon"]
    assert len(spent) == 3 and 0 < spent[0] < spent[1] < spent[2]
    assert [list(entry["missing"]) for entry in run["rounds"]] == [[], ["birch"], []]
    again = plan(out="again", run={"noise_seed": 9}, privacy={"sites": sites}, federation=rounds)
    secret = plan(out="secret", privacy={"sites": sites}, federation=rounds)
    for other in (again, secret):
        run_study(grid_of(faults=gone), other)
    model = run["final"]["model_digest"]
    assert written(again)["final"]["model_digest"] == model != written(secret)["final"]["model_digest"]
    assert written(secret)["privacy"]["noise"] == "secret"


def test_training_helps(grid_of: MakeGrid, plan: MakePlan) -> None:
    made = plan(
        federation={"rounds": 4}, training={"local_epochs": 5, "learning_rate": 0.02}, model={"hidden": 8}
    )
    run_study(grid_of(), made)
    run = written(made)
    assert run["final"]["pooled"]["accuracy"] == 1.0
    losses = [entry["metrics"]["pooled"]["loss"] for entry in run["rounds"]]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.3


def test_a_run_that_loses_its_quorum_says_who_and_keeps_what_it_had(
    grid_of: MakeGrid, plan: MakePlan, faults: Any
) -> None:
    gone = replace(faults.lost(), answer=in_round(2, lambda: None))
    made = plan(federation={"min_sites": 3, "deadline_s": 0.4})
    with pytest.raises(QuorumNotReached):
        run_study(grid_of(faults=dict.fromkeys(("alder", "cedar"), gone)), made)
    run = written(made)
    assert run["status"] == "failed" and run["finished_at"]
    assert run["error"]["code"] == "quorum-not-reached"
    assert "round 2: 2 usable updates, 3 needed" in run["error"]["message"]
    assert "alder: no-reply" in run["error"]["message"] and "birch" not in run["error"]["message"]
    assert [entry["round"] for entry in run["rounds"]] == [1]
    assert run["final"] is None and run["files"] == {"checkpoints": ["checkpoints/round-0001.safetensors"]}
    assert not (made.out / "model.safetensors").exists()


def test_a_run_that_is_interrupted_says_so(grid_of: MakeGrid, plan: MakePlan, faults: Any) -> None:
    stop = replace(faults.lost(), answer=in_round(2, failing(KeyboardInterrupt())))
    made = plan()
    with pytest.raises(KeyboardInterrupt):
        run_study(grid_of(faults={"alder": stop}), made)
    run = written(made)
    assert (run["status"], run["error"]) == ("interrupted", None) and run["finished_at"]
    assert [entry["round"] for entry in run["rounds"]] == [1]


def test_a_run_that_breaks_says_so_without_the_text_of_the_defect(
    grid_of: MakeGrid, plan: MakePlan, faults: Any, secret: str
) -> None:
    breaks = replace(faults.lost(), answer=in_round(2, failing(ConnectionError(secret))))
    made = plan()
    with pytest.raises(ConnectionError):
        run_study(grid_of(faults={"alder": breaks}), made)
    run = written(made)
    assert run["status"] == "failed" and run["finished_at"]
    assert run["error"]["code"] == "internal"
    assert secret not in json.dumps(run)


def test_a_run_in_which_nothing_is_learnt_fails(grid_of: MakeGrid, plan: MakePlan, faults: Any) -> None:
    still = faults.arrays(lambda arrays: {n: np.zeros_like(a) for n, a in arrays.items()})
    made = plan()
    with pytest.raises(NothingLearned):
        run_study(grid_of(faults=dict.fromkeys(EVERYBODY, still)), made)
    assert written(made)["error"]["code"] == "nothing-learned"


def test_too_few_sites_at_the_start_are_named_with_their_reasons(grid_of: MakeGrid, plan: MakePlan) -> None:
    made = plan(data={"min_cases": 8}, federation={"min_sites": 3})
    with pytest.raises(QuorumNotReached, match="2 sites are there, 3 needed"):
        run_study(grid_of(), made)
    run = written(made)
    assert "alder: site-too-small" in run["error"]["message"]
    assert "dogwood: site-too-small" in run["error"]["message"]
    assert list(run["sites"]) == ["birch", "cedar"] and run["rounds"] == []


@pytest.mark.parametrize("strict", [True, False])
def test_a_strict_run_stops_where_a_site_refuses(grid_of: MakeGrid, plan: MakePlan, strict: bool) -> None:
    made = plan(run={"strict": strict}, data={"min_cases": 6})
    if strict:
        with pytest.raises(SiteRefused, match="dogwood: site-too-small"):
            run_study(grid_of(), made)
        assert "min_cases" in written(made)["error"]["hint"]
    else:
        run_study(grid_of(), made)
        assert all(list(entry["missing"]) == ["dogwood"] for entry in written(made)["rounds"])


def test_a_strict_run_stops_at_the_first_task_that_a_site_refuses(
    grid_of: MakeGrid, plan: MakePlan, faults: Any
) -> None:
    made = plan(run={"strict": True})
    with pytest.raises(SiteRefused, match="cedar: policy"):
        run_study(grid_of(faults={"cedar": faults.refused()}), made)
    run = written(made)
    assert (run["status"], run["error"]["code"]) == ("failed", "site-refused")
    assert run["error"]["hint"] == "Ask there." and run["rounds"] == []


def test_a_run_begins_with_those_who_are_there(grid_of: MakeGrid, plan: MakePlan) -> None:
    made = plan(run={"expect_sites": 9, "gather_timeout_s": 0.2})
    run_study(grid_of(), made)
    assert written(made)["status"] == "completed"


def test_a_site_that_comes_later_is_in_the_record(
    grid_of: MakeGrid, plan: MakePlan, site_of: Callable[..., Site], faults: Any
) -> None:
    grid = grid_of(site_of("alder"), site_of("birch"))
    comes = lambda request, reply: grid.join(9, site_of("cedar")) or reply  # noqa: E731
    grid.faults["alder"] = replace(faults.lost(), answer=comes)
    made = plan(run={"expect_sites": 2})
    run_study(grid, made)
    run = written(made)
    assert [entry["contributed"] for entry in run["rounds"]] == [
        ["alder", "birch"],
        ["alder", "birch", "cedar"],
    ]
    assert list(run["sites"]) == ["alder", "birch", "cedar"]


def test_sites_without_test_cases_are_trained_with_and_not_counted(
    grid_of: MakeGrid, plan: MakePlan, write_pictures: Callable[..., Path]
) -> None:
    path = str(write_pictures({"elm": (4, 0), "fir": (5, 0)}))
    made = plan(data={"min_test_cases": 0}, run={"expect_sites": 2})
    run_study(grid_of(Site("elm", path, "cpu"), Site("fir", path, "cpu")), made)
    run = written(made)
    assert run["final"]["pooled"] is None and run["final"]["sites"] == {}
    assert [entry["metrics"] for entry in run["rounds"]] == [None, None]
    assert run["sites"]["elm"]["notes"] == ["no test cases"]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda f: f.says(MessageType.QUERY, train_labels=[1]), id="labels"),
        pytest.param(lambda f: f.says(MessageType.EVALUATE, loss=float("nan")), id="loss"),
        pytest.param(
            lambda f: f.arrays(
                lambda a: {**a, "confusion": a["confusion"].astype(str)}, MessageType.EVALUATE
            ),
            id="counts",
        ),
        pytest.param(lambda f: f.bytes(b"PK\x03\x04"), id="update"),
    ],
)
def test_a_broken_site_does_not_end_the_run(
    grid_of: MakeGrid, plan: MakePlan, faults: Any, fault: Callable[[Any], Any]
) -> None:
    made = plan()
    run_study(grid_of(faults={"cedar": fault(faults)}), made)
    run = written(made)
    assert run["status"] == "completed"
    assert "cedar" not in run["final"]["sites"] or "cedar" in run["rounds"][0]["missing"]


def test_no_private_text_reaches_the_coordinator(
    grid_of: MakeGrid,
    plan: MakePlan,
    site_of: Callable[..., Site],
    text_of: Callable[[RecordDict], str],
    faults: Any,
    secret: str,
    tmp_path: Path,
) -> None:
    (tmp_path / secret).mkdir()
    Image.new("L", (8, 8)).save(tmp_path / secret / "a.png")
    rows = [
        Row(f"{secret}/a.png", "elm", secret, "train", "0", 2),
        Row(f"{secret}/gone.png", "elm", secret, "train", "1", 3),
        Row(f"{secret}/b.png", "elm", f"{secret}-2", "test", "1", 4),
    ]
    write_manifest(tmp_path / secret / "manifest.csv", [replace(r, path=r.path.split("/")[1]) for r in rows])
    write_manifest(tmp_path / "twice.csv", [replace(r, site="fir", patient_id=secret) for r in rows])
    grid = grid_of(
        *(site_of(name) for name in EVERYBODY),
        Site("elm", str(tmp_path / secret / "manifest.csv"), "cpu"),
        Site("fir", str(tmp_path / "twice.csv"), "cpu"),
        faults={"alder": faults.error()},
    )
    made = plan(run={"expect_sites": 6})
    run_study(grid, made)
    run = written(made)
    for entry in run["rounds"]:
        codes = {site: reason.split(":")[0] for site, reason in entry["missing"].items()}
        assert codes == {"alder": "no-reply", "elm": "image-missing", "fir": "patient-in-two-splits"}
    told = "\n".join([json.dumps(run), *map(text_of, grid.replies)])
    assert secret not in told and str(tmp_path) not in told


def test_an_output_that_cannot_be_a_folder_is_refused(grid_of: MakeGrid, plan: MakePlan) -> None:
    made = plan()
    made.out.write_text("a file")
    with pytest.raises(OutputUnwritable):
        run_study(grid_of(), made)


def test_a_plan_survives_the_way_through_flowers_run_config(tmp_path: Path, plan: MakePlan) -> None:
    made = plan(seed=7, run={"strict": True, "gather_timeout_s": 2.5})
    study_file = tmp_path / "s.toml"
    study_file.write_text(to_toml(made.study))
    assert RunPlan.from_config(made.run_config(study_file)) == made
    assert "noise-seed" not in made.run_config(study_file)
    seeded = replace(made, noise_seed=0)
    assert RunPlan.from_config(seeded.run_config(study_file)) == seeded


def test_a_run_config_needs_study_and_output_alone(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    (tmp_path / "s.toml").write_text(to_toml(make_study()))
    found = RunPlan.from_config({"study": str(tmp_path / "s.toml"), "out": str(tmp_path / "out")})
    assert found == RunPlan(make_study(), 0, tmp_path / "out", "flower")
