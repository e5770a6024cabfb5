"""MONAI's networks as encoders: every combination, no statistics of batches, exact clipping, a named lack."""

from __future__ import annotations

import sys
from typing import get_args

import pytest
import torch
from monai.networks import nets
from torch import nn

from common.errors import ExtraMissing
from common.learning import learning_of
from common.models import build_model, initial_weights, load_state
from common.models.monai_frames import GROUPS, NETWORKS, MonaiFrames, without_batches
from common.study.model import Encoder
from tests.unit.models.combinations import LENGTHS, Combination, batch, combinations
from tests.unit.models.one_by_one import assert_clipped_one_by_one
from tests.unit.models.walking import assert_learns_or_is_refused

NAMES = tuple(encoder for encoder in get_args(Encoder) if encoder.startswith("monai:"))
SMALLEST = "monai:resnet10"
OF_OTHERS = {("frames", "gru"), ("slices", "conv_gru")}


def every() -> list[Combination]:
    """All of the smallest network; of the others, each before one cell of vectors and one of maps."""
    return [
        each
        for each in combinations(NAMES)
        if each.encoder == SMALLEST
        or (each.sequence, each.cell) in {("frames", "gru"), ("slices", "conv_gru")}
    ]


@pytest.mark.parametrize("each", every(), ids=str)
def test_every_combination_learns_or_is_refused_by_name(each: Combination) -> None:
    assert_learns_or_is_refused(each)


def test_tables_name_the_same_networks() -> None:
    assert {f"monai:{name}" for name in NETWORKS} == set(NAMES)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_keeps_statistics_of_batches(name: str) -> None:
    encoder = MonaiFrames((32, 32), name)
    assert not any(isinstance(layer, nn.modules.batchnorm._NormBase) for layer in encoder.modules())
    assert {layer.num_groups for layer in encoder.modules() if isinstance(layer, nn.GroupNorm)} == {GROUPS}
    assert not list(encoder.buffers())


@pytest.mark.parametrize(("name", "options"), [("resnet10", {"n_input_channels": 1, "num_classes": 1})])
@torch.no_grad()
def test_features_are_those_of_monai_s_network_before_its_head(name: str, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    network = without_batches(getattr(nets, name)(spatial_dims=2, shortcut_type="B", **options))
    network.fc = nn.Identity()
    encoder = MonaiFrames((40, 48), name).eval()
    own = dict(encoder.layers.named_parameters())
    for key, weight in network.named_parameters():
        own[key].copy_(weight)
    frames = torch.randn(3, 1, 40, 48)
    torch.testing.assert_close(encoder.look(frames), network(frames))


@pytest.mark.parametrize("cell", ["gru", "conv_gru"])
@torch.no_grad()
def test_case_s_outputs_are_those_it_has_alone(cell: str) -> None:
    study = Combination("classification", "slices", cell, SMALLEST).study()
    model, cases = build_model(study).eval(), batch(study, LENGTHS["slices"])
    load_state(model, initial_weights(study, 0))
    together = model(cases.steps, cases.lengths)
    for case, length in enumerate(LENGTHS["slices"]):
        alone = model(cases.steps[case : case + 1, :length], cases.lengths[case : case + 1])
        torch.testing.assert_close(together[case : case + 1], alone, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [SMALLEST, "monai:densenet121"])
def test_clipped_sum_is_that_of_one_record_gradients(encoder: str) -> None:
    study = Combination("classification", "slices", "gru", encoder).study()
    torch.manual_seed(0)
    model, cases = build_model(study).double(), batch(study, LENGTHS["slices"])
    learning, steps = learning_of(study), cases.steps.double()
    assert_clipped_one_by_one(
        model,
        lambda: learning.losses(model(steps, cases.lengths).double(), cases).double(),
        torch.tensor([0, 1, 0]),
    )


def test_lack_of_monai_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Combination("classification", "frames", "gru", SMALLEST).study()
    for name in [name for name in sys.modules if name == "monai" or name.startswith("monai.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(ExtraMissing, match="monai:resnet10 needs MONAI") as error:
        build_model(study)
    assert error.value.hint == "pip install 'consilium[monai]'"
