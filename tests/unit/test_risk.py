"""A risk is told at every step by what was seen until then, and counted without a case leaving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as reference
from torch.nn.functional import binary_cross_entropy_with_logits

from common.contract import leavings_of
from common.errors import StudyError
from common.learning import learning_of
from common.learning.risk import step_weights
from common.metrics import RiskSums, sums_kind, sums_of
from common.metrics.risk import concordant_pairs
from common.models import RiskModel, build_model
from common.private.bookkeeping import Bookkeeper
from common.sequences import SequenceBatch
from common.study import Study

MakeStudy = Callable[..., Study]
Array = NDArray[Any]
HEAD = {"task": "risk", "labels": {"0": "alive", "1": "died"}}
RECORDS = {"kind": "steps", "variables": {name: {"centre": 0.0, "scale": 1.0} for name in ("HR", "Temp")}}
KINDS = {"steps": RECORDS, "frames": {"kind": "frames", "size": 8}, "slices": {"kind": "slices", "size": 8}}
CLASSES = ("alive", "died")
LENGTHS = torch.tensor([6, 1, 4, 3])
OUTCOMES = torch.tensor([[1.0, 2.0], [0.0, 9.0], [0.0, -1.0], [1.0, 5.0]])
kinds = pytest.mark.parametrize("kind", KINDS)


def model_of(study: Study, seed: int = 0) -> RiskModel:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = build_model(study).eval()
    assert isinstance(model, RiskModel)
    return model


def batch_of(study: Study) -> SequenceBatch:
    """Four cases of different length, zeros behind each."""
    width = study.sequence.frame[0] * study.sequence.frame[1]
    steps = torch.randn(4, 6, width, generator=torch.Generator().manual_seed(1))
    own = torch.arange(6) < LENGTHS[:, None]
    return SequenceBatch(steps * own.unsqueeze(2), LENGTHS, OUTCOMES)


def predicted(seed: int, n: int = 80) -> tuple[Array, Array, Array]:
    """(n, 9) risks, (n,) lengths and (n, 2) outcomes, of which some times are not known."""
    rng = np.random.default_rng(seed)
    event = (rng.random(n) < 0.4).astype(float)
    time = np.where(rng.random(n) < 0.2, -1, rng.integers(0, 8, n)).astype(float)
    risks = 1 / (1 + np.exp(-rng.normal(size=(n, 9)).round(1) - event[:, None]))
    return risks, rng.integers(1, 10, n), np.stack([event, time], axis=1)


# --- the model


@kinds
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_no_step_sees_what_comes_later(study: Callable[..., Study], kind: str, cell: str) -> None:
    made = study(study=HEAD, sequence=KINDS[kind], model={"cell": cell, "layers": 2})
    model, batch = model_of(made), batch_of(made)
    with torch.no_grad():
        before = model.on(batch)
        for step in range(6):
            changed = batch.steps.clone()
            changed[:, step] += 1.0
            after = model.on(replace(batch, steps=changed))
            assert torch.equal(after[:, :step], before[:, :step])
            assert (after[0, step] != before[0, step]).item()


@kinds
def test_a_case_s_risk_is_that_it_has_alone(study: Callable[..., Study], kind: str) -> None:
    made = study(study=HEAD, sequence=KINDS[kind])
    model, batch = model_of(made), batch_of(made)
    with torch.no_grad():
        together = model.on(batch)
        for case, length in enumerate(LENGTHS.tolist()):
            alone = model(batch.steps[case : case + 1, :length], LENGTHS[case : case + 1])
            torch.testing.assert_close(together[case, :length], alone[0])


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"bidirectional": True}}, "bidirectional"),
        ({"sequence": {"kind": "rows", "size": 8}}, "not built for a sequence of rows"),
        ({"study": {"labels": {"0": "alive", "1": "died", "2": "moved"}}}, "exactly two names"),
        ({"privacy": {"noise_multiplier": 1.0, "evaluation_epsilon": 1.0}}, "evaluation_epsilon"),
    ],
)
def test_what_is_not_built_is_refused_by_name(
    study: Callable[..., Study], sections: dict[str, Any], words: str
) -> None:
    given = {"sequence": RECORDS, **sections, "study": {**HEAD, **sections.get("study", {})}}
    with pytest.raises(StudyError, match=words):
        study(**given)


# --- the loss


def test_steps_weigh_more_the_later_they_are_and_each_case_one() -> None:
    weights = step_weights(LENGTHS, 6, torch.device("cpu"))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(weights[2], torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0, 0.0]) / 10)


def test_losses_are_each_case_s_own_and_padding_costs_nothing(study: Callable[..., Study]) -> None:
    made = study(study=HEAD, sequence=RECORDS)
    learning, batch = learning_of(made), batch_of(made)
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    losses = learning.losses(logits, batch)
    for case, length in enumerate(LENGTHS.tolist()):
        rising = torch.arange(1, length + 1) / (length * (length + 1) / 2)
        event = OUTCOMES[case, 0].expand(length)
        expected = binary_cross_entropy_with_logits(
            logits[case, :length], event, weight=rising, reduction="sum"
        )
        torch.testing.assert_close(losses[case], expected)
    torch.testing.assert_close(learning.loss(logits, batch), losses.mean())
    weighted = learning_of(made, (1.0, 3.0)).loss(logits, batch)
    torch.testing.assert_close(weighted, (losses * torch.tensor([3.0, 1.0, 1.0, 3.0])).sum() / 8)


@kinds
def test_private_training_knows_every_case_s_gradient(study: Callable[..., Study], kind: str) -> None:
    made = study(study=HEAD, sequence=KINDS[kind], model={"encoder": "none" if kind == "steps" else "cnn"})
    model, batch, learning = model_of(made).train(), batch_of(made), learning_of(made)
    alone = []
    for case in range(4):
        one = batch.take(torch.tensor([case]))
        gradients = torch.autograd.grad(learning.losses(model.on(one), one).sum(), list(model.parameters()))
        alone.append(torch.cat([gradient.flatten() for gradient in gradients]))
    with Bookkeeper(model) as bookkeeper:
        norms = bookkeeper.clipped_sum(
            lambda: learning.losses(model.on(batch), batch), torch.arange(4), 4, clip_norm=0.3
        )
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(norms, torch.stack([g.norm() for g in alone]), rtol=1e-2, atol=1e-5)
    expected = sum((g * (0.3 / g.norm()).clamp(max=1) for g in alone), torch.zeros_like(found))
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-4)


# --- the counts


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_the_cases(seed: int) -> None:
    risks, lengths, outcomes = predicted(seed)
    event = outcomes[:, 0] == 1
    found = RiskSums.observed(risks, lengths, outcomes, keep=True).figures(CLASSES)
    last = risks[np.arange(80), lengths - 1]
    assert found["n"] == 80 and found["labels"] == {"alive": (~event).sum(), "died": event.sum()}
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(event, last))
    assert found["auprc"] == pytest.approx(reference.average_precision_score(event, last))
    assert found["loss"] == pytest.approx(reference.log_loss(event, last))
    assert found["accuracy"] == pytest.approx(((last > 0.5) == event).mean())
    half = risks[np.arange(80), [max(0, -(-length // 2) - 1) for length in lengths]]
    assert found["auroc_half"] == pytest.approx(reference.roc_auc_score(event, half), abs=0.01)
    assert {figure.key for figure in RiskSums.FIGURES} <= set(found)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_harrell_s(seed: int) -> None:
    risks, _, outcomes = predicted(seed, n=40)
    risk, event, time = risks[:, 0], outcomes[:, 0] == 1, outcomes[:, 1]
    counts = [0, 0, 0]
    for one in range(40):
        for other in range(40):
            both = time[one] >= 0 and time[other] >= 0
            first = time[one] < time[other] or (time[one] == time[other] and not event[other])
            if one != other and both and event[one] and first:
                counts[2] += 1
                counts[0] += int(risk[one] > risk[other])
                counts[1] += int(risk[one] == risk[other])
    assert concordant_pairs(risk, event, time).tolist() == counts
    assert counts[1] and counts[0] + counts[1] < counts[2]


def test_without_times_concordance_is_undefined() -> None:
    risks, lengths, outcomes = predicted(0)
    outcomes[:, 1] = -1
    assert RiskSums.observed(risks, lengths, outcomes, keep=False).figures(CLASSES)["concordance"] is None


def test_without_cases_nothing_is_defined() -> None:
    none = RiskSums.none(2)
    none.check(2)
    found = none.figures(CLASSES)
    assert found.pop("n") == 0 and found.pop("labels") == {"alive": 0, "died": 0}
    assert set(found.values()) == {None}


def test_counts_are_found_by_their_arrays(study: Callable[..., Study]) -> None:
    sums = RiskSums.observed(*predicted(0), keep=False)
    assert (
        type(sums_of(sums.loss, sums.arrays())) is sums_kind(study(study=HEAD, sequence=RECORDS)) is RiskSums
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {"pairs": s.pairs + np.array([1, 0, -1])},
        lambda s: {"pairs": s.pairs + np.array([0, 0, 10**6])},
        lambda s: {"pairs": -s.pairs},
        lambda s: {"pairs": s.pairs.astype(float)},
        lambda s: {"early": s.early[:2]},
        lambda s: {"early": 2 * s.early},
        lambda s: {"confusion": -s.confusion},
    ],
)
def test_counts_that_cannot_be_are_refused(change: Callable[[RiskSums], dict[str, Any]]) -> None:
    sums = RiskSums.observed(*predicted(0), keep=False)
    sums = replace(sums, pairs=np.array([3, 1, 4]))
    sums.check(2)
    with pytest.raises(ValueError):
        replace(sums, **change(sums)).check(2)


def test_a_stranger_s_third_class_is_refused() -> None:
    with pytest.raises(ValueError, match="classes"):
        RiskSums.none(2).check(3)


def test_what_leaves_is_named(study: Callable[..., Study]) -> None:
    told = [str(each) for each in leavings_of(study(study=HEAD, sequence=RECORDS))]
    assert any(text.startswith("risk-counts (") and "every test" in text for text in told)
    assert not any("risk-counts" in str(each) for each in leavings_of(study()))
