"""A whole study: its tables, and what they must be together. Every default and every bound stands in them.

Adding a kind (of sequence, strategy, privacy) is one class more in its union.
"""

from __future__ import annotations

from typing import Any

from pydantic import field_validator, model_validator

from common.study.augmentation import Augmentation
from common.study.data import Data
from common.study.federation import MEAN_STRATEGIES, Federation
from common.study.fitting import misfit
from common.study.head import Head
from common.study.model import Model
from common.study.privacy import Privacy
from common.study.section import Section, with_default
from common.study.sequence import Rows, Sequence
from common.study.task_fitting import task_misfit
from common.study.training import Training

_CALIBRATED = ("classification", "several labels")
"""What a study learns that has a probability of a class for each case."""


class Study(Section):
    """A whole study, resolved: the same value at the coordinator and at every site."""

    study: Head
    data: Data = Data()
    sequence: Sequence = Rows()
    model: Model = Model()
    training: Training = Training()
    augmentation: Augmentation = Augmentation()
    federation: Federation = Federation()
    privacy: Privacy | None = None

    @field_validator("sequence", mode="before")
    @classmethod
    def _rows_unless_said(cls, value: Any) -> Any:
        return with_default(value, "kind", "rows")

    @model_validator(mode="after")
    def _task_fits(self) -> Study:
        reason = task_misfit(self.study.learns, self.sequence, self.model)
        if reason:
            raise ValueError(reason)
        return self

    @model_validator(mode="after")
    def _model_fits(self) -> Study:
        reason = misfit(self.model, self.sequence)
        if reason:
            raise ValueError(reason)
        return self

    @model_validator(mode="after")
    def _training_fits(self) -> Study:
        self.training.require_fit(self.study.task, self.federation.rounds)
        self.augmentation.require_fit(self.sequence.kind)
        return self

    @property
    def calibrates(self) -> bool:
        """Whether validation cases are counted after the last round, to fit a temperature and a threshold.

        By ``federation.calibrate = "auto"``: wherever it is possible.
        """
        return self.federation.calibrate != "off" and not self._uncalibrated()

    @property
    def validates(self) -> bool:
        """Whether validation cases are counted at all: to calibrate, or to know when to stop."""
        return self.calibrates or self.federation.patience > 0

    def validates_in(self, round_number: int) -> bool:
        """Whether they are counted after a round."""
        return self.validates and self.may_keep(round_number)

    def may_keep(self, round_number: int) -> bool:
        """Whether a round's model may be the final one: with patience each that is tested, else the last."""
        if self.federation.patience and round_number % self.federation.evaluate_every == 0:
            return True
        return round_number == self.federation.rounds

    def _uncalibrated(self) -> str:
        """Why the study's model cannot be calibrated; empty where it can."""
        if self.study.learns not in _CALIBRATED:
            return f"a {self.study.task} has no probability of a class for each case"
        return self._unvalidated()

    def _unvalidated(self) -> str:
        """Why validation cases cannot be counted; empty where they can."""
        if self.privacy is not None:
            return (
                "with [privacy] the counts of validation cases would leave without the noise that is paid for"
            )
        if self.data.test_split == "val":
            return 'with data.test_split = "val" the validation cases are what the model is tested on'
        return ""

    @model_validator(mode="after")
    def _calibration_fits(self) -> Study:
        why = self._uncalibrated()
        if self.federation.calibrate == "on" and why:
            raise ValueError(f'federation.calibrate = "on" cannot be: {why}')
        return self

    @model_validator(mode="after")
    def _patience_fits(self) -> Study:
        why = self._unvalidated()
        if self.federation.patience and why:
            raise ValueError(f"federation.patience cannot be: {why}")
        return self

    @model_validator(mode="after")
    def _several_labels_fit(self) -> Study:
        if not self.study.several_labels:
            return self
        if self.training.class_weights != "none":
            raise ValueError(
                "class_weights weigh classes of which a case has one; several_labels has none such"
            )
        return self

    @model_validator(mode="after")
    def _work_fits(self) -> Study:
        work_s, deadline_s = self.training.work_s, self.federation.deadline_s
        if work_s is not None and work_s >= deadline_s:
            raise ValueError(
                f"training.work_s is {work_s:g}, and federation.deadline_s {deadline_s:g}: no site would "
                f"have answered by then"
            )
        return self

    @model_validator(mode="after")
    def _privacy_fits(self) -> Study:
        if self.privacy is None:
            return self
        if self.training.class_weights != "none":
            raise ValueError("class_weights are counted from patients' labels, which [privacy] protects")
        if self.training.sampling != "natural":
            raise ValueError("sampling goes by patients' labels, which [privacy] protects; leave it natural")
        if self.privacy.evaluation_epsilon is not None and self.study.learns != "classification":
            raise ValueError(
                "privacy.evaluation_epsilon puts noise on counts of one class a case, and is not built for "
                f"{self.study.learns}"
            )
        if self.privacy.evaluation_epsilon is not None and self.federation.subgroups:
            raise ValueError(
                "privacy.evaluation_epsilon pays for noise on the counts of all test cases together, and "
                "federation.subgroups would send counts without; leave one of them away"
            )
        if self.privacy.at_sites:
            self._check_private_training()
        if self.privacy.sites is not None:
            self._check_private_sites()
        return self

    def _check_private_sites(self) -> None:
        if self.federation.strategy.name not in MEAN_STRATEGIES:
            raise ValueError(f"[privacy.sites] needs a strategy of a mean: {', '.join(MEAN_STRATEGIES)}")
        if self.federation.codec == "topk":
            raise ValueError(
                '[privacy.sites] puts the same noise on every entry, and with federation.codec = "topk" most '
                "have no update to hide; take another codec"
            )
        if self.federation.enough < 1.0 or self.federation.late_rounds:
            raise ValueError(
                "[privacy.sites] hides who took part, so neither how many have answered (federation.enough) "
                "nor who is late (federation.late_rounds) may decide anything"
            )

    def _check_private_training(self) -> None:
        """What would tell of patients outside the noise is refused, not left to a reader's care."""
        if self.training.clip_grad_norm is not None:
            raise ValueError("with [privacy] its own clip_norm takes the place of training.clip_grad_norm")
        if self.training.work_s is not None:
            raise ValueError(
                "with [privacy] the steps of a round are paid for before it begins; give "
                "training.local_epochs in place of work_s"
            )
        assert self.privacy is not None  # noqa: S101  asked of private studies alone
        self.training.require_private_fit(self.privacy.steps_per_epoch)
        if self.federation.strategy.name == "qfedavg":
            raise ValueError("qfedavg asks sites for losses of patients, which [privacy] protects")
