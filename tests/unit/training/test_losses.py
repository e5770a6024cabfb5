"""The losses of classes, against their formulas and torch's own."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from common.errors import InvalidValue
from common.learning import learning_of
from common.learning.losses import ClassLoss
from common.sequences import SequenceBatch
from common.study import Study, Training

MakeStudy = Callable[..., Study]
LOGITS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(12) % 3
LABELS = (torch.arange(36).reshape(12, 3) % 5 < 2).float()
WEIGHTS = torch.tensor([0.5, 1.0, 3.0])


def test_the_focal_loss_is_that_of_the_paper() -> None:
    """Lin et al. 2017, eq. 4: -(1 - p)^2 log p of the case's class."""
    logits = torch.tensor([[0.0, log(3.0)], [log(9.0), 0.0]])  # p = 3/4 and 1/10 of class 1
    each = ClassLoss(gamma=2.0).each(logits, torch.tensor([1, 1]))
    expected = [-(0.25**2) * log(0.75), -(0.9**2) * log(0.1)]
    assert each.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_a_gamma_of_almost_nothing_is_cross_entropy(smoothing: float, weights: torch.Tensor | None) -> None:
    found = ClassLoss(1e-6, smoothing).mean(LOGITS, CLASSES, weights)
    expected = cross_entropy(LOGITS, CLASSES, weight=weights, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(ClassLoss(0.0, smoothing).mean(LOGITS, CLASSES, weights), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("targets", [CLASSES, LABELS], ids=["classes", "labels"])
def test_the_mean_of_all_is_the_mean_of_each(gamma: float, smoothing: float, targets: torch.Tensor) -> None:
    loss = ClassLoss(gamma, smoothing)
    each = loss.each(LOGITS, targets)
    assert each.shape == (12,)
    torch.testing.assert_close(each.mean(), loss.mean(LOGITS, targets, None))
    alone = torch.cat([loss.each(LOGITS[i : i + 1], targets[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(each, alone)


def test_several_labels_a_case_are_as_many_binary_choices() -> None:
    expected = binary_cross_entropy_with_logits(LOGITS, LABELS)
    torch.testing.assert_close(ClassLoss().mean(LOGITS, LABELS, None), expected)
    smoothed = binary_cross_entropy_with_logits(LOGITS, LABELS * 0.8 + 0.1)
    torch.testing.assert_close(ClassLoss(0.0, 0.2).mean(LOGITS, LABELS, None), smoothed)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize(
    "targets", [torch.tensor([0]), torch.tensor([[1.0, 0.0]])], ids=["classes", "labels"]
)
def test_the_slope_is_finite_where_a_case_is_known(gamma: float, targets: torch.Tensor) -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    ClassLoss(gamma).mean(logits, targets, None).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_known_cases_count_less() -> None:
    known, unknown = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    zero = torch.tensor([0])
    share = [
        float(loss.each(known, zero) / loss.each(unknown, zero)) for loss in (ClassLoss(), ClassLoss(2.0))
    ]
    assert share[1] < share[0] / 100


def test_a_study_s_loss_is_what_its_task_loses(make_study: MakeStudy) -> None:
    study = make_study(training={"loss": "focal", "focal_gamma": 1.5, "label_smoothing": 0.1})
    batch = SequenceBatch(torch.zeros(12, 8, 8), torch.full((12,), 8), CLASSES)
    learning, weighted = learning_of(study), learning_of(study, tuple(WEIGHTS.tolist()))
    loss = ClassLoss(1.5, 0.1)
    torch.testing.assert_close(learning.loss(LOGITS, batch), loss.mean(LOGITS, CLASSES, None))
    torch.testing.assert_close(weighted.loss(LOGITS, batch), loss.mean(LOGITS, CLASSES, WEIGHTS))
    torch.testing.assert_close(weighted.losses(LOGITS, batch), loss.each(LOGITS, CLASSES))


def test_a_gamma_belongs_to_the_focal_loss(make_study: MakeStudy) -> None:
    assert make_study(training={"loss": "focal"}).training.focal_gamma == 2.0
    assert make_study().training.focal_gamma is None
    with pytest.raises(InvalidValue, match='only loss = "focal"'):
        make_study(training={"focal_gamma": 1.0})


@pytest.mark.parametrize("training", [{"loss": "focal"}, {"label_smoothing": 0.1}])
def test_other_tasks_have_losses_of_their_own(training: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="segmentation has its own loss"):
        Training.model_validate(training).require_fit("segmentation", 10)
