"""What coordinator and sites say to each other, as typed values and as Flower records.

    query      Describe   -> SiteDescription
    train      TrainTask  -> Contribution
    evaluate   EvaluateTask -> Evaluation

Any of the three may be answered with a Refusal instead. Reading is strict: a record that lacks a field
or has one of another type is a TaskInvalid, never a KeyError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from tokenize import TokenError
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from common import __version__
from common.errors import Refusal, TaskInvalid
from common.metrics import EvaluationSums
from common.update import Contribution
from common.weights import Weights

ABOUT, ARRAYS, REFUSAL = "about", "arrays", "refusal"
MOST_CASES = 2**40  # far more than there are, and small enough to be summed
# What numpy's reader raises on bytes that are no array: its header is parsed as Python source.
_UNREADABLE = (
    ValueError,
    TypeError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TokenError,
)
_ARRAY_FIELDS = ("confusion", "calibration", "histogram", "scores", "labels")


@dataclass(frozen=True, slots=True)
class Describe:
    """Asks a site who it is and what it would bring to the study."""

    study: str


@dataclass(frozen=True, slots=True)
class TrainTask:
    """Asks a site to train the base model on its own cases.

    Attributes:
        study: Canonical text of the study.
        seed: The study's seed; the site derives its own from it, the round and its name.
        round: Absolute number of the round, from 1.
        base_digest: Digest that the weights sent along must have.
        proximal_mu: Weight of FedProx's client term; 0 for none.
        class_weights: Weight of each class in the loss; empty for equal ones.
        base_loss: Also measure the base model's loss on the training cases.
    """

    study: str
    seed: int
    round: int
    base_digest: str
    proximal_mu: float = 0.0
    class_weights: tuple[float, ...] = ()
    base_loss: bool = False


@dataclass(frozen=True, slots=True)
class EvaluateTask:
    """Asks a site to count how the model does on its test cases."""

    study: str
    round: int
    base_digest: str


@dataclass(frozen=True, slots=True)
class SiteDescription:
    """What a site says of itself before round 1: counts only.

    ``train_labels`` and ``test_labels`` count cases in the order of the study's classes.
    """

    site: str
    version: str
    device: str
    train_cases: int
    train_patients: int
    test_cases: int
    test_patients: int
    train_labels: tuple[int, ...]
    test_labels: tuple[int, ...]

    def notes(self, classes: tuple[str, ...]) -> list[str]:
        """What a reader of results should know of this site."""
        found = []
        for what, counts in (("training", self.train_labels), ("test", self.test_labels)):
            present = [name for name, count in zip(classes, counts, strict=True) if count]
            if len(present) == 1:
                found.append(f"all {what} cases have one class: {present[0]}")
        if not self.test_cases:
            found.append("no test cases")
        if self.version != __version__:
            found.append(f"runs Consilium {self.version}, the coordinator {__version__}")
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A site's counts for one model."""

    site: str
    round: int
    base_digest: str
    sums: EvaluationSums


Task = TypeVar("Task", Describe, TrainTask, EvaluateTask, SiteDescription)


def weights_record(weights: Weights) -> ArrayRecord:
    """Weights as Flower moves them. Made once a round and shared by all messages."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in weights.items()})


def weights_of(content: RecordDict) -> dict[str, NDArray[Any]]:
    """The weights in a message.

    Raises:
        TaskInvalid: There are none, or they cannot be read.
    """
    record = content.array_records.get(ARRAYS)
    if record is None:
        raise TaskInvalid(f"no array record {ARRAYS!r}")
    return {name: _decoded(name, array) for name, array in record.items()}


def _decoded(name: str, array: Array) -> NDArray[Any]:
    if not array.data.startswith(np.lib.format.MAGIC_PREFIX):  # numpy would also open a zip archive
        raise TaskInvalid(f"array {name!r} is not in NumPy's format")
    try:
        decoded = array.numpy()
    except _UNREADABLE as error:
        raise TaskInvalid(f"unreadable array {name!r}: {error}") from None
    if decoded.dtype.kind not in "fiub":
        raise TaskInvalid(f"array {name!r} of {decoded.dtype} holds no numbers")
    return decoded


def task_content(task: Describe | TrainTask | EvaluateTask, weights: ArrayRecord | None = None) -> RecordDict:
    """A task as records."""
    content = RecordDict({ABOUT: _config(asdict(task))})
    if weights is not None:
        content[ARRAYS] = weights
    return content


def read_about(content: RecordDict, kind: type[Task]) -> Task:
    """The task or description that ``content`` carries.

    Raises:
        TaskInvalid: A field is missing or has another type.
    """
    return kind(**_typed(_about(content), kind))


def read_description(content: RecordDict, classes: int) -> SiteDescription:
    """The description in a reply, its numbers checked to be counts of ``classes`` classes.

    Raises:
        TaskInvalid: It is none.
    """
    site = read_about(content, SiteDescription)
    for cases, patients, labels in (
        (site.train_cases, site.train_patients, site.train_labels),
        (site.test_cases, site.test_patients, site.test_labels),
    ):
        if len(labels) != classes or min(labels) < 0 or sum(labels) != cases or not 0 <= patients <= cases:
            raise TaskInvalid(f"{cases} cases of {patients} patients with labels {labels} are no counts")
    return site


def description_content(description: SiteDescription) -> RecordDict:
    """A description as records."""
    return RecordDict({ABOUT: _config(asdict(description))})


def contribution_content(contribution: Contribution) -> RecordDict:
    """A contribution as records."""
    about = {f.name: getattr(contribution, f.name) for f in fields(Contribution) if f.name != "delta"}
    return RecordDict({ABOUT: _config(about), ARRAYS: weights_record(contribution.delta)})


def read_contribution(content: RecordDict) -> Contribution:
    """The contribution in a reply.

    Raises:
        TaskInvalid: It is none.
    """
    return Contribution(delta=weights_of(content), **_typed(_about(content), Contribution, skip=("delta",)))


def evaluation_content(evaluation: Evaluation) -> RecordDict:
    """Evaluation sums as records."""
    sums = evaluation.sums
    about = {"site": evaluation.site, "round": evaluation.round, "base_digest": evaluation.base_digest}
    arrays = {name: getattr(sums, name) for name in _ARRAY_FIELDS}
    return RecordDict({ABOUT: _config({**about, "loss": sums.loss}), ARRAYS: weights_record(arrays)})


def read_evaluation(content: RecordDict, classes: int) -> Evaluation:
    """The evaluation in a reply, its arrays checked to be counts of ``classes`` classes.

    Raises:
        TaskInvalid: It is none.
    """
    about, arrays = _about(content), weights_of(content)
    head = _typed(about, Evaluation, skip=("sums",))
    loss = about.get("loss")
    if set(arrays) != set(_ARRAY_FIELDS) or not isinstance(loss, float) or not 0 <= loss < math.inf:
        raise TaskInvalid("evaluation without its counts")
    sums = EvaluationSums(loss=loss, **arrays)
    _check_counts(sums, classes)
    _check_scores(sums, classes)
    return Evaluation(sums=sums, **head)


def _check_counts(sums: EvaluationSums, classes: int) -> None:
    empty = EvaluationSums.count(np.zeros((0, classes)), np.zeros(0, dtype=int), keep_scores=False)
    for name in ("confusion", "calibration", "histogram"):
        array, like = getattr(sums, name), getattr(empty, name)
        if (array.shape, array.dtype) != (like.shape, like.dtype):
            raise TaskInvalid(f"evaluation counts {name} are {array.dtype}{array.shape}")
        if not ((array >= 0) & (array <= MOST_CASES)).all():
            raise TaskInvalid(f"evaluation counts {name} are no counts")


def _check_scores(sums: EvaluationSums, classes: int) -> None:
    scores, labels = sums.scores, sums.labels
    if (scores.dtype.str, labels.dtype.str, labels.ndim) != ("<f8", "<i8", 1):
        raise TaskInvalid(f"evaluation scores are {scores.dtype}, their labels {labels.dtype}{labels.shape}")
    if scores.shape != (len(labels), classes) or len(labels) not in (0, sums.n):
        raise TaskInvalid("evaluation scores do not match their labels")
    if not ((scores >= 0) & (scores <= 1)).all() or not ((labels >= 0) & (labels < classes)).all():
        raise TaskInvalid("evaluation scores are no probabilities, or labels no classes")


def refusal_content(refusal: Refusal, site: str) -> RecordDict:
    """A refusal as records, with the name of the site that refuses (empty if it does not know itself)."""
    return RecordDict({REFUSAL: ConfigRecord({**asdict(refusal), "site": site})})


def refusing_site(content: RecordDict) -> str:
    """Name of the site that a refusal comes from, by its own word; empty if it does not say."""
    record = content.config_records.get(REFUSAL)
    return "" if record is None else str(record.get("site", ""))[:100]


def read_refusal(content: RecordDict) -> Refusal | None:
    """The refusal in a reply, or None if it is an answer."""
    record = content.config_records.get(REFUSAL)
    if record is None:
        return None
    return Refusal(*(str(record.get(field.name, ""))[:500] for field in fields(Refusal)))


def _about(content: RecordDict) -> Mapping[str, Any]:
    record = content.config_records.get(ABOUT)
    if record is None:
        raise TaskInvalid(f"no config record {ABOUT!r}")
    return record


def _config(values: Mapping[str, Any]) -> ConfigRecord:
    """Flower has lists for tuples and no null: an unset field is left away."""
    return ConfigRecord(
        {key: list(v) if isinstance(v, tuple) else v for key, v in values.items() if v is not None}
    )


_SCALARS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}


def _fits(value: Any, kind: str) -> bool:
    """Whether a record's value is what a field of this type holds; a truth value is no number."""
    if kind.startswith("tuple["):
        item = kind.removeprefix("tuple[").removesuffix(", ...]")
        return isinstance(value, list) and all(_fits(element, item) for element in value)
    scalar = kind.removesuffix(" | None")
    return isinstance(value, _SCALARS[scalar]) and isinstance(value, bool) == (scalar == "bool")


def _typed(record: Mapping[str, Any], kind: type, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """The record's values as the fields of dataclass ``kind`` want them."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in skip:
            continue
        value = record.get(field.name)
        if value is None and "None" in str(field.type):
            continue
        if not _fits(value, str(field.type)):
            raise TaskInvalid(f"field {field.name!r} is missing or not a {field.type}")
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return values
