"""Clipped sums: exact for whole models, additive, deaf to what is not finite, fit for Opacus' optimiser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from opacus import GradSampleModule
from opacus.layers import DPGRU, DPLSTM
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from torch import nn
from torch.nn.functional import cross_entropy

from common.models import SequenceClassifier
from common.private import recurrent
from common.private.bookkeeping import Bookkeeper
from common.private.clipping import grams
from common.private.clipping.parts import Scratch
from common.private.clipping.precision import full_precision
from common.private.clipping.products import Product, Sequences
from common.private.clipping.rows import Rows

Compare = Callable[..., Any]
MakeModel = Callable[..., SequenceClassifier]
LENGTHS = torch.tensor([5, 8, 1, 8, 3, 6])
PATIENTS = torch.tensor([0, 0, 1, 3, 3, 3])
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])
NEVER = float("inf")

# --- whole models

KINDS = {"rows": {"kind": "rows", "size": 16}, "patches": {"kind": "patches", "size": 32, "patch": 8}}
WIDTHS = {"rows": 16, "patches": 64}
MODELS = [
    *(
        {"encoder": e, "pooling": p}
        for e, p in product(["none", "cnn"], ["last", "mean", "max", "attention"])
    ),
    {"encoder": "cnn", "cell": "lstm", "bidirectional": True, "layers": 2},
    {"encoder": "none", "cell": "rnn", "bidirectional": True, "layers": 3, "pooling": "attention"},
]


@pytest.mark.parametrize(
    ("own", "units"),
    [(torch.full((6,), 8), torch.arange(6)), (LENGTHS, PATIENTS)],
    ids=["full-image", "ragged-patient"],
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sections", MODELS, ids=lambda model: "-".join(map(str, model.values())))
def test_whole_model(
    tiny: MakeModel,
    sections: dict[str, Any],
    kind: str,
    own: torch.Tensor,
    units: torch.Tensor,
    expected: Compare,
    found: Compare,
) -> None:
    model = tiny(sequence=KINDS[kind], model=sections).double().train()
    steps = torch.randn(6, 8, WIDTHS[kind], dtype=torch.double, generator=torch.Generator().manual_seed(1))
    for record, length in enumerate(own):
        steps[record, length:] = 0

    def losses(records: list[int]) -> torch.Tensor:
        return cross_entropy(model(steps[records], own[records]), LABELS[records], reduction="none")

    every = (model, losses, units, 6)
    clip_norm = float(expected(*every, NEVER).norms.median()) + 1e-3  # some are clipped, and some are not
    expected(*every, clip_norm).assert_close(found(*every, clip_norm))


# --- a small model for everything else


class Small(nn.Module):
    """Convolution, normalisation, recurrence and head over (B, 3, 9)."""

    def __init__(self, cell: type[nn.RNNBase] = recurrent.GRU) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.recurrent = cell(4, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x))).transpose(1, 2)
        logits: torch.Tensor = self.head(self.recurrent(x)[0].mean(dim=1))
        return logits


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    return Small().double()


X = torch.randn(6, 3, 9, dtype=torch.double, generator=torch.Generator().manual_seed(2))


def losses_of(
    model: nn.Module, records: slice | list[int] = slice(None), x: torch.Tensor = X
) -> Callable[[], torch.Tensor]:
    return lambda: cross_entropy(model(x[records]), LABELS[records], reduction="none")


def gradients(model: nn.Module) -> list[torch.Tensor]:
    """The parameters' gradients, which are then cleared."""
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return found


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_what_is_summed_of_one_unit_is_as_long_as_the_clip_norm(small: Small) -> None:
    with Bookkeeper(small) as bookkeeper:
        norms = bookkeeper.clipped_sum(losses_of(small, [3]), torch.tensor([0]), 1, 0.01)
    assert norms.shape == (1,)
    assert norms.dtype == torch.double
    assert float(norms) > 0.01
    assert float(torch.cat([g.flatten() for g in gradients(small)]).norm()) == pytest.approx(0.01, rel=1e-12)


def test_halves_add_up_to_the_whole(small: Small) -> None:
    with Bookkeeper(small) as bookkeeper:
        whole = bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 0.3)
        expected = gradients(small)
        first = bookkeeper.clipped_sum(losses_of(small, slice(3)), PATIENTS[:3], 4, 0.3)
        second = bookkeeper.clipped_sum(losses_of(small, slice(3, 6)), PATIENTS[3:], 4, 0.3)
    assert_same(gradients(small), expected)
    assert_same([first + second], [whole])
    assert whole[2] < 1e-100  # the patient without records


def test_order_of_the_records_changes_nothing(small: Small) -> None:
    order = torch.tensor([4, 2, 0, 5, 3, 1])
    with Bookkeeper(small) as bookkeeper:
        norms = bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 0.3)
        expected = gradients(small)
        shuffled = bookkeeper.clipped_sum(losses_of(small, order.tolist()), PATIENTS[order], 4, 0.3)
    assert_same(gradients(small), expected)
    assert_same([shuffled], [norms])


def test_empty_batch_gives_zeros_and_runs_nothing(small: Small) -> None:
    def never() -> torch.Tensor:
        raise AssertionError

    nothing = torch.zeros(0, dtype=torch.int64)
    with Bookkeeper(small) as bookkeeper:
        assert bookkeeper.clipped_sum(never, nothing, 3, 1.0).tolist() == [0, 0, 0]
        assert all(p.grad is not None and not p.grad.any() for p in small.parameters())
        bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 0.3)
        before = [p.grad.clone() for p in small.parameters() if p.grad is not None]
        assert bookkeeper.clipped_sum(never, nothing, 0, 1.0).shape == (0,)
    assert_same(gradients(small), before)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e200])
@pytest.mark.parametrize("cell", [recurrent.GRU, recurrent.LSTM])
def test_unit_that_is_not_finite_is_left_out_and_harms_nobody(
    cell: type[nn.RNNBase], poison: float, expected: Compare
) -> None:
    model = Small(cell).double()
    x = X.clone()
    x[4] = poison

    def losses(records: Any = slice(None)) -> torch.Tensor:
        return cross_entropy(model(x[records]), LABELS[records], reduction="none") * x[records, 0, 0].abs()

    with Bookkeeper(model) as bookkeeper:
        norms = bookkeeper.clipped_sum(losses, PATIENTS, 4, 0.3)
    assert norms.isinf().tolist() == [False, False, False, True]
    others = [0, 1, 2]
    clean = expected(model, lambda records: losses([others[r] for r in records]), PATIENTS[:3], 4, 0.3)
    assert_same(gradients(model), clean.sums)
    assert_same([norms[:3]], [clean.norms[:3]])


def test_parameter_that_is_not_used_gets_zeros_and_a_frozen_one_nothing(small: Small) -> None:
    small.unused = nn.Linear(3, 2).double()
    small.recurrent.weight_hh_l0.requires_grad_(False)
    with Bookkeeper(small) as bookkeeper:
        bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 0.3)
    assert small.recurrent.weight_hh_l0.grad is None
    assert small.recurrent.weight_ih_l0.grad is not None
    assert small.unused.weight.grad is not None and not small.unused.weight.grad.any()


def test_losses_that_depend_on_no_parameter_give_zeros(small: Small) -> None:
    x = X.clone().requires_grad_()
    with Bookkeeper(small) as bookkeeper:
        for losses in (lambda: X.sum(dim=(1, 2)), lambda: x.sum(dim=(1, 2))):
            assert bookkeeper.clipped_sum(losses, PATIENTS, 4, 1.0).tolist() == [0, 0, 0, 0]
    assert not any(g.any() for g in gradients(small))


@pytest.mark.parametrize(
    ("units", "clip_norm", "shape"),
    [([0, 0, 1, 1, 2, 3], 1.0, 0), ([-1, 0, 0, 0, 0, 0], 1.0, 0), ([0] * 6, 0.0, 0), ([0] * 6, 1.0, 1)],
)
def test_what_makes_no_sense_is_refused(small: Small, units: list[int], clip_norm: float, shape: int) -> None:
    losses = (lambda: small(X)) if shape else losses_of(small)
    with Bookkeeper(small) as bookkeeper, pytest.raises(ValueError):
        bookkeeper.clipped_sum(losses, torch.tensor(units), 3, clip_norm)
    assert gradients(small) == []


# --- hooks


def test_model_is_as_it_was_outside_of_the_engine(small: Small) -> None:
    expected, x = small(X), X.clone().requires_grad_()
    with Bookkeeper(small) as bookkeeper:
        bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 1.0)
        small.zero_grad()
        assert torch.equal(small(X), expected)
        small(x).sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in small.parameters())
        assert x.grad is not None
    assert not any(layer._forward_hooks for layer in small.modules())


def test_two_engines_on_one_model_do_not_count_double(small: Small) -> None:
    with Bookkeeper(small) as bookkeeper:
        norms = bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 0.3)
        expected = gradients(small)
        with Bookkeeper(small):
            again = bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 0.3)
    assert_same([again, *gradients(small)], [norms, *expected])


def test_hook_of_somebody_else_that_alters_the_output_is_no_harm(
    small: Small, expected: Compare, found: Compare
) -> None:
    small.conv.register_forward_hook(lambda layer, args, output: output * 3)
    every = (small, lambda records: losses_of(small, records)(), PATIENTS, 4, 0.3)
    expected(*every).assert_close(found(*every))


def test_losses_that_fail_leave_the_engine_of_use(small: Small) -> None:
    with Bookkeeper(small) as bookkeeper:
        with pytest.raises(ZeroDivisionError):
            bookkeeper.clipped_sum(lambda: X / (1 // 0), PATIENTS, 4, 0.3)
        bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 0.3)
    assert all(g.any() for g in gradients(small))


# --- against Opacus, and with its optimiser

SCALE = 1e6
"""Opacus clips by C / (norm + 1e-6); where norms are of this size, that is C / norm."""


class Classifier(nn.Module):
    def __init__(self, recurrent_layer: nn.Module) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent_layer, nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.recurrent(x)[0].mean(dim=1))
        return logits


@pytest.mark.parametrize(
    ("own", "theirs"), [(recurrent.GRU, DPGRU), (recurrent.LSTM, DPLSTM)], ids=["gru", "lstm"]
)
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_ten_steps_without_noise_are_those_of_opacus(
    own: type[nn.RNNBase], theirs: type[nn.Module], clip_norm: float = 0.3
) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 7, 4, dtype=torch.double)
    model = Classifier(own(4, 5, batch_first=True)).double()
    other = Classifier(theirs(4, 5, batch_first=True)).double()
    for name in ("recurrent", "head"):  # by layer: as a part of a model, Opacus' layers name weights twice
        getattr(other, name).load_state_dict(getattr(model, name).state_dict())
    private_steps(model, x, clip_norm)
    hooked = GradSampleModule(other)
    optimizer = DPOptimizer(torch.optim.SGD(other.parameters(), 0.5 / SCALE), **noiseless(clip_norm))
    for _ in range(10):
        optimizer.zero_grad()
        (SCALE * cross_entropy(hooked(x), LABELS)).backward()
        optimizer.step()
    for name in ("recurrent", "head"):
        theirs_now = getattr(other, name).state_dict()
        for key, value in getattr(model, name).state_dict().items():
            torch.testing.assert_close(value, theirs_now[key], rtol=0, atol=1e-9)


def private_steps(model: nn.Module, x: torch.Tensor, clip_norm: float) -> None:
    """Ten of them, in which the weights move."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(model.parameters(), 0.5 / SCALE), **noiseless(clip_norm)
    )
    with Bookkeeper(model) as bookkeeper:
        for _ in range(10):
            optimizer.zero_grad()
            bookkeeper.clipped_sum(
                lambda: SCALE * losses_of(model, x=x)(), torch.arange(6), 6, SCALE * clip_norm
            )
            optimizer.step()
    assert all((value - before[name]).norm() > 1e-3 for name, value in model.state_dict().items())


def noiseless(clip_norm: float) -> dict[str, Any]:
    return {"noise_multiplier": 0.0, "max_grad_norm": SCALE * clip_norm, "expected_batch_size": 6}


@pytest.mark.parametrize("set_to_none", [False, True])
def test_a_step_of_opacus_optimiser_is_the_clipped_sum_over_the_expected_batch(
    small: Small, set_to_none: bool
) -> None:
    before = [p.detach().clone() for p in small.parameters()]
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(small.parameters(), 0.1),
        noise_multiplier=0.0,
        max_grad_norm=0.3,
        expected_batch_size=5,
        loss_reduction="mean",
    )
    with Bookkeeper(small) as bookkeeper:
        bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 0.3)
        expected = [b - 0.1 * g / 5 for b, g in zip(before, gradients(small), strict=True)]
        optimizer.zero_grad(set_to_none=set_to_none)
        bookkeeper.clipped_sum(losses_of(small, slice(3)), PATIENTS[:3], 4, 0.3)
        bookkeeper.clipped_sum(losses_of(small, slice(3, 6)), PATIENTS[3:], 4, 0.3)
        optimizer.step()
    assert_same([p.detach() for p in small.parameters()], expected)


# --- numbers of few bits


def test_float32_norms_are_those_of_float64(small: Small) -> None:
    with Bookkeeper(small) as bookkeeper:
        exact = bookkeeper.clipped_sum(losses_of(small), PATIENTS, 4, 0.3)
        expected = [g.float() for g in gradients(small)]
    small.float()
    with Bookkeeper(small) as bookkeeper:
        norms = bookkeeper.clipped_sum(losses_of(small, x=X.float()), PATIENTS, 4, 0.3)
    assert norms.dtype == torch.float32
    torch.testing.assert_close(norms, exact.float(), rtol=1e-5, atol=1e-15)
    torch.testing.assert_close(gradients(small), expected, rtol=1e-4, atol=1e-6)


def cancelling(steps: int = 64, outputs: int = 32, inputs: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """(2, L, O) and (2, L, D) float32: outer products that all but cancel, and some that do not."""
    generator = torch.Generator().manual_seed(3)
    g, a = (torch.randn(2, steps, width, generator=generator) for width in (outputs, inputs))
    g[0] = g[0, 0] + 1e-4 * g[0]
    a[0] = a[0, 0] + 1e-4 * a[0]
    g[0, ::2] *= -1
    return g, a


def exact_norms(g: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return torch.einsum("nlo,nld->nod", g.double(), a.double()).flatten(1).norm(dim=1)


def test_gram_matrices_alone_would_hide_a_unit_that_cancels() -> None:
    g, a = cancelling()
    plain = (grams.gram(g) * grams.gram(a)).sum(dim=(1, 2))
    assert abs(float(plain[0]) / float(exact_norms(g, a)[0]) ** 2 - 1) > 0.5
    bounds, loose = grams.squared_norms(grams.gram(g), grams.gram(a), 32 + 24)
    assert (bounds >= exact_norms(g, a).square()).all()
    assert loose.tolist() == [True, False]


def test_norm_of_a_unit_that_cancels_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    g, a = cancelling()
    monkeypatch.setattr(Product, "_method", lambda self: "gram")
    weight = nn.Parameter(torch.zeros(32, 24))
    rows = Rows.of(torch.arange(2), 2, torch.device("cpu"))
    part = Product(weight, Sequences(g, a, rows), 2, Scratch.of([g]))
    norms = part.squared_norms().sqrt()
    torch.testing.assert_close(norms.double(), exact_norms(g, a), rtol=5e-3, atol=0)


def test_half_precision_in_the_forward_pass_leaves_norms_in_float32(small: Small) -> None:
    small.float()

    def losses() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = small(X.float())
        return cross_entropy(logits.float(), LABELS, reduction="none")

    with Bookkeeper(small) as bookkeeper:
        exact = bookkeeper.clipped_sum(losses_of(small, x=X.float()), PATIENTS, 4, 0.05)
        expected = gradients(small)
        norms = bookkeeper.clipped_sum(losses, PATIENTS, 4, 0.05)
    found = gradients(small)
    assert norms.dtype == torch.float32
    torch.testing.assert_close(norms, exact, rtol=0.05, atol=0)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.01)
    assert all(g.dtype == torch.float32 for g in found)


def test_clipped_length_is_exact_under_half_precision(small: Small) -> None:
    small.float()

    def losses() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return cross_entropy(small(X[:1].float()).float(), LABELS[:1], reduction="none")

    with Bookkeeper(small) as bookkeeper:
        bookkeeper.clipped_sum(losses, torch.tensor([0]), 1, 0.01)
    assert float(torch.cat([g.flatten() for g in gradients(small)]).norm()) == pytest.approx(0.01, rel=1e-5)


def test_products_are_not_rounded_whatever_torch_was_told() -> None:
    matmul = torch.backends.cuda.matmul
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not matmul.allow_tf32
            assert not torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
        assert matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


# --- the choice of the way


def way(steps: int, outputs: int, inputs: int, left_bytes: int = 2**26) -> str:
    """How the norms of such a product are found, for four records."""
    g, a = torch.zeros(4, steps, outputs), torch.zeros(4, steps, inputs)
    rows = Rows.of(torch.arange(4), 4, torch.device("cpu"))
    weight = nn.Parameter(torch.zeros(outputs, inputs))
    return Product(weight, Sequences(g, a, rows), 4, Scratch(left_bytes, Counter()))._method()


def test_way_to_the_norm_depends_on_the_shape() -> None:
    assert way(28, 768, 128) == "gram"
    assert way(128, 192, 64) == "kept"
    assert way(700, 768, 64, left_bytes=0) == "streamed"


def test_kept_gradients_stay_within_their_budget() -> None:
    scratch = Scratch.of([torch.zeros(2**21)])
    assert scratch.keeps(2**23)
    assert not scratch.keeps(2**23)
    assert scratch.keeps(2**22)
