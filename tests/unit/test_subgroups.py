"""Figures by subgroup: asked for in the study, counted at a site, read from strangers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import MessageType, RecordDict
from PIL import Image

from client.cohorts.home import POLICY_FILE, create_home
from client.manifest import Row, write_manifest
from client.policy import check_policy, smallest_cell
from client.site import Site
from client.subgroups import count_subgroups, told_subgroups
from client.trainer import evaluated
from common.contract.leaving import leavings_of
from common.contract.task import require_within
from common.errors import ConsiliumError, PolicyRefused, TaskInvalid, TaskOutsideContract
from common.learning import learning_of
from common.metrics import ClassificationSums, EvaluationSums, sums_kind
from common.metrics.subgroups import arrays_of
from common.models import build_model, initial_weights, load_state
from common.sequences import SequenceBatch
from common.study import Study, digest, parse_study, to_canonical
from common.tasks import (
    ARRAYS,
    EvaluateTask,
    Evaluation,
    evaluation_content,
    read_evaluation,
    read_refusal,
    task_content,
    weights_record,
)
from common.weights import digest as weights_digest
from server.guarantee import exceptions
from server.subgroups import SubgroupCounts
from tests.fitting_models import model_for
from tests.unit.conftest import small_study
from tests.unit.contract.drafts import contract_with, study_with, task_of
from tests.unit.test_subgroups_told import entries

BY_SEX = {"subgroups": ["sex"], "min_cell": 3}
CASES, LONG, SIDE = 24, 6, 8

# --- what a study asks for


def test_a_study_that_asks_for_none_keeps_its_text() -> None:
    assert "subgroups" not in to_canonical(small_study()) and "min_cell" not in to_canonical(small_study())
    asked = small_study(federation={"subgroups": ["age", "sex"]})
    assert '"subgroups":["age","sex"]' in to_canonical(asked) and digest(asked) != digest(small_study())
    assert asked.federation.min_cell == 10


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"federation": {"subgroups": ["sex", "sex"]}}, "twice"),
        ({"federation": {"subgroups": ["height"]}}, "subgroups"),
        ({"federation": {"min_cell": 1}}, "min_cell"),
        (
            {
                "federation": {"subgroups": ["sex"]},
                "privacy": {"noise_multiplier": 1.0, "evaluation_epsilon": 1.0},
            },
            "federation.subgroups would send counts without",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(sections: dict[str, Any], told: str) -> None:
    with pytest.raises(ConsiliumError, match=told):
        small_study(**sections)


def test_a_hospital_reads_that_they_leave_and_may_refuse(tmp_path: Path) -> None:
    study = small_study(federation={"subgroups": ["sex", "scanner"], "min_cell": 20})
    assert str(leavings_of(study)[-1]) == (
        "subgroup-counts (the same of the final model on subgroups of the test cases, by sex, scanner; of at "
        "least 20 patients each), once"
    )
    assert "subgroup-counts" not in {each.what for each in leavings_of(small_study())}
    home = create_home(tmp_path / "home", "elm")
    site = Site("elm", home=str(home.folder), cohort="chest")
    check_policy(site, study)
    assert smallest_cell(site) == 10 and smallest_cell(Site("elm", "m.csv")) == 1
    (home.folder / POLICY_FILE).write_text(
        "min_cell = 25\n[studies]\n"
        'metrics = ["loss", "test-loss", "confusion", "calibration", "score-histogram"]\n'
    )
    assert smallest_cell(site) == 25
    with pytest.raises(PolicyRefused, match="subgroup-counts"):
        check_policy(site, study)
    check_policy(site, small_study())


def test_a_private_study_says_that_they_leave_without_noise() -> None:
    private = {"privacy": {"noise_multiplier": 1.0}}
    told = exceptions(small_study(**private, federation={"subgroups": ["sex"]}))
    assert [each for each in told if "subgroups" in each] and len(told) == len(
        exceptions(small_study(**private))
    ) + 1


def test_they_are_within_the_contract_after_the_last_round_alone() -> None:
    contract = contract_with(study_with(federation={"subgroups": ["sex"]}))
    last = contract.bounds.rounds
    require_within(contract, "evaluate", task_of(contract, "evaluate", round=last, subgroups=True))
    without = contract_with()
    for agreed, change in (
        (contract, {"round": last - 1, "subgroups": True}),
        (contract, {"round": last, "subgroups": True, "split": "val"}),
        (without, {"round": last, "subgroups": True}),
    ):
        with pytest.raises(TaskOutsideContract):
            require_within(agreed, "evaluate", task_of(agreed, "evaluate", **change))


# --- what is counted, of each task

TASKS: dict[str, dict[str, Any]] = {
    "classification": {"task": "classification"},
    "several labels": {"task": "classification", "several_labels": True},
    "segmentation": {"task": "segmentation"},
    "detection": {"task": "detection"},
    "generation": {"task": "generation"},
    "risk": {"task": "risk"},
}


def study_of(name: str) -> Study:
    head = {"name": "x", "labels": {"0": "normal", "1": "lesion"}, **TASKS[name]}
    kind = {"detection": "frames", "risk": "steps"}.get(name, "rows")
    sequence: dict[str, Any] = {"kind": kind, "size": SIDE}
    if kind == "steps":
        sequence = {"kind": kind, "variables": {"HR": {"centre": 0.0, "scale": 1.0}}}
    return parse_study(
        {
            "study": head,
            "sequence": sequence,
            "data": {"max_boxes": 2} if name == "detection" else {},
            "model": {"hidden": 4, **model_for(TASKS[name]["task"], kind)},
        }
    )


def cases_of(name: str, study: Study) -> SequenceBatch:
    """Random cases; clips and records differ in length."""
    random = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 2, (CASES,), generator=random)
    steps, features = (SIDE, SIDE) if study.sequence.kind == "rows" else (LONG, SIDE * SIDE)
    lengths = torch.full((CASES,), steps)
    if study.sequence.kind != "rows":
        lengths = torch.randint(2, LONG + 1, (CASES,), generator=random)
        lengths[-1] = LONG
    features = 3 if name == "risk" else features
    values = torch.rand(CASES, steps, features, generator=random)
    own = torch.arange(steps) < lengths[:, None]
    targets: torch.Tensor = classes
    if name == "several labels":
        targets = torch.randint(0, 2, (CASES, 2), generator=random).float()
    elif name == "segmentation":
        targets = torch.randint(0, 2, (CASES, steps, features), generator=random).to(torch.uint8)
    elif name == "detection":
        box = torch.tensor([1.0, 0.1, 0.1, 0.6, 0.6]).repeat(CASES, steps, 2, 1)
        targets = torch.where(own[:, :, None, None] & (classes[:, None, None, None] == 1), box, -1.0)
    elif name == "risk":
        targets = torch.stack([classes.float(), torch.full((CASES,), -1.0)], dim=1)
    return SequenceBatch(values * own.unsqueeze(2), lengths, targets)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("keep", [False, True])
def test_of_every_task_the_subgroups_add_up_to_the_whole(name: str, keep: bool) -> None:
    study = study_of(name)
    cases, none = cases_of(name, study), sums_kind(study).none(2)
    model = build_model(study)
    load_state(model, initial_weights(study, 0))
    known = entries((7, {"sex": "F"}), (9, {"sex": "M"}), (CASES - 16, {}))
    masks = told_subgroups(known, ["sex"], 2)
    patients = np.arange(CASES) if keep else None
    whole, told = count_subgroups(model, cases, learning_of(study), none, masks, patients)
    same_as(whole, evaluated(model, cases, learning_of(study), none, keep=keep))
    same_as(whole, type(whole).total(told["sex"].values()))
    assert {group: sums.n for group, sums in told["sex"].items()} == {"F": 7, "M": 9, "not known": CASES - 16}
    answer = evaluation_content(Evaluation("elm", 1, "d", whole, told))
    read = read_evaluation(answer, 2, type(whole), ["sex"], 2)
    assert read.subgroups.keys() == {"sex"} and read.subgroups["sex"].keys() == told["sex"].keys()
    figures = figures_of(with_subgroups(study), read)["sex"]
    assert list(figures) == ["F", "M", "not known"] and figures["F"]["n"] == 7
    assert set(figures["F"]) >= {figure.key for figure in whole.FIGURES}


def same_as(one: EvaluationSums, other: EvaluationSums) -> None:
    assert one.loss == pytest.approx(other.loss, rel=1e-5) and one.n == other.n
    for name in one.array_names():
        if name not in one.ROWS:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-9)


def figures_of(study: Study, *told: Evaluation) -> dict[str, dict[str, Any]]:
    counts = SubgroupCounts(study)
    for evaluation in told:
        counts.add(evaluation)
    return counts.figures()


def with_subgroups(study: Study) -> Study:
    document = study.model_dump(mode="json", exclude_none=True)
    document["federation"]["subgroups"] = ["sex"]
    return parse_study(document)


# --- what a site answers


def hospital(folder: Path) -> Path:
    """A manifest of 16 test patients, half of them women, all old, and no word of scanners."""
    rng, rows = np.random.default_rng(0), []
    for number in range(20):
        split = "test" if number >= 4 else "train"
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
        sex = "F" if number % 2 else "M"
        row = Row(f"{number}.png", "elm", f"p{number}", split, str(number % 2), number, sex=sex, age="70")
        rows.append(row)
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def asking(study: Study, **changes: Any) -> RecordDict:
    base = initial_weights(study, 0)
    task = EvaluateTask(to_canonical(study), 2, weights_digest(base), **changes)
    return task_content(task, weights_record(base))


@pytest.mark.parametrize("share_scores", [False, True])
def test_a_site_counts_its_subgroups_when_it_is_asked(
    ask_app: Callable[..., RecordDict], tmp_path: Path, share_scores: bool
) -> None:
    site = Site("elm", str(hospital(tmp_path)), "cpu", share_scores=share_scores)
    study = small_study(federation={"subgroups": ["sex", "age", "scanner"], "min_cell": 5})
    reply = ask_app(site, MessageType.EVALUATE, asking(study, subgroups=True))
    read = read_evaluation(reply, 2, ClassificationSums, study.federation.subgroups, 5)
    sizes = {kind: {name: sums.n for name, sums in read.subgroups[kind].items()} for kind in read.subgroups}
    assert sizes == {"sex": {"F": 8, "M": 8}, "age": {"65+": 16}, "scanner": {"not known": 16}}
    assert len(read.subgroups["sex"]["F"].patients) == (8 if share_scores else 0)
    plain = ask_app(site, MessageType.EVALUATE, asking(study))
    assert read_evaluation(plain, 2).subgroups == {}


def test_a_site_refuses_to_count_what_the_study_does_not_ask_for(
    ask_app: Callable[..., RecordDict], tmp_path: Path
) -> None:
    site = Site("elm", str(hospital(tmp_path)), "cpu")
    for study, changes in (
        (small_study(), {"subgroups": True}),
        (small_study(federation=BY_SEX), {"subgroups": True, "split": "val"}),
    ):
        refusal = read_refusal(ask_app(site, MessageType.EVALUATE, asking(study, **changes)))
        assert refusal is not None and refusal.code == "task-invalid"


# --- what is read of strangers


def counts(cases: int, seed: int = 0) -> ClassificationSums:
    rng = np.random.default_rng(seed)
    return ClassificationSums.count(
        rng.dirichlet([1.0, 1.0], cases), rng.integers(0, 2, cases), keep_scores=False
    )


FEMALE, MALE = counts(6, 1), counts(8, 2)
WHOLE = ClassificationSums.total([FEMALE, MALE])


def answered(arrays: dict[str, Any], whole: ClassificationSums = WHOLE) -> RecordDict:
    content = evaluation_content(Evaluation("elm", 1, "d", whole))
    content[ARRAYS] = weights_record({**whole.arrays(), **arrays})
    return content


def female(**changes: Any) -> dict[str, Any]:
    """The arrays of one subgroup, some of them others; None leaves one away."""
    told = {**arrays_of({"sex": {"F": FEMALE}}), **{f"sex=F/{name}": each for name, each in changes.items()}}
    return {name: array for name, array in told.items() if array is not None}


STRANGE: dict[str, dict[str, Any]] = {
    "kind that was not asked for": arrays_of({"age": {"F": FEMALE}}),
    "without a kind": {name.removeprefix("sex"): array for name, array in female().items()},
    "without a name": arrays_of({"sex": {"": FEMALE}}),
    "long name": arrays_of({"sex": {"F" * 65: FEMALE}}),
    "name that is not printable": arrays_of({"sex": {"F\n": FEMALE}}),
    "name with blanks around it": arrays_of({"sex": {" F": FEMALE}}),
    "too many groups": arrays_of({"sex": {f"{number}": counts(0) for number in range(17)}}),
    "group of no case": arrays_of({"sex": {"F": counts(0)}}),
    "group of too few": arrays_of({"sex": {"F": counts(2, 1)}}),
    "too few left": arrays_of({"sex": {"F": FEMALE, "M": counts(6, 2)}}),
    "more cases than there are": arrays_of({"sex": {"F": FEMALE, "M": MALE, "X": counts(5)}}),
    "other cases than there are": arrays_of({"sex": {"F": counts(6, 5), "M": counts(8, 6)}}),
    "without loss": female(loss=None),
    "loss in a row": female(loss=np.zeros(1)),
    "negative loss": female(loss=np.asarray(-1.0)),
    "loss NaN": female(loss=np.asarray(np.nan)),
    "loss of more cases": female(loss=np.asarray(1e6)),
    "loss as a whole number": female(loss=np.asarray(1)),
    "without confusion": female(confusion=None),
    "confusion of three classes": female(confusion=np.zeros((3, 3), int)),
    "negative confusion": female(confusion=FEMALE.confusion - 7),
    "histogram of other bins": female(histogram=np.zeros((2, 2, 9), int)),
    "one array more": female(more=np.zeros(1)),
    "patients of others": female(patients=np.zeros(99, np.int64)),
    "no name at all": {"/": np.zeros(1)},
}


@pytest.mark.parametrize("arrays", STRANGE.values(), ids=STRANGE)
def test_subgroups_that_are_none_are_refused(arrays: dict[str, Any]) -> None:
    with pytest.raises(TaskInvalid) as caught:
        read_evaluation(answered(arrays), 2, ClassificationSums, ["sex"], 3)
    assert caught.value.code == "task-invalid" and "F" * 65 not in caught.value.private


def test_good_ones_are_read_and_none_where_none_were_asked_for() -> None:
    both = arrays_of({"sex": {"F": FEMALE, "M": MALE}})
    read = read_evaluation(answered(both), 2, ClassificationSums, ["sex"], 3)
    assert read.subgroups["sex"]["M"].n == 8
    odd = arrays_of({"sex": {"a/b=c": FEMALE, "M": MALE}})
    assert set(read_evaluation(answered(odd), 2, ClassificationSums, ["sex"], 3).subgroups["sex"]) == {
        "a/b=c",
        "M",
    }
    with pytest.raises(TaskInvalid):
        read_evaluation(answered(both), 2)


# --- what is made of them


def test_figures_are_those_of_the_cases_of_all_sites_that_tell_a_group() -> None:
    study = small_study(federation=BY_SEX)
    found = figures_of(
        study,
        Evaluation("elm", 2, "d", WHOLE, {"sex": {"F": FEMALE, "M": MALE}}),
        Evaluation("fir", 2, "d", MALE, {"sex": {"M": MALE}}),
        Evaluation("oak", 2, "d", MALE),
    )["sex"]
    assert {name: each["n"] for name, each in found.items()} == {"F": 6, "M": 16}
    twice = ClassificationSums.total([MALE, MALE]).figures(study.study.classes)
    assert found["M"] == twice
    assert figures_of(study) == {"sex": {}}
