"""Own attributions equal those of Captum, and of plain arithmetic."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from client.explaining.evidence import ClassEvidence, evidence_of, log_odds
from client.explaining.gradients import attributed, integrated_gradients
from client.explaining.memory import memory_of
from client.explaining.occlusion import occluded
from client.explaining.sanity import rank_correlation, stages
from common.study import Rows
from common.study.sequence import Frames, Steps, Variable
from tests.conftest import small_model, small_study

MODELS: list[dict[str, Any]] = [
    {"cell": "gru", "pooling": "attention"},
    {"cell": "lstm", "bidirectional": True, "layers": 2},
    {"cell": "rnn", "pooling": "last"},
    {"cell": "gru", "encoder": "cnn", "pooling": "max"},
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Captum's own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def picture() -> torch.Tensor:
    return torch.randn(8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("model", MODELS, ids=lambda m: "-".join(map(str, m.values())))
def test_integrated_gradients_are_captums(model: dict[str, Any]) -> None:
    from captum.attr import IntegratedGradients

    network, steps = small_model(1, model=model), picture()
    own = integrated_gradients(network, steps, ClassEvidence(1), 50)
    method = IntegratedGradients(lambda x: evidence_of(network, x, ClassEvidence(1)))
    oracle = method.attribute(steps[None], baselines=0.0, n_steps=50, method="gausslegendre")
    assert torch.allclose(own.values, oracle[0].float(), atol=1e-5)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("model", MODELS[:3], ids=lambda m: "-".join(map(str, m.values())))
def test_attributions_add_up(model: dict[str, Any]) -> None:
    found = attributed(small_model(1, model=model), picture(), ClassEvidence(0))
    assert found.complete
    assert float(found.values.sum()) == pytest.approx(found.evidence - found.baseline, abs=0.011)


def test_occlusion_is_captums() -> None:
    from captum.attr import Occlusion

    network, steps = small_model(1, model={"cell": "gru"}), picture()
    own = occluded(network, steps, ClassEvidence(1), Rows(size=8))
    oracle = Occlusion(lambda x: evidence_of(network, x, ClassEvidence(1))).attribute(
        steps[None], (1, 1), 1, baselines=0.0
    )
    assert own.steps is None
    assert torch.allclose(own.parts, oracle[0].float(), atol=1e-5)


def test_occlusion_of_a_clip_covers_a_square_in_all_frames() -> None:
    network = small_model(1, sequence={"kind": "frames", "size": 8})
    steps = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    found = occluded(network, steps, ClassEvidence(0), Frames(size=8))
    covered = steps.clone()
    covered[:, 9] = 0
    without = steps.clone()
    without[2] = 0
    whole = evidence_of(network, steps[None], ClassEvidence(0))
    assert found.parts.shape == (8, 8) and found.steps is not None and found.steps.shape == (4,)
    with torch.no_grad():
        assert float(found.parts[1, 1]) == pytest.approx(
            float(whole - evidence_of(network, covered[None], ClassEvidence(0)))
        )
        assert float(found.steps[2]) == pytest.approx(
            float(whole - evidence_of(network, without[None], ClassEvidence(0)))
        )


def test_occlusion_of_a_record_covers_a_variable() -> None:
    variables = {name: Variable(centre=0.0, scale=1.0) for name in ("a", "b")}
    told = {name: {"centre": 0.0, "scale": 1.0} for name in variables}
    network = small_model(1, sequence={"kind": "steps", "variables": told})
    steps = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    found = occluded(network, steps, ClassEvidence(0), Steps(variables=variables))
    covered = steps.clone()
    covered[:, [1, 3, 5]] = 0
    lost = evidence_of(network, steps[None], ClassEvidence(0)) - evidence_of(
        network, covered[None], ClassEvidence(0)
    )
    assert found.parts.shape == (2,)
    assert float(found.parts[1]) == pytest.approx(float(lost.detach()), abs=1e-6)


def test_evidence_is_the_log_odds() -> None:
    logits = torch.tensor([[0.2, -1.0, 0.7]])
    share = logits.softmax(1)[0, 2]
    assert float(log_odds(logits, 2)) == pytest.approx(float((share / (1 - share)).log()), abs=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gates_are_those_of_torchs_cells(cell: str, layers: int) -> None:
    network = small_model(1, model={"cell": cell, "layers": layers, "bidirectional": True})
    gates = memory_of(network, picture()).gates
    assert len(gates) == 2 * (2 if cell == "gru" else 3)
    # At the first step of a direction the state is 0, so its gates are known without the recurrence.
    layer = network.recurrent
    below: torch.Tensor = picture()
    if layers == 2:
        lower = type(layer)(8, 4, batch_first=True, bidirectional=True)
        lower.load_state_dict({k: v for k, v in layer.state_dict().items() if "_l0" in k})
        below = lower(picture()[None])[0][0].detach()
    for suffix, words, step in (("", "", 0), ("_reverse", ", backwards", -1)):
        name = f"l{layers - 1}{suffix}"
        given = below[step] @ getattr(layer, f"weight_ih_{name}").T
        given = given + getattr(layer, f"bias_ih_{name}") + getattr(layer, f"bias_hh_{name}")
        first, second = given[:4].sigmoid().mean(), given[4:8].sigmoid().mean()
        names = ("reset", "update") if cell == "gru" else ("input", "forget")
        found = [float(gates[f"{gate}{words}"][step]) for gate in names]
        assert found == pytest.approx([float(first), float(second)], abs=1e-6)


def test_attention_is_a_share_of_each_step() -> None:
    found = memory_of(small_model(1, model={"pooling": "attention"}), picture())
    assert found.attention is not None and found.attention.shape == (8,)
    assert float(found.attention.sum()) == pytest.approx(1, abs=1e-6)
    assert memory_of(small_model(1, model={"cell": "rnn"}), picture()).gates == {}


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, 50).astype(np.float32), rng.integers(0, 9, 50).astype(np.float32)
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert rank_correlation(first, np.zeros(50, np.float32)) == 0.0


def test_weights_are_replaced_from_the_head_down() -> None:
    network: nn.Module = small_model(1, model={"pooling": "attention"})
    found = stages(network)  # type: ignore[arg-type]
    names = [name for name, _ in network.named_parameters()]
    assert all(name.startswith(("pooling", "head")) == name.startswith(found["head"]) for name in names)
    assert all(name.startswith(found["everything"]) for name in names)


def test_occlusion_of_a_record_covers_one_category_after_the_other() -> None:
    variables = {"a": {"centre": 0.0, "scale": 1.0}}
    told = {"kind": "steps", "variables": variables, "categories": {"pain": [1, 2]}}
    study = small_study(sequence=told)
    network, steps = small_model(1, sequence=told), torch.ones(2, 9)
    found = occluded(network, steps, ClassEvidence(0), study.sequence)
    covered = steps.clone()
    covered[:, [2, 5, 8]] = 0
    lost = evidence_of(network, steps[None], ClassEvidence(0)) - evidence_of(
        network, covered[None], ClassEvidence(0)
    )
    assert found.parts.shape == (3,)
    assert float(found.parts[2]) == pytest.approx(float(lost.detach()), abs=1e-6)
