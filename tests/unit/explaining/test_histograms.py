"""Models that read histograms of gradients are explained by cells: what Captum gives these, over pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from client.explaining import explain, render, write_overlay
from client.explaining.evidence import ClassEvidence, Evidence, evidence_of
from client.explaining.gradients import attributed, integrated_gradients
from client.explaining.occlusion import occluded
from client.explaining.path import histograms_of
from client.explaining.question import Question, Wanted, question_of
from client.explaining.sanity import FRESH_SEED, sanity_of
from client.predicting import Given, TrainedModel
from common.models import SequenceModel, initial_weights, load_state
from common.models.encoders import NoEncoder
from common.models.hog import HogRows
from tests.unit.explaining.asked import HISTOGRAMS, HOG, case_of, model_of
from tests.unit.page_reader import Page, check_reaches_for_nothing

ROWS = {"sequence": {"kind": "rows", "size": 32}, "model": HOG}
"""A square that is covered is a cell."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Captum's own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Behind:
    """A model behind its encoder, put together anew, and what it reads of a case and of an even one."""

    def __init__(self, network: SequenceModel, steps: torch.Tensor, evidence: Evidence) -> None:
        self.evidence = evidence
        self.network = deepcopy(network)
        self.network.encoder = NoEncoder(0)
        self.features, self.nothing = (
            network.encoder(given[None], torch.tensor([len(steps)]))[0]
            for given in (steps, torch.zeros_like(steps))
        )

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return evidence_of(self.network, features, self.evidence)


def asked(folder: Path, sections: dict[str, Any], seed: int = 0) -> tuple[TrainedModel, Question]:
    model = model_of(folder, sections, seed=seed)
    return model, question_of(model, case_of(model), Wanted())


def spread(model: TrainedModel, values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """(T, F) what each pixel has of its cell, one at a time; ``values`` are laid out as the encoder's."""
    encoder = histograms_of(model.network)
    assert encoder is not None
    rows, side = isinstance(encoder, HogRows), encoder.cell
    width = steps.shape[1] if isinstance(encoder, HogRows) else encoder.frame[1]
    across = -(-width // side)

    def cell_of(step: int, pixel: int) -> tuple[int, int]:
        y, x = (step, pixel) if rows else divmod(pixel, width)
        return (y // side, x // side) if rows else (step, y // side * across + x // side)

    if values.dim() == 4:
        cells = values.sum(1).flatten(1)
    else:
        cells = torch.stack([part.sum(1) for part in values.split(encoder.orientations, dim=1)], dim=1)
    owners = [[cell_of(step, pixel) for pixel in range(steps.shape[1])] for step in range(len(steps))]
    flat = [owner for line in owners for owner in line]
    count = {owner: flat.count(owner) for owner in set(flat)}
    return torch.tensor([[float(cells[owner]) / count[owner] for owner in line] for line in owners])


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_integrated_gradients_are_captums_of_the_cells(tmp_path: Path, name: str) -> None:
    from captum.attr import IntegratedGradients

    model, question = asked(tmp_path, HISTOGRAMS[name])
    steps = question.case.steps
    behind = Behind(model.network, steps, question.evidence)
    oracle = IntegratedGradients(behind).attribute(
        behind.features, baselines=behind.nothing, n_steps=12, method="gausslegendre"
    )
    own = integrated_gradients(model.network, steps, question.evidence, 12)
    assert own.values.abs().max() > 1e-5
    assert torch.allclose(own.values, spread(model, oracle[0].float(), steps), atol=1e-6)
    with torch.no_grad():
        assert own.evidence == pytest.approx(float(behind(behind.features)), abs=1e-5)
        assert own.baseline == pytest.approx(float(behind(behind.nothing)), abs=1e-5)


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_attributions_add_up(tmp_path: Path, name: str) -> None:
    model, question = asked(tmp_path, HISTOGRAMS[name])
    steps, evidence = question.case.steps, question.evidence
    found = attributed(model.network, steps, evidence)
    with torch.no_grad():
        ends = evidence_of(model.network, torch.stack([steps, torch.zeros_like(steps)]), evidence)
    assert found.complete
    assert float(found.values.sum()) == pytest.approx(float(ends[0] - ends[1]), abs=0.011)


def test_a_covered_square_is_captums_ablated_cell(tmp_path: Path) -> None:
    from captum.attr import FeatureAblation

    model, question = asked(tmp_path, ROWS)
    behind = Behind(model.network, question.case.steps, question.evidence)
    cells = torch.arange(64).repeat_interleave(8).reshape(1, 8, 64)
    oracle = (
        FeatureAblation(behind)
        .attribute(behind.features, baselines=behind.nothing, feature_mask=cells)[0]
        .float()
    )
    found = occluded(model.network, question.case.steps, question.evidence, model.study.sequence)
    assert found.steps is None
    assert torch.allclose(found.parts, oracle[:, ::8], atol=1e-5)


def test_where_nothing_is_nothing_is_lost(tmp_path: Path) -> None:
    model = model_of(tmp_path, ROWS)
    steps = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    steps[:, 12:] = -2.0
    found = occluded(model.network, steps, ClassEvidence(0), model.study.sequence)
    values = attributed(model.network, steps, ClassEvidence(0)).values
    assert not found.parts[:, 4:].any() and not values[:, 16:].any()
    assert found.parts[:, :3].abs().min() > 0 and values[:, :12].abs().min() > 0


def test_of_a_clip_a_square_takes_its_share_of_cells_and_a_step_all_of_its_own(tmp_path: Path) -> None:
    model, question = asked(tmp_path, {"sequence": {"kind": "frames", "size": 32}, "model": HOG})
    behind = Behind(model.network, question.case.steps, question.evidence)
    found = occluded(model.network, question.case.steps, question.evidence, model.study.sequence)
    # Squares of 4 pixels in cells of 8: that in line 2 and column 5 lies on a quarter of cell (1, 2).
    quarter, without = behind.features.clone(), behind.features.clone()
    own = slice(8 * (4 * 1 + 2), 8 * (4 * 1 + 3))
    quarter[..., own] = 0.75 * quarter[..., own] + 0.25 * behind.nothing[..., own]
    without[:, 2] = behind.nothing[:, 2]
    assert found.steps is not None
    with torch.no_grad():
        whole = behind(behind.features)
        assert float(found.parts[2, 5]) == pytest.approx(float(whole - behind(quarter)), abs=1e-6)
        assert float(found.steps[2]) == pytest.approx(float(whole - behind(without)), abs=1e-6)


@pytest.mark.parametrize("name", ["rows", "boxes patches"])
def test_only_other_weights_change_an_explanation(tmp_path: Path, name: str) -> None:
    model, question = asked(tmp_path, HISTOGRAMS[name], seed=1)
    other = sanity_of(model, question.case.steps, question.evidence).correlations
    assert other["everything"] < 0.99
    load_state(model.network, initial_weights(model.study, FRESH_SEED))
    same = sanity_of(model, question.case.steps, question.evidence).correlations
    assert list(same.values()) == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_each_has_a_page_that_says_what_is_coloured(tmp_path: Path, name: str) -> None:
    model = model_of(tmp_path, HISTOGRAMS[name])
    found = explain(model, case_of(model))
    html = render(model, [found])
    check_reaches_for_nothing(html)
    assert "in cells of 4 x 4 pixels" in Page(html).text
    cells = {"rows": 3, "labels patches": 4, "boxes patches": 16}.get(name, 4)
    assert {len(gate) for gate in found.memory.gates.values()} <= {cells}
    assert (found.memory.attention is not None) == (name == "rows")


def test_others_do_not_speak_of_cells(tmp_path: Path) -> None:
    model = model_of(tmp_path, {})
    assert "histograms" not in Page(render(model, [explain(model, case_of(model))])).text


def test_an_overlay_shows_cells(tmp_path: Path) -> None:
    model = model_of(tmp_path, ROWS)
    steps = torch.zeros(32, 32)
    steps[:, :12] = torch.randn(32, 12, generator=torch.Generator().manual_seed(0))
    path = write_overlay(tmp_path / "o", model, Given("a case", steps), "normal", 1)
    with Image.open(path) as image:
        explained = image.crop((image.width - 256, 22, image.width, 22 + 256))
    coloured = [
        [len(set(explained.getpixel((x, y)))) > 1 for x in range(4, 256, 8)] for y in range(4, 256, 8)
    ]
    assert all(any(line[:12]) for line in coloured) and not any(any(line[16:]) for line in coloured)
