"""What an entry of a log says of a model: that a study made it, or that a site tested it."""

from __future__ import annotations

from dataclasses import dataclass

from common.evidence.entry import Entry
from common.evidence.events import RELEASE_SENT, STUDY_ENDED

EVALUATE = "evaluate"


@dataclass(frozen=True, slots=True)
class Made:
    """A study ended with this model.

    Attributes:
        number: Of the entry.
        study: The study's name.
        contract: Digest of its contract.
        weights: Digest of the weights.
        sha256: Of the model's file: its weights, its study and its calibration.
    """

    number: int
    study: str
    contract: str
    weights: str
    sha256: str

    @staticmethod
    def of(entry: Entry) -> Made | None:
        """What the entry says; None if it ends no study, or names no file."""
        facts = entry.facts
        if entry.event != STUDY_ENDED or "sha256" not in facts:
            return None
        study, contract, weights, sha256 = (
            str(facts.get(name, "")) for name in ("study", "contract", "digest", "sha256")
        )
        return Made(entry.number, study, contract, weights, sha256)


@dataclass(frozen=True, slots=True)
class Tested:
    """A site told how this model did on its test cases.

    Attributes:
        number: Of the entry.
        contract: Digest of the contract under which it was asked.
        weights: Digest of the weights.
    """

    number: int
    contract: str
    weights: str

    @staticmethod
    def of(entry: Entry) -> Tested | None:
        """What the entry says; None if it is no test of a model."""
        facts = entry.facts
        if entry.event != RELEASE_SENT or facts.get("message_type") != EVALUATE or "model" not in facts:
            return None
        return Tested(entry.number, str(facts.get("contract", "")), str(facts["model"]))
