"""Membership inference: figures against their definitions, and modest conclusions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from deploy.attack.finding import Claim, Verdict
from deploy.attack.membership import auroc, confidences, found_at_low_rate, likelihood_ratios, measure

CLAIM = Claim(1.0, 1e-3, 1.0, 1.0, 0.1, 100, 1.0, "patient", 50, "prv")
SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_auroc_is_that_of_an_independent_library(members: list[float], others: list[float]) -> None:
    truth = [1] * len(members) + [0] * len(others)
    ours = auroc(torch.tensor(members), torch.tensor(others))
    assert ours == pytest.approx(roc_auc_score(truth, members + others))


def test_a_units_confidence_is_the_mean_logit_of_its_own_class() -> None:
    probability = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.9, 0.1], [1.0, 0.0]])
    found = confidences(probability, torch.tensor([0, 0, 1, 0]), torch.tensor([0, 1, 1, 2]))
    assert found.tolist()[:2] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert found[2].isfinite() and found[2] > 10


def test_members_found_are_those_above_nearly_all_others() -> None:
    members, others = torch.arange(100.0), torch.arange(40.0)  # two of forty may be above: 38 and 39
    found, low, high = found_at_low_rate(members, others)
    assert found == pytest.approx(0.62)
    assert 0.5 < low < found < high < 0.72


def test_a_likelihood_ratio_knows_each_unit_by_itself() -> None:
    # The second unit is always the more confident one: by its loss it looks like a member.
    draw = torch.Generator().manual_seed(0)
    trained_on = torch.arange(40)[:, None] % 2 == torch.arange(2)
    usual = torch.tensor([0.0, 5.0])
    shadows = usual + 2.0 * trained_on + 0.3 * torch.randn(40, 2, generator=draw, dtype=torch.float64)
    found = likelihood_ratios(usual + torch.tensor([2.0, 0.0]), shadows, trained_on)
    assert found[0] > 1 > -1 > found[1]


def test_a_likelihood_ratio_of_no_difference_is_near_zero() -> None:
    trained_on = torch.arange(40)[:, None] % 2 == torch.arange(2)
    shadows = torch.randn(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert likelihood_ratios(torch.zeros(2), shadows, trained_on).abs().max() < 1


def test_a_score_that_tells_nothing_shows_nothing() -> None:
    draw = torch.Generator().manual_seed(2)
    finding = measure(
        "test", "source", torch.randn(60, generator=draw), torch.randn(40, generator=draw), CLAIM
    )
    assert finding.epsilon == 0.0 and finding.verdict is Verdict.not_violated
    assert finding.observations == 100 and "Weak" in finding.power
    assert finding.figures["auroc_low"] < 0.5 < finding.figures["auroc_high"]


def test_a_score_that_tells_all_is_an_indication_and_no_proof() -> None:
    finding = measure("test", "source", torch.arange(100.0) + 200, torch.arange(100.0), CLAIM)
    assert finding.figures["auroc"] == finding.figures["members_found"] == 1.0
    assert CLAIM.epsilon < finding.epsilon <= finding.visible
    assert finding.verdict is Verdict.indication


@pytest.mark.parametrize(("members", "others"), [(1, 1), (2, 1), (1, 40)])
def test_few_units_show_nothing(members: int, others: int) -> None:
    finding = measure("test", "source", torch.arange(float(members)) + 99, torch.arange(float(others)), CLAIM)
    assert finding.epsilon == 0.0
