"""What leaves a site in a study, by name: what a hospital reads before it agrees, and its policy allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from common.study import Federation, Privacy, Study

Metric = Literal[
    "loss",
    "base-loss",
    "test-loss",
    "confusion",
    "calibration",
    "score-histogram",
    "segmentation-counts",
    "detection-counts",
    "generation-counts",
    "risk-counts",
    "subgroup-counts",
]
Leaf = Literal["description", "update", "weight", "spending", "clip-norm", "steps"] | Metric
When = Literal[
    "once",
    "every round",
    "every test",
    "every test, and once of validation cases",
    "every test, and each time of validation cases",
]

METRICS: tuple[Metric, ...] = get_args(Metric)
"""Measurements of how a model does on a hospital's cases: what a policy may keep back."""

_WORDS: dict[Leaf, str] = {
    "description": "numbers of cases, patients and cases of each class; device and release",
    "update": "the change of the model's weights",
    "weight": "the number of cases or patients behind the update",
    "spending": "the privacy spent so far, and the head of its ledger",
    "clip-norm": "the adapted clip norm",
    "steps": "the number of training steps made",
    "loss": "mean training loss",
    "base-loss": "mean loss of the shared model on the training cases",
    "test-loss": "summed loss on the test cases",
    "confusion": "test cases by true and predicted class",
    "calibration": "test cases by confidence of the prediction",
    "score-histogram": "test cases by score, in 512 bins",
    "segmentation-counts": "pixels of each class that are found, true and both, summed over test cases; "
    "sums of their Dice, of its square and of the distance between edges",
    "detection-counts": "numbers of true boxes of each class, and of boxes found, false and true, by score "
    "in 512 bins, summed over test cases",
    "generation-counts": "test pictures of each class, their pixels, and their summed likelihood",
    "risk-counts": "test cases by score after a quarter, half and three quarters of their steps; "
    "numbers of pairs of test cases that the scores put in the right order",
    "subgroup-counts": "the same of the final model on subgroups of the test cases",
}

_OF_CLASSES: tuple[Leaf, ...] = ("test-loss", "confusion", "calibration", "score-histogram")
_TESTED: dict[str, tuple[Leaf, ...]] = {
    "classification": _OF_CLASSES,
    "segmentation": ("test-loss", "segmentation-counts"),
    "detection": ("test-loss", "detection-counts"),
    "generation": ("test-loss", "generation-counts"),
    "risk": (*_OF_CLASSES, "risk-counts"),
}
"""What counts of test cases leave, by the task of a study."""

_NEXT = "what this leaves out is added to the next one"


@dataclass(frozen=True, slots=True)
class Leaving:
    """One thing that leaves a site.

    Attributes:
        what: Its name.
        when: How often.
        noise: What hides single patients in it; "" for nothing.
        form: How it is written where it is not written whole; "" for whole.
    """

    what: Leaf
    when: When
    noise: str = ""
    form: str = ""

    def __str__(self) -> str:
        hidden = f", under {self.noise}" if self.noise else ""
        written = f", {self.form}" if self.form else ""
        return f"{self.what} ({_WORDS[self.what]}{written}), {self.when}{hidden}"


def leavings_of(study: Study) -> tuple[Leaving, ...]:
    """All that leaves a site which takes part in a study, in a fixed order."""
    return (Leaving("description", "once"), *_of_training(study), *_of_tests(study))


def metrics_of(study: Study) -> frozenset[Metric]:
    """The measurements among what leaves."""
    return frozenset(metric for metric in METRICS if any(metric == each.what for each in leavings_of(study)))


def _of_training(study: Study) -> Iterator[Leaving]:
    privacy, form = study.privacy, _form(study.federation)
    if privacy is None or not privacy.at_sites:
        yield from (Leaving("update", "every round", form=form), Leaving("weight", "every round"))
        yield Leaving("loss", "every round")
        if study.training.work_s is not None:
            yield Leaving("steps", "every round")
        if study.federation.strategy.name == "qfedavg":
            yield Leaving("base-loss", "every round")
        return
    noise = _training_noise(privacy)
    yield from (Leaving("update", "every round", noise, form), Leaving("weight", "every round"))
    yield Leaving("spending", "every round")
    if privacy.clip_quantile is not None:
        yield Leaving("clip-norm", "every round", noise)


def _form(federation: Federation) -> str:
    """How the study's codec writes an update, in words."""
    match federation.codec:
        case "float32":
            return ""
        case "bf16":
            return "in bf16"
        case "int8":
            return f"in int8; {_NEXT}"
        case "topk":
            return f"the largest {100 * (federation.codec_fraction or 0):.3g} % of each array; {_NEXT}"


def _of_tests(study: Study) -> Iterator[Leaving]:
    privacy = study.privacy
    epsilon = privacy.evaluation_epsilon if privacy is not None else None
    noise = "" if epsilon is None else f"noise for epsilon {epsilon:g} over all tests"
    yield from (Leaving(what, _tested_when(study), noise) for what in _TESTED[study.study.task])
    if study.federation.subgroups:
        kinds = ", ".join(study.federation.subgroups)
        form = f"by {kinds}; of at least {study.federation.min_cell} patients each"
        when: When = "every test" if study.federation.patience else "once"
        yield Leaving("subgroup-counts", when, form=form)


def _tested_when(study: Study) -> When:
    if study.federation.patience:
        return "every test, and each time of validation cases"
    return "every test, and once of validation cases" if study.calibrates else "every test"


def _training_noise(privacy: Privacy) -> str:
    if privacy.target_epsilon is not None:
        amount = f"for epsilon {privacy.target_epsilon:g} over all rounds"
    else:
        amount = f"of {privacy.noise_multiplier:g} times the clip norm"
    return f"noise {amount}, for each {privacy.unit}"
