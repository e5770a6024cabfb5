"""What is explained of each task is what the model says there, and its attributions are Captum's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr

from client.explaining import Wanted, check_served
from client.explaining.evidence import evidence_of
from client.explaining.gradients import attributed, integrated_gradients, rule
from client.explaining.memory import memory_of
from client.explaining.occlusion import occluded
from client.explaining.question import question_of
from client.explaining.sanity import FRESH_SEED, sanity_of, stages
from client.predicting.detection import DetectionAnswer
from client.predicting.risk import RiskAnswer
from common.errors import NothingToExplain, TaskNotServed
from common.models import initial_weights, load_state
from common.models.map_model import MapModel
from tests.conftest import small_study
from tests.unit.explaining.asked import ASKED, BOXES, PIXELS, RISK, case_of, model_of
from tests.unit.predicting.finished import opened


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Captum's own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", ASKED)
def test_integrated_gradients_are_captums(tmp_path: Path, name: str) -> None:
    from captum.attr import IntegratedGradients

    model = model_of(tmp_path, ASKED[name])
    question = question_of(model, case_of(model), Wanted())
    steps, evidence = question.case.steps, question.evidence
    own = integrated_gradients(model.network, steps, evidence, 12)
    method = IntegratedGradients(lambda x: evidence_of(model.network, x, evidence))
    if isinstance(model.network, MapModel):
        # Captum has no rule whose points lie closer near nothing, but takes one.
        places, weights = (values.tolist() for values in rule(12, faint=True))
        (oracle,) = method._attribute(
            (steps[None],), (0.0,), n_steps=12, step_sizes_and_alphas=(weights, places)
        )
    else:
        oracle = method.attribute(steps[None], baselines=0.0, n_steps=12, method="gausslegendre")
    assert own.values.abs().max() > 1e-4
    assert torch.allclose(own.values, oracle[0].float(), atol=1e-5)


@pytest.mark.parametrize("name", ["several labels", "risk", "risk gru_d", "risk lstm"])
def test_attributions_add_up(tmp_path: Path, name: str) -> None:
    model = model_of(tmp_path, ASKED[name])
    question = question_of(model, case_of(model), Wanted())
    found = attributed(model.network, question.case.steps, question.evidence)
    assert found.complete
    assert float(found.values.sum()) == pytest.approx(found.evidence - found.baseline, abs=0.011)


def test_occlusion_of_a_variable_is_captums_ablation(tmp_path: Path) -> None:
    from captum.attr import FeatureAblation

    model = model_of(tmp_path, RISK)
    question = question_of(model, case_of(model), Wanted())
    steps, evidence = question.case.steps, question.evidence
    method = FeatureAblation(lambda x: evidence_of(model.network, x, evidence))
    columns = torch.arange(6).remainder(2).expand(1, 4, 6)
    rows = torch.arange(4)[None, :, None].expand(1, 4, 6)
    found = occluded(model.network, steps, evidence, model.study.sequence)
    by_variable = method.attribute(steps[None], baselines=0.0, feature_mask=columns)[0].float()
    by_step = method.attribute(steps[None], baselines=0.0, feature_mask=rows)[0].float()
    assert found.steps is not None
    assert torch.allclose(found.parts, by_variable[0, :2], atol=1e-6)
    assert torch.allclose(found.steps, by_step[:, 0], atol=1e-6)


def test_a_risk_is_explained_as_it_was_at_a_step(tmp_path: Path) -> None:
    model = model_of(tmp_path, RISK)
    case = case_of(model)
    for step in (1, 3, 4):
        question = question_of(model, case, Wanted(step=step))
        assert isinstance(question.answer, RiskAnswer)
        with torch.no_grad():
            said = evidence_of(model.network, question.case.steps[None], question.evidence)
        assert float(said.sigmoid()) == pytest.approx(question.answer.risks[step - 1], abs=1e-6)
        assert len(question.case.steps) == len(question.case.times) == step
    with pytest.raises(NothingToExplain, match=r"4 steps|four steps"):
        question_of(model, case, Wanted(step=5))


def test_the_class_with_the_most_pixels_is_explained_where_it_was_found(tmp_path: Path) -> None:
    model = model_of(tmp_path, PIXELS)
    case = case_of(model)
    with torch.no_grad():
        logits = model.network(case.steps[None], torch.tensor([4]))[0]
    found = logits.argmax(dim=1)
    counts = [int((found == kind).sum()) for kind in range(3)]
    names = model.study.study.classes
    question = question_of(model, case, Wanted())
    assert question.target == names[1 if counts[1] >= counts[2] else 2]
    for kind, count in enumerate(counts):
        if not count:
            continue
        asked = question_of(model, case, Wanted(names[kind]))
        chances = logits.softmax(dim=1)[:, kind][found == kind].double()
        with torch.no_grad():
            said = evidence_of(model.network, case.steps[None], asked.evidence)
        assert float(said) == pytest.approx(float((chances / (1 - chances)).log().mean()), abs=1e-5)
        assert asked.place is not None and asked.place.region is not None
        assert int(asked.place.region.sum()) == count


def test_a_class_that_is_nowhere_is_not_explained(tmp_path: Path) -> None:
    model = model_of(tmp_path, PIXELS)
    with torch.no_grad():
        model.network.get_submodule("head").bias[:] = torch.tensor([100.0, 0.0, 0.0])
    for wanted in (Wanted(), Wanted("cyst")):
        with pytest.raises(NothingToExplain):
            question_of(model, case_of(model), wanted)
    assert question_of(model, case_of(model), Wanted("background")).target == "background"


@pytest.mark.parametrize("name", ["boxes conv_gru", "boxes patches"])
def test_boxes_are_explained_by_their_own_scores(tmp_path: Path, name: str) -> None:
    model = model_of(tmp_path, ASKED[name])
    case = case_of(model)
    answer = question_of(model, case, Wanted()).answer
    assert isinstance(answer, DetectionAnswer)
    for kind in (None, "nodule", "cyst"):
        scores = sorted((b.score for b in answer.boxes if kind in (None, b.name)), reverse=True)
        for number, score in enumerate(scores[:5], start=1):
            asked = question_of(model, case, Wanted(kind, box=number))
            with torch.no_grad():
                said = evidence_of(model.network, case.steps[None], asked.evidence)
            assert float(said) == pytest.approx(math.log(score / (1 - score)), abs=1e-5)
            assert asked.place is not None and asked.place.box is not None
            assert kind in (None, asked.place.box.name)
    with pytest.raises(NothingToExplain):
        question_of(model, case, Wanted(box=len(answer.boxes) + 1))


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ({}, Wanted(step=1)),
        ({}, Wanted(box=1)),
        (RISK, Wanted("survived")),
        (RISK, Wanted(box=1)),
        (BOXES, Wanted(step=1)),
        (PIXELS, Wanted("bone")),
    ],
)
def test_what_a_task_does_not_have_is_refused(
    tmp_path: Path, sections: dict[str, Any], wanted: Wanted
) -> None:
    with pytest.raises(TaskNotServed):
        check_served(opened(tmp_path, small_study(**sections)), wanted)


def test_generation_is_refused(tmp_path: Path) -> None:
    study = small_study(study={"task": "generation"}, model={"cell": "gru", "encoder": "none"})
    with pytest.raises(TaskNotServed, match="generation"):
        check_served(opened(tmp_path, study), Wanted())


@pytest.mark.parametrize("name", ["risk", "pixels conv_gru", "boxes conv_gru"])
def test_only_other_weights_change_an_explanation(tmp_path: Path, name: str) -> None:
    model = model_of(tmp_path, ASKED[name], seed=1)
    question = question_of(model, case_of(model), Wanted())
    other = sanity_of(model, question.case.steps, question.evidence).correlations
    assert list(other) == ["head", "head and recurrent layers", "everything"]
    assert other["everything"] < 0.99
    load_state(model.network, initial_weights(model.study, FRESH_SEED))
    same = sanity_of(model, question.case.steps, question.evidence).correlations
    assert list(same.values()) == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)


def test_the_way_down_is_no_head(tmp_path: Path) -> None:
    network = model_of(tmp_path, PIXELS).network
    head = stages(network)["head"]
    for name, _ in network.named_parameters():
        assert name.startswith(head) == name.startswith(("expanding", "head"))


@pytest.mark.parametrize("cell", ["conv_gru", "conv_lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_gates_of_maps_are_those_of_the_cell(tmp_path: Path, cell: str, layers: int) -> None:
    model = model_of(tmp_path, {**PIXELS, "model": {**PIXELS["model"], "cell": cell, "layers": layers}})
    network, steps = model.network, case_of(model).steps
    below = network.contracting(steps.reshape(-1, 1, 16, 16))[-1]
    last = network.recurrent
    if layers == 2:
        lower = type(last)(below.shape[1], last.hidden)
        lower.load_state_dict({k: v for k, v in last.state_dict().items() if "_l0" in k})
        below = lower(below[None], torch.tensor([4]))[0]
    before = last(network.contracting(steps.reshape(-1, 1, 16, 16))[-1][None], torch.tensor([4]))[0]
    given = last.get_submodule(f"input_l{layers - 1}")(below)
    gates = memory_of(network, steps).gates
    names = ("reset", "update") if cell == "conv_gru" else ("input", "forget", None, "output")
    for step in range(4):
        state = before[step - 1 : step] if step else torch.zeros_like(before[:1])
        product = last.get_submodule(f"hidden_l{layers - 1}")(state)
        parts = (given[step : step + 1] + product).sigmoid().split(last.hidden, dim=1)
        for name, part in zip(names, parts, strict=False):
            if name is not None:
                assert float(gates[name][step]) == pytest.approx(float(part.mean()), abs=1e-5)


def test_a_backward_direction_has_gates_in_the_order_of_the_steps(tmp_path: Path) -> None:
    model = model_of(tmp_path, ASKED["pixels conv_lstm"])
    network, steps = model.network, case_of(model).steps
    gates = memory_of(network, steps).gates
    assert len(gates) == 6
    given = network.recurrent.get_submodule("input_l0_reverse")(steps[-1:].reshape(1, 1, 16, 16))
    hidden = network.recurrent.get_submodule("hidden_l0_reverse")
    first = (given + hidden(torch.zeros(1, network.recurrent.hidden, 16, 16))).sigmoid().chunk(4, dim=1)[1]
    assert float(gates["forget, backwards"][-1]) == pytest.approx(float(first.mean()), abs=1e-6)


def test_what_was_not_measured_does_not_make_explanations_alike(tmp_path: Path) -> None:
    model = model_of(tmp_path, RISK, seed=1)
    question = question_of(model, case_of(model), Wanted())
    steps = question.case.steps
    # A variable that is never measured adds zeros to both explanations, and to no correlation.
    padded = steps.clone()
    padded[:, [1, 3, 5]] = 0.0
    own = integrated_gradients(model.network, padded, question.evidence, 32).values[padded != 0].abs()
    load_state(model.network, initial_weights(model.study, FRESH_SEED))
    fresh = integrated_gradients(model.network, padded, question.evidence, 32).values[padded != 0].abs()
    load_state(model.network, initial_weights(model.study, 1))
    found = sanity_of(model, padded, question.evidence).correlations["everything"]
    assert found == pytest.approx(spearmanr(own, fresh).statistic)


@pytest.mark.parametrize("faint", [False, True])
def test_the_rule_integrates_polynomials(faint: bool) -> None:
    places, weights = rule(12, faint=faint)
    assert (places > 0).all() and (places < 1).all() and (places.diff() > 0).all()
    for power in range(7):
        assert float((weights * places**power).sum()) == pytest.approx(1 / (power + 1), abs=1e-6)
    assert int((places < 0.1).sum()) == (6 if faint else 2)
