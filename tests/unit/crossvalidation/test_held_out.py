"""Held-out cases of all folds are judged together, beside what the same answer for every case is worth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.cases import SiteCases
from client.manifest import Row
from client.sources import Entry
from common.metrics import ClassificationSums
from common.metrics.bootstrap import LEAST_PATIENTS
from common.study import Study, load_study
from deploy.crossvalidation.constant import constant_of
from deploy.crossvalidation.held_out import FoldRun, HeldOut, joined

ROOT = Path(__file__).parents[3]
REGULAR, PNEUMONIA, COVID = range(3)


@pytest.fixture(scope="module")
def clips() -> Study:
    """The example of clips, of three classes."""
    return load_study(ROOT / "examples/ultrasound-clips.toml")


def counted(true: list[int], said: list[int], patients: list[int]) -> ClassificationSums:
    """Cases of three classes, each said with certainty."""
    sums = ClassificationSums.count(np.eye(3)[said], np.array(true), keep_scores=True)
    return replace(sums, patients=np.array(patients))


def entries(*cases: tuple[str, str]) -> SiteCases:
    """Training cases as (patient, stored label)."""
    rows = [Row(f"{n}.npz", "", patient, "train", label, n) for n, (patient, label) in enumerate(cases)]
    found = [Entry(row.patient_id, "train", row.label, f"manifest line {row.line}", row) for row in rows]
    return SiteCases(tuple(found), ())


def run_of(number: int, sums: dict[str, ClassificationSums], held: dict[str, int] | None = None) -> FoldRun:
    return FoldRun(number, 2, held or dict.fromkeys(sums, 1), sums, 1.0)


def held_out(study: Study, folds: list[FoldRun]) -> HeldOut:
    sums = joined(folds)
    patients = {site: len(set(of.patients.tolist())) for site, of in sums.items()}
    return HeldOut(study, 0, True, False, patients, tuple(folds), sums, None)


def test_patients_of_different_folds_stay_apart_and_those_of_one_fold_together() -> None:
    first = counted([0, 0, 1], [0, 1, 1], [0, 0, 1])
    second = counted([1, 2], [1, 2], [0, 0])
    found = joined([run_of(1, {"alder": first}), run_of(2, {"alder": second, "birch": first})])
    assert found["alder"].patients.tolist() == [0, 0, 1, 2, 2]
    assert found["birch"].patients.tolist() == [0, 0, 1]
    assert isinstance(found["alder"], ClassificationSums)
    assert found["alder"].labels.tolist() == [0, 0, 1, 1, 2]
    assert found["alder"].loss == first.loss + second.loss


def test_all_folds_together_are_as_one_test_of_all_their_cases(clips: Study) -> None:
    true, said = [0, 1, 2, 0, 1, 2], [0, 1, 1, 2, 1, 2]
    folds = [run_of(n + 1, {"alder": counted([true[n]], [said[n]], [0])}) for n in range(6)]
    told = held_out(clips, folds).to_dict()["pooled"]
    whole = counted(true, said, list(range(6)))
    classes = clips.study.classes
    assert {key: told[key] for key in whole.figures(classes)} == whole.figures(classes)
    assert told["recall_by_class"] == {"regular": 0.5, "pneumonia": 1.0, "COVID-19": 0.5}
    assert told["intervals"] == {}  # of six patients there is none


def test_with_enough_patients_there_is_an_interval_and_the_document_is_json(clips: Study) -> None:
    folds = [
        run_of(n + 1, {("alder", "birch")[n % 2]: counted([n % 3] * 2, [n % 3, (n % 5) % 3], [0, 0])})
        for n in range(LEAST_PATIENTS)
    ]
    told = held_out(clips, folds).to_dict()
    low, high = told["pooled"]["intervals"]["accuracy"]
    assert low < told["pooled"]["accuracy"] < high
    assert told["sites"]["alder"]["intervals"] == {}  # half of the patients are too few
    assert json.loads(json.dumps(told, allow_nan=False))["folds"][0]["held_out_patients"] == {"alder": 1}


def test_patients_whose_site_had_no_part_in_their_fold_are_counted_as_untested(clips: Study) -> None:
    alder = {"alder": counted([0], [0], [0])}
    found = held_out(clips, [run_of(1, alder, {"alder": 1, "birch": 1}), run_of(2, alder, {"alder": 1})])
    assert found.untested == {"birch": 1}


def test_the_majority_is_of_patients_and_may_not_be_the_best_constant_answer(clips: Study) -> None:
    cases = {
        "alder": entries(("a", "0"), ("a", "0"), ("a", "0")),
        "birch": entries(("b", "1"), ("c", "1")),
    }
    pooled = counted([0, 0, 0, 1, 1], [0] * 5, [0, 0, 0, 1, 2])
    found = constant_of(clips, cases, pooled)
    assert found is not None and (found.majority, found.best) == ("pneumonia", "regular")
    assert found.accuracy == {"regular": 0.6, "pneumonia": 0.4, "COVID-19": 0.0}


def test_of_classes_with_as_many_patients_the_one_with_more_cases_is_the_majority(clips: Study) -> None:
    cases = {"alder": entries(("a", "0"), ("b", "2"), ("b", "2")), "birch": entries(("a", "0"), ("b", "2"))}
    found = constant_of(clips, cases, counted([0, 2], [0, 0], [0, 1]))
    assert found is not None and found.majority == "COVID-19"
