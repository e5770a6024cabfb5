"""run.json is valid against its schema at every moment of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from common.errors import QuorumNotReached
from common.metrics import ClassificationSums
from common.private.event import Event
from common.study import Study
from common.tasks import Evaluation, SiteDescription
from common.update import Contribution
from server.record import RunRecord, pooled_and_sites, read_run, sums_of
from server.rounds import TrainedRound
from server.site_privacy import SiteSpending

MakeStudy = Callable[..., Study]
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "run.schema.json").read_text(encoding="utf-8"))
DIGEST = "a" * 64


def check(document: dict[str, Any]) -> None:
    """Valid, and as JSON the same."""
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document
    Draft202012Validator(SCHEMA).validate(document)


def counted(
    classes: int, n: int, *, keep_scores: bool = True, present: int | None = None
) -> ClassificationSums:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1] * classes, n)
    return ClassificationSums.count(scores, rng.integers(0, present or classes, n), keep_scores=keep_scores)


def described(site: str, **changes: Any) -> SiteDescription:
    values = {
        "version": "0.0", "device": "cpu", "train_cases": 4, "train_patients": 3, "test_cases": 2,
        "test_patients": 2, "train_labels": (3, 1), "test_labels": (1, 1),
    }  # fmt: skip
    return SiteDescription(site=site, **{**values, **changes})


def trained(*sites: str, **missing: str) -> TrainedRound:
    delta = {"w": np.array([3.0, 4.0], dtype=np.float32)}
    return TrainedRound(
        delta, DIGEST, tuple(Contribution(s, 1, DIGEST, delta, 4, 0.5) for s in sites), missing
    )


@pytest.fixture
def record(make_study: MakeStudy) -> RunRecord:
    return RunRecord(make_study(), 3, "inprocess")


def test_a_record_is_valid_from_its_beginning(record: RunRecord) -> None:
    check(record.to_dict())
    assert record.to_dict()["status"] == "running"


@pytest.mark.parametrize(
    "sections",
    [
        {"sequence": {"kind": "patches", "patch": 4}},
        {"model": {"encoder": "cnn", "cell": "lstm"}},
        {"training": {"clip_grad_norm": 1.0}},
        {"federation": {"strategy": {"name": "bulyan", "num_malicious_sites": 2}}},
        {"study": {"labels": {"0": "a", "1": "b", "2": "c"}}},
    ],
)
def test_every_kind_of_study_can_be_recorded(make_study: MakeStudy, sections: dict[str, Any]) -> None:
    check(RunRecord(make_study(**sections), 0, "ray").to_dict())


def test_sites_are_recorded_by_counts_of_class_names(record: RunRecord) -> None:
    record.describe_sites({"fir": described("fir"), "elm": described("elm", test_labels=(2, 0))})
    check(record.to_dict())
    assert list(record.sites) == ["elm", "fir"]
    assert record.sites["fir"]["train_labels"] == {"normal": 3, "lesion": 1}
    assert "all test cases have one class: normal" in record.sites["elm"]["notes"]


def test_a_round_is_recorded_with_who_gave_what_and_who_did_not(record: RunRecord) -> None:
    record.enter_round(1, 0.123456, trained("elm", "fir", oak="no-reply: late"), None)
    check(record.to_dict())
    [entry] = record.rounds
    assert entry["contributed"] == ["elm", "fir"] and entry["missing"] == {"oak": "no-reply: late"}
    assert entry["training"]["elm"] == {"cases": 4, "loss": 0.5, "update_norm": 5.0}
    assert entry["duration_s"] == 0.1235


def test_late_updates_are_recorded_with_their_weight_or_why_they_do_not_count(record: RunRecord) -> None:
    given = replace(trained("elm", "fir"), late={"oak": "late: the update of round 1 came in round 3"})
    late, prompt = (replace(c, round=n) for c, n in zip(given.contributions, (1, 4), strict=True))
    record.enter_round(4, 1.0, replace(given, contributions=(late, prompt)), None)
    check(record.to_dict())
    assert record.rounds[0]["late"] == {
        "oak": {"refused": "late: the update of round 1 came in round 3"},
        "elm": {"trained_for": 1, "rounds_late": 3, "weight": 2.0},
    }


def test_steps_are_recorded_where_the_study_says_how_long_to_train(make_study: MakeStudy) -> None:
    record = RunRecord(make_study(training={"work_s": 5.0}), 3, "inprocess")
    given = trained("elm")
    record.enter_round(
        1, 1.0, replace(given, contributions=(replace(given.contributions[0], steps=7),)), None
    )
    check(record.to_dict())
    assert record.rounds[0]["training"]["elm"]["steps"] == 7 and "late" not in record.rounds[0]


# Privacy

PRIVACY = {"target_epsilon": 3.0, "clip_quantile": 0.5}
SITES = {"target_epsilon": 2.0, "target_delta": 1e-5, "clip_norm": 0.5, "planned_sites": 9}
HEAD = f"4:{'b' * 64}"


def privately(*sites: str, **told: Any) -> TrainedRound:
    """A round of private training."""
    spent = {"loss": None, "epsilon": 1.25, "target_delta": 1e-4, "ledger_head": HEAD, **told}
    plain = trained(*sites)
    return replace(plain, contributions=tuple(replace(c, **spent) for c in plain.contributions))


def test_a_study_without_privacy_promises_none(record: RunRecord) -> None:
    assert record.to_dict()["privacy"] is None
    record.enter_round(1, 1.0, trained("elm"), None)
    assert record.to_dict()["privacy"] is None


def test_what_private_training_cost_is_recorded_and_no_loss(make_study: MakeStudy) -> None:
    record = RunRecord(make_study(privacy=PRIVACY), 0, "ray")
    record.enter_round(1, 1.0, privately("elm"), None)
    record.enter_round(2, 1.0, privately("fir", clip_norm=0.75, ledger_head=None), None)
    check(record.to_dict())
    shares = [entry["training"] for entry in record.rounds]
    told = {"cases": 4, "loss": None, "update_norm": 5.0, "epsilon": 1.25, "target_delta": 1e-4}
    assert shares == [{"elm": told}, {"fir": {**told, "clip_norm": 0.75}}]
    assert record.to_dict()["privacy"]["ledger_heads"] == {"elm": HEAD}


def test_the_guarantee_is_the_studys(make_study: MakeStudy) -> None:
    study = make_study(privacy={**PRIVACY, "unit": "image", "accountant": "rdp", "sample_rate": 0.25})
    privacy = RunRecord(study, 0, "ray", "seeded").to_dict()["privacy"]
    assert study.privacy is not None
    own = study.privacy.model_dump()
    assert privacy["guarantee"] == {name: own[name] for name in own if name not in ("unit", "sites")}
    assert (privacy["unit"], privacy["noise"], privacy["sites"]) == ("image", "seeded", None)


@pytest.mark.parametrize("epsilon", [0.7, float("inf")])
def test_what_hiding_sites_cost_is_recorded_round_by_round(make_study: MakeStudy, epsilon: float) -> None:
    record = RunRecord(make_study(privacy={"sites": SITES}, federation={"fraction_sites": 0.5}), 0, "ray")
    before = record.to_dict()["privacy"]
    check(record.to_dict())
    assert before["sites"]["noise_multiplier"] is None and before["sites"]["epsilon"] == []
    for number in (1, 2):
        spending = SiteSpending(Event(4.5, 0.5, number), number * epsilon)
        record.enter_round(number, 1.0, replace(trained("elm"), site_spending=spending), None)
    document = record.to_dict()
    check(document)
    assert document["privacy"]["guarantee"] is None and document["privacy"]["unit"] is None
    assert document["privacy"]["sites"] == {
        **SITES, "noise_multiplier": 4.5, "sample_rate": 0.5, "accountant": "prv",
        "epsilon": [0.7, 1.4] if epsilon < 1 else [None, None],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "words", "not_words"),
    [
        ({"privacy": PRIVACY}, ["weight", "counts without", "class at every"], ["loss", "Who took"]),
        ({"privacy": {**PRIVACY, "evaluation_epsilon": 1.0}}, ["class at every"], ["counts without"]),
        ({"privacy": {"sites": SITES}}, ["training loss", "Who took part", "enough sites"], ["weight of a"]),
        ({"privacy": {**PRIVACY, "sites": SITES}}, ["Who took part"], ["training loss"]),
    ],
)
def test_what_leaves_without_noise_is_said(
    make_study: MakeStudy, sections: dict[str, Any], words: list[str], not_words: list[str]
) -> None:
    document = RunRecord(make_study(**sections), 0, "ray").to_dict()
    check(document)
    said = "\n".join(document["privacy"]["exceptions"])
    assert all(word in said for word in words) and not any(word in said for word in not_words)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("keep_scores", [True, False])
def test_metrics_of_any_study_are_valid(make_study: MakeStudy, classes: int, keep_scores: bool) -> None:
    names = tuple(f"class {n}" for n in range(classes))
    record = RunRecord(make_study(study={"labels": dict(zip("01234", names, strict=False))}), 0, "ray")
    sums = {site: counted(classes, n, keep_scores=keep_scores) for site, n in (("elm", 40), ("fir", 7))}
    record.enter_round(1, 1.0, trained("elm", "fir"), pooled_and_sites(sums, names))
    found = pooled_and_sites(sums, names, curves=True)
    assert found is not None and found["pooled"]["n"] == 47
    record.final = {"round": 1, "model_digest": DIGEST, **found}
    record.close("completed")
    check(record.to_dict())


@pytest.mark.parametrize(("n", "present"), [(1, 1), (5, 1), (0, 2)], ids=["one case", "one class", "no case"])
def test_metrics_that_are_not_defined_are_null(record: RunRecord, n: int, present: int) -> None:
    sums = {"elm": counted(2, n, present=present)}
    found = pooled_and_sites(sums, ("normal", "lesion"), curves=True)
    assert found is not None and found["pooled"]["auroc"] is None
    record.final = {"round": 1, "model_digest": DIGEST, **found}
    record.close("completed")
    check(record.to_dict())


def test_metrics_do_not_depend_on_the_order_of_sites() -> None:
    # One and one and 1e16 is 1e16 + 2; 1e16 and one and one is 1e16.
    sums = {
        s: replace(counted(2, n), loss=loss) for s, n, loss in (("a", 3, 1.0), ("b", 9, 1.0), ("c", 7, 1e16))
    }
    first, second = (pooled_and_sites(dict(i), ("x", "y")) for i in (sums.items(), reversed(sums.items())))
    assert json.dumps(first) == json.dumps(second)


def test_nobody_counted_is_no_metrics() -> None:
    assert pooled_and_sites({}, ("a", "b")) is None


def test_sums_are_taken_out_of_evaluations() -> None:
    sums = counted(2, 3)
    assert sums_of({"elm": Evaluation("elm", 1, DIGEST, sums)}) == {"elm": sums}


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_an_end_before_the_end_is_recorded(record: RunRecord, status: Any) -> None:
    record.enter_round(1, 1.0, trained("elm"), None)
    record.close(status, QuorumNotReached("round 2: 1 of 2") if status == "failed" else None)
    document = record.to_dict()
    check(document)
    assert document["finished_at"] is not None and document["final"] is None
    if status == "failed":
        assert document["error"] == {
            "code": "quorum-not-reached",
            "message": "round 2: 1 of 2",
            "hint": QuorumNotReached.hint,
        }


def test_what_is_written_can_be_read_and_replaces_what_was(record: RunRecord, tmp_path: Path) -> None:
    assert read_run(tmp_path) is None
    record.write(tmp_path)
    record.enter_round(1, 1.0, trained("elm"), None)
    record.write(tmp_path)
    found = read_run(tmp_path)
    assert found is not None
    assert {**found, "duration_s": 0} == {**record.to_dict(), "duration_s": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
