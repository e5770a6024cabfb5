"""What is said, as values."""

from __future__ import annotations

from dataclasses import dataclass, field

from common import __version__
from common.metrics import EvaluationSums, Subgroups


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
        ledger_head: What the site last gave as the head of its ledger; empty before it gave one.
    """

    study: str
    seed: int
    round: int
    base_digest: str
    proximal_mu: float = 0.0
    class_weights: tuple[float, ...] = ()
    base_loss: bool = False
    ledger_head: str = ""


@dataclass(frozen=True, slots=True)
class EvaluateTask:
    """Asks a site to count how the model does on its test cases.

    Attributes:
        study: Canonical text of the study.
        round: Absolute number of the round, from 1.
        base_digest: Digest that the weights sent along must have.
        split: ``val`` for the validation cases in their place, to which a calibration is fitted and by which
            a study knows when to stop; None for the test cases.
        subgroups: Count the test cases of each of the study's subgroups as well, of the final model; None for
            the cases together alone.
    """

    study: str
    round: int
    base_digest: str
    split: str | None = None
    subgroups: bool | None = None


@dataclass(frozen=True, slots=True)
class SiteDescription:
    """What a site says of itself before round 1: counts, its device and its version.

    ``train_labels`` and ``test_labels`` count cases in the order of the study's classes. ``val_cases`` are
    the validation cases; None where the study counts none.
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
    val_cases: int | None = None

    def notes(self, classes: tuple[str, ...]) -> list[str]:
        """What a reader of results should know of this site."""
        found = []
        for what, counts in (("training", self.train_labels), ("test", self.test_labels)):
            present = [name for name, count in zip(classes, counts, strict=True) if count]
            if len(present) == 1 < len(classes):
                found.append(f"all {what} cases have one class: {present[0]}")
        if not self.test_cases:
            found.append("no test cases")
        if self.version != __version__:
            found.append(f"runs Consilium {self.version}, the coordinator {__version__}")
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A site's counts for one model.

    Attributes:
        site: Who counted.
        round: Of the task.
        base_digest: Of the model.
        sums: Of all cases that were asked for.
        subgroups: Of those subgroups that the site tells, by kind and name; empty where none were asked for.
    """

    site: str
    round: int
    base_digest: str
    sums: EvaluationSums
    subgroups: Subgroups = field(default_factory=dict)
