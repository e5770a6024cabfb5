"""Models: padding never counts, names are torch's, and the first weights are a function of the seed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from common.models import SequenceClassifier, build_model, initial_weights, load_state, state_of
from common.models.encoders import MaskedGroupNorm, RowEncoder
from common.models.pooling import AttentionPool, LastPool, MaxPool, MeanPool
from common.study import Study, parse_study
from common.weights import digest

MakeModel = Callable[..., SequenceClassifier]
MakeStudy = Callable[..., Study]
KINDS = {
    "rows": {"kind": "rows", "size": 16},
    "patches": {"kind": "patches", "size": 32, "patch": 8},
    "slices": {"kind": "slices", "size": 8},
    "frames": {"kind": "frames", "size": 9},
}
LENGTHS = torch.tensor([16, 5, 1, 15])
stacks = list(
    product(["gru", "lstm", "rnn"], ["last", "mean", "max", "attention"], [False, True], [1, 2]),
)
# Every stack behind one encoder, and every encoder before some stacks: neither looks into the other.
behind = [
    (encoder, kind, stack) for encoder, kind in [("none", "rows"), ("cnn", "slices")] for stack in stacks
]
before = [
    (encoder, kind, stack) for encoder, kind in product(["none", "cnn"], KINDS) for stack in stacks[::11]
]
combinations = [
    pytest.param(
        {
            "sequence": KINDS[kind],
            "model": {
                "encoder": encoder,
                "cell": cell,
                "pooling": pooling,
                "bidirectional": bidirectional,
                "layers": layers,
            },
        },
        id=f"{encoder}-{kind}-{cell}-{pooling}-{'both' if bidirectional else 'forward'}-{layers}",
    )
    for encoder, kind, (cell, pooling, bidirectional, layers) in sorted({*behind, *before})
]
every_model = pytest.mark.parametrize("sections", combinations)


def padded(features: int, steps: int = 16, filler: float = 0.0) -> torch.Tensor:
    """(4, steps, features) of which only the first LENGTHS steps belong to the cases."""
    batch = torch.randn(4, steps, features, generator=torch.Generator().manual_seed(1))
    for case, length in enumerate(LENGTHS):
        batch[case, length:] = filler
    return batch


def width(study: Study) -> int:
    return study.sequence.frame[0] * study.sequence.frame[1]


# --- padding


@every_model
@torch.no_grad()
def test_case_s_logits_are_those_it_has_alone_and_unpadded(
    tiny: MakeModel, study: MakeStudy, sections: dict[str, Any]
) -> None:
    model, batch = tiny(**sections), padded(width(study(**sections)))
    together = model(batch, LENGTHS)
    alone = [model(batch[i : i + 1, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS)]
    assert together.shape == (4, 2)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


@pytest.mark.parametrize("encoder", ["none", "cnn", "hog"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_more_padding_changes_nothing(tiny: MakeModel, study: MakeStudy, encoder: str, kind: str) -> None:
    sections = {"sequence": KINDS[kind], "model": {"encoder": encoder, "bidirectional": True}}
    model, batch = tiny(**sections), padded(width(study(**sections)))
    wider = torch.cat([batch, torch.zeros(4, 7, batch.shape[2])], dim=1)
    torch.testing.assert_close(model(wider, LENGTHS), model(batch, LENGTHS), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize(
    ("encoder", "kind"),
    [*product(["none", "hog"], KINDS), *product(["cnn"], ["patches", "slices", "frames"])],
)
@torch.no_grad()
def test_what_stands_in_the_padding_is_not_looked_at(
    tiny: MakeModel, study: MakeStudy, encoder: str, kind: str, pooling: str
) -> None:
    # Not so with rows and cnn, where a convolution sees neighbouring rows: there zeros are the contract.
    sections = {
        "sequence": KINDS[kind],
        "model": {"encoder": encoder, "pooling": pooling, "bidirectional": True},
    }
    model, features = tiny(**sections), width(study(**sections))
    garbage = model(padded(features, filler=1e3), LENGTHS)
    torch.testing.assert_close(garbage, model(padded(features), LENGTHS), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("cell", "pooling", "bidirectional"),
    list(product(["gru", "lstm", "rnn"], ["last", "mean", "max", "attention"], [False, True])),
)
@torch.no_grad()
def test_record_s_logits_are_those_it_has_alone(cell: str, pooling: str, bidirectional: bool) -> None:
    variables = {"HR": {"centre": 80, "scale": 20}, "pH": {"centre": 7.4, "scale": 0.1}}
    document = {
        "study": {"name": "records", "labels": {"0": "alive", "1": "dead"}},
        "sequence": {"kind": "steps", "variables": variables},
        "model": {"hidden": 4, "cell": cell, "pooling": pooling, "bidirectional": bidirectional},
    }
    records = parse_study(document)
    model = build_model(records).eval()
    load_state(model, initial_weights(records, 0))
    batch = padded(width(records))
    together = model(batch, LENGTHS)
    alone = [model(batch[i : i + 1, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


@torch.no_grad()
def test_row_encoder_gives_zeros_behind_each_case(tiny: MakeModel) -> None:
    encoder = tiny(sequence=KINDS["rows"], model={"encoder": "cnn"}).encoder
    features, lengths = encoder(padded(16), LENGTHS)
    assert lengths.tolist() == [4, 2, 1, 4]
    assert all(not features[case, n:].any() for case, n in enumerate(lengths))
    assert all(features[case, :n].any() for case, n in enumerate(lengths))


@torch.no_grad()
def test_frame_encoder_looks_at_each_case_s_own_frames_only(tiny: MakeModel) -> None:
    encoder, looked_at = tiny(sequence=KINDS["slices"], model={"encoder": "cnn"}).encoder, []
    encoder.layers[0].register_forward_pre_hook(lambda _, given: looked_at.append(len(given[0])))  # type: ignore[union-attr, operator, index]
    features, lengths = encoder(padded(64, filler=1.0), LENGTHS)
    assert looked_at == [int(LENGTHS.sum())]
    assert lengths.tolist() == LENGTHS.tolist()
    assert all(features[case, :n].any() and not features[case, n:].any() for case, n in enumerate(lengths))


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (9, 11), (16, 10)])
def test_row_encoder_s_features_have_the_width_it_states(rows: int, columns: int) -> None:
    encoder = RowEncoder(columns)
    features, lengths = encoder(torch.randn(1, rows, columns), torch.tensor([rows]))
    assert features.shape == (1, int(lengths), encoder.features)
    assert int(lengths) == -(-rows // 4)


@torch.no_grad()
def test_masked_group_norm_of_full_sequences_is_group_norm() -> None:
    norm = MaskedGroupNorm(4, 8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, 8, 6, 5) * 4 + 2
    torch.testing.assert_close(norm.masked(x, torch.ones(3, 1, 6, 1)), norm(x))


@torch.no_grad()
def test_masked_group_norm_is_group_norm_of_the_rows_that_count() -> None:
    norm, x = MaskedGroupNorm(2, 4), torch.randn(2, 4, 6, 5)
    nn.init.normal_(norm.bias)
    mask = torch.zeros(2, 1, 6, 1)
    for case, rows in enumerate((6, 2)):
        mask[case, :, :rows] = 1
    found = norm.masked(x, mask)
    torch.testing.assert_close(found[1:, :, :2], norm(x[1:, :, :2]))
    torch.testing.assert_close(found[:1], norm(x[:1]))
    assert not found[1, :, 2:].any()


# --- pooling

OUTPUTS = torch.tensor([[[1.0, -1.0], [5.0, -7.0], [3.0, -2.0]], [[2.0, 4.0], [99.0, 99.0], [99.0, 99.0]]])
MASK = torch.tensor([[True, True, True], [True, False, False]])


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (MeanPool(), [[3.0, -10 / 3], [2.0, 4.0]]),
        (MaxPool(), [[5.0, -1.0], [2.0, 4.0]]),
        (LastPool(2, 1), [[3.0, -2.0], [2.0, 4.0]]),
        (LastPool(1, 2), [[3.0, -1.0], [2.0, 4.0]]),
    ],
    ids=["mean", "max", "last", "last-both-directions"],
)
def test_pooling_known_answers(pool: nn.Module, expected: list[list[float]]) -> None:
    torch.testing.assert_close(pool(OUTPUTS, MASK), torch.tensor(expected))


@torch.no_grad()
def test_attention_shares_are_one_in_sum_and_nothing_on_padding() -> None:
    shares = AttentionPool(2).weights(OUTPUTS, MASK)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2))
    assert shares[1].tolist() == [1.0, 0.0, 0.0]
    assert (shares[0] > 0).all()


# --- names and weights


def test_names_are_torch_s(tiny: MakeModel) -> None:
    assert set(state_of(tiny(model={"cell": "lstm", "layers": 2, "bidirectional": True}))) == {
        *(
            f"recurrent.{kind}_l{layer}{direction}"
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            for layer in (0, 1)
            for direction in ("", "_reverse")
        ),
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize(("cell", "kind"), [("gru", nn.GRU), ("lstm", nn.LSTM), ("rnn", nn.RNN)])
@torch.no_grad()
def test_recurrent_weights_are_those_of_the_plain_torch_module(
    tiny: MakeModel, cell: str, kind: type[nn.RNNBase]
) -> None:
    model, plain, steps = tiny(model={"cell": cell}), kind(8, 4, batch_first=True), torch.randn(2, 8, 8)
    prefix = "recurrent."
    state = {k.removeprefix(prefix): v for k, v in model.state_dict().items() if k.startswith(prefix)}
    plain.load_state_dict(state)
    expected = model.head(plain(steps)[0].mean(dim=1))
    torch.testing.assert_close(model(steps, torch.tensor([8, 8])), expected)


@every_model
def test_gradient_reaches_every_parameter(
    tiny: MakeModel, study: MakeStudy, sections: dict[str, Any]
) -> None:
    model, batch = tiny(**sections).train(), padded(width(study(**sections)))
    nn.functional.cross_entropy(model(batch, LENGTHS), torch.tensor([0, 1, 1, 0])).backward()
    unreached = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert unreached == []
    assert all(p.grad.isfinite().all() for p in model.parameters())  # type: ignore[union-attr]


def test_number_of_classes_is_the_study_s(tiny: MakeModel) -> None:
    model = tiny(study={"labels": {"0": "a", "1": "b", "2": "c", "3": "a"}})
    assert model(torch.zeros(2, 8, 8), torch.tensor([8, 8])).shape == (2, 3)


def test_dropout_acts_in_training_only(tiny: MakeModel) -> None:
    model, steps, lengths = tiny(model={"dropout": 0.5}), torch.randn(2, 8, 8), torch.tensor([8, 8])
    assert torch.equal(model(steps, lengths), model(steps, lengths))
    model.train()
    assert not torch.equal(model(steps, lengths), model(steps, lengths))


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_with_any_number_of_layers_warns_of_nothing(tiny: MakeModel, layers: int) -> None:
    assert tiny(model={"dropout": 0.5, "layers": layers}).recurrent.dropout == (0.0 if layers == 1 else 0.5)


def test_initial_weights_are_a_function_of_study_and_seed(study: MakeStudy) -> None:
    first = digest(initial_weights(study(), 0))
    assert digest(initial_weights(study(), 0)) == first
    assert digest(initial_weights(study(), 1)) != first
    assert digest(initial_weights(study(federation={"rounds": 9}), 0)) == first


def test_initial_weights_neither_read_nor_move_torch_s_generator(study: MakeStudy) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = digest(initial_weights(study(), 0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert digest(initial_weights(study(), 0)) == first


def test_state_goes_into_another_model_and_comes_out_the_same(tiny: MakeModel) -> None:
    one, other = (tiny(seed, sequence=KINDS["rows"], model={"encoder": "cnn"}) for seed in (1, 2))
    state = state_of(one)
    assert digest(state_of(other)) != digest(state)
    load_state(other, state)
    assert digest(state_of(other)) == digest(state)
    steps, lengths = padded(16), LENGTHS
    assert torch.equal(one(steps, lengths), other(steps, lengths))


def test_state_is_a_copy(tiny: MakeModel) -> None:
    model = tiny()
    state = state_of(model)
    before = digest(state)
    for array in state.values():
        array += 1
    assert digest(state_of(model)) == before
    load_state(model, state)
    state["head.bias"] += 1
    assert not np.array_equal(state_of(model)["head.bias"], state["head.bias"])


def test_loading_keeps_the_parameters_that_an_optimizer_holds(tiny: MakeModel) -> None:
    model = tiny()
    held = list(model.parameters())
    load_state(model, {name: array * 0 for name, array in state_of(model).items()})
    assert all(mine is theirs for mine, theirs in zip(held, model.parameters(), strict=True))
    assert not any(p.any() for p in held)


def test_name_that_the_model_has_not_is_refused(tiny: MakeModel) -> None:
    with pytest.raises(KeyError):
        load_state(tiny(), {"no.such": np.zeros(1, np.float32)})


def test_size_of_a_picture_does_not_change_the_recurrent_stack(study: MakeStudy) -> None:
    patches = [{"kind": "patches", "size": size, "patch": 8} for size in (16, 64)]
    shapes = [
        {name: array.shape for name, array in state_of(build_model(study(sequence=s))).items()}
        for s in patches
    ]
    assert shapes[0] == shapes[1]
