"""Answers: what is predicted, how sure it is, and how it is written."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch

from client.predicting import Given, Refused, predicted
from client.predicting.classification import ClassificationAnswer, ClassificationAnswers, batch_of
from client.predicting.familiarity import energies
from client.predicting.uncertainty import PASSES, Versions, dropout_on, uncertainties
from client.predicting.writing import write_predictions
from client.trainer import predict
from common.errors import InputBlank
from tests.conftest import small_study
from tests.unit.predicting.finished import CALIBRATION, opened


def cases(count: int = 5) -> list[Given]:
    generator = torch.Generator().manual_seed(0)
    return [Given(f"case {n}", torch.randn(3 + n, 8, generator=generator), ("1.2.3",)) for n in range(count)]


def answers(folder: Path, given: list[Given], **final: object) -> list[ClassificationAnswer]:
    return ClassificationAnswers(opened(folder, small_study(), rounds=4, **final)).of(given)


def test_probabilities_are_the_trainers(tmp_path: Path) -> None:
    model = opened(tmp_path, small_study())
    found = ClassificationAnswers(model).of(cases())
    expected = predict(model.network, batch_of(cases()))  # type: ignore[arg-type]
    assert [list(a.probabilities.values()) for a in found] == [
        pytest.approx(row, abs=1e-6) for row in expected.tolist()
    ]
    assert [a.decision for a in found] == [model.study.study.classes[int(row[1] >= 0.5)] for row in expected]


def test_the_threshold_decides(tmp_path: Path) -> None:
    found = answers(tmp_path, cases(), calibration={**CALIBRATION, "threshold": 0.0})
    assert {answer.decision for answer in found} == {"abnormal"}


def test_earlier_rounds_disagree(tmp_path: Path) -> None:
    (answer, *_) = answers(tmp_path, cases())
    unsure = answer.uncertainty
    assert (unsure.method, unsure.versions) == ("checkpoints", 4)
    assert unsure.information is not None and 0 < unsure.information <= unsure.entropy <= math.log(2)


def test_dropout_draws_the_same_each_time_and_is_off_afterwards(tmp_path: Path) -> None:
    model = opened(tmp_path, small_study(model={"dropout": 0.5, "layers": 2}))
    versions, batch = Versions(model), batch_of(cases())
    first = versions.outputs(batch)
    assert versions.method == "dropout" and len(first) == PASSES
    assert torch.equal(first, versions.outputs(batch)) and not torch.equal(first[0], first[1])
    assert not any(module.training for module in model.network.modules())
    with pytest.raises(RuntimeError), dropout_on(model.network):
        raise RuntimeError
    assert not any(module.training for module in model.network.modules())


def test_one_version_has_no_information(tmp_path: Path) -> None:
    (answer,) = ClassificationAnswers(opened(tmp_path, small_study())).of(cases(1))
    assert answer.uncertainty.method == "none" and answer.uncertainty.information is None


def test_information_is_what_versions_disagree_in() -> None:
    agreed = torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]])
    torn = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    (same,), (other,) = uncertainties(agreed, "dropout"), uncertainties(torn, "dropout")
    assert same.entropy == other.entropy == pytest.approx(math.log(2))
    assert same.information == pytest.approx(0.0) and other.information == pytest.approx(math.log(2))


def test_energy_falls_as_a_logit_grows() -> None:
    found = energies(torch.tensor([[0.0, 0.0], [0.0, 5.0]]))
    assert found[0] == pytest.approx(-math.log(2)) and found[1] < found[0]


def test_results_stand_in_the_order_of_the_cases_and_are_written(tmp_path: Path) -> None:
    model = opened(tmp_path, small_study())
    mixed = [*cases(2), Refused.of("bad", InputBlank("all 7")), *cases(1)]
    found = [r if isinstance(r, Refused) else r.answer for r in predicted(model, mixed)]
    assert [r.name for r in found] == ["case 0", "case 1", "bad", "case 0"]
    write_predictions(tmp_path / "p.json", model, found)
    document = json.loads((tmp_path / "p.json").read_text())
    assert document["model"]["digest"] == model.digest
    assert document["cases"][0]["sop_instance_uids"] == ["1.2.3"]
    assert document["cases"][2]["refused"]["code"] == "input-blank"
    write_predictions(tmp_path / "p.csv", model, found)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["refused"] for row in rows] == ["", "", "input-blank", ""]
    assert float(rows[0]["p(normal)"]) + float(rows[0]["p(abnormal)"]) == pytest.approx(1, abs=2e-4)


def test_many_cases_go_through_in_parts(tmp_path: Path) -> None:
    model = opened(tmp_path, small_study())
    many = cases(40)
    together = ClassificationAnswers(model).of(many)
    apart = [r.answer for r in predicted(model, many) if not isinstance(r, Refused)]
    for one, other in zip(together, apart, strict=True):
        assert isinstance(other, ClassificationAnswer)
        assert one.probabilities["normal"] == pytest.approx(other.probabilities["normal"], abs=1e-6)
