"""Several labels a case: counts add, figures are scikit-learn's label by label, the loss is torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as reference

from common.errors import StudyError
from common.learning import learning_of
from common.metrics import SeveralLabelsSums, sums_kind
from common.models import build_model
from common.sequences import SequenceBatch
from common.study import Study, digest
from tests.conftest import small_study

Array = NDArray[Any]
NAMES = ["effusion", "nodule", "oedema"]


def study(**sections: Any) -> Study:
    head = {"labels": dict(zip("abc", NAMES, strict=True)), "several_labels": True}
    return small_study(**{**sections, "study": {**head, **sections.get("study", {})}})


def predictions(seed: int, n: int) -> tuple[Array, Array]:
    """(n, 3) probabilities that lean to the truth, and (n, 3) truths."""
    rng = np.random.default_rng(seed)
    truths = (rng.random((n, 3)) < (0.5, 0.2, 0.05)).astype(int)
    return 1 / (1 + np.exp(-(rng.normal(size=(n, 3)) + 2 * truths - 1))), truths


def counted(scores: Array, truths: Array, *, keep: bool = True) -> SeveralLabelsSums:
    return SeveralLabelsSums.count(scores, truths, keep_scores=keep)


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_scikit_learn_s_means_over_the_labels(seed: int) -> None:
    scores, truths = predictions(seed, 400)
    found, said = counted(scores, truths).figures(NAMES), scores >= 0.5
    expected = {
        "auroc": reference.roc_auc_score(truths, scores, average="macro"),
        "auprc": reference.average_precision_score(truths, scores, average="macro"),
        "f1": reference.f1_score(truths, said, average="macro"),
        "recall": reference.recall_score(truths, said, average="macro"),
        "precision": reference.precision_score(truths, said, average="macro"),
        "specificity": np.mean([reference.recall_score(truths[:, c] == 0, ~said[:, c]) for c in range(3)]),
        "brier": np.mean([reference.brier_score_loss(truths[:, c], scores[:, c]) for c in range(3)]),
        "loss": np.mean([reference.log_loss(truths[:, c], scores[:, c]) for c in range(3)]),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    assert found["n"] == 400 and list(found["labels"].values()) == truths.sum(axis=0).tolist()
    assert {figure.key for figure in SeveralLabelsSums.FIGURES} <= set(found)


@pytest.mark.parametrize("keep", [True, False])
def test_sums_of_parts_are_the_sums_of_all(keep: bool) -> None:
    scores, truths = predictions(4, 60)
    parts = [counted(scores[s], truths[s], keep=keep) for s in (slice(0, 17), slice(17, 17), slice(17, 60))]
    total, whole = SeveralLabelsSums.total(parts), counted(scores, truths, keep=keep)
    found, expected = total.figures(NAMES), whole.figures(NAMES)
    assert found.pop("labels") == expected.pop("labels")
    assert found == pytest.approx(expected)
    total.check(3)
    assert total.exact == keep and total.n == 60


def test_without_single_scores_only_the_ranking_is_off_and_by_little() -> None:
    scores, truths = predictions(5, 2000)
    exact, binned = (counted(scores, truths, keep=keep).figures(NAMES) for keep in (True, False))
    assert {key for key in exact if exact[key] != binned[key]} == {"auroc", "auprc"}
    assert binned["auroc"] == pytest.approx(exact["auroc"], abs=0.01)


def test_a_label_that_nobody_has_is_left_out_of_what_it_does_not_define() -> None:
    scores, truths = predictions(6, 50)
    truths[:, 2] = 0
    sums = counted(scores, truths)
    assert sums.curves(NAMES)["auroc_by_class"]["oedema"] is None
    assert sums.figures(NAMES)["auroc"] == pytest.approx(
        reference.roc_auc_score(truths[:, :2], scores[:, :2], average="macro")
    )
    assert SeveralLabelsSums.none(3).figures(NAMES)["auroc"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"counts": np.zeros((2, 2, 2), dtype=np.int64)},
        {"counts": np.arange(12).reshape(3, 2, 2)},
        {"histogram": -np.ones((3, 2, 512), dtype=np.int64)},
        {"squares": np.full(3, 1e6)},
        {"scores": np.full((4, 3), 2.0)},
        {"truths": np.zeros((4, 2), dtype=np.int64)},
        {"truths": np.full((4, 3), 7)},
    ],
)
def test_what_strangers_send_must_be_counts(change: dict[str, Array]) -> None:
    arrays = counted(*predictions(0, 4)).arrays()
    SeveralLabelsSums(loss=1.0, **arrays).check(3)
    with pytest.raises(ValueError, match=r"counts|labels|squares|scores|truths"):
        SeveralLabelsSums(loss=1.0, **{**arrays, **change}).check(3)


def test_the_study_s_model_learns_by_torch_s_loss() -> None:
    torch.manual_seed(0)
    model, learning = build_model(study()), learning_of(study())
    batch = SequenceBatch(torch.rand(6, 8, 8), torch.full((6,), 8), torch.randint(0, 2, (6, 3)).float())
    output = model(batch.steps, batch.lengths)
    expected = torch.nn.BCEWithLogitsLoss()(output, batch.targets)
    assert torch.allclose(learning.loss(output, batch), expected)
    assert torch.allclose(learning.losses(output, batch).mean(), expected)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        loss = learning.loss(model(batch.steps, batch.lengths), batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 0.9 * float(expected.detach())
    sums = learning.count(output.detach(), batch, keep=False)
    assert isinstance(sums, sums_kind(study()))
    assert sums.loss == pytest.approx(6 * float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"training": {"class_weights": "balanced"}}, "class_weights"),
        ({"privacy": {"noise_multiplier": 1.0, "evaluation_epsilon": 1.0}}, "evaluation_epsilon"),
    ],
)
def test_what_is_not_built_is_refused_by_name(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        study(**sections)


def test_a_study_without_several_labels_keeps_its_digest() -> None:
    assert digest(small_study()) == digest(small_study(study={"several_labels": False}))
    assert digest(small_study()) != digest(small_study(study={"several_labels": True}))
