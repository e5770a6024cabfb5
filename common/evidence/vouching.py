"""Whether a model's file is the one that a federation made, as its audit logs have it.

The coordinator's log names the file at the end of the study. Each site's log names the weights that it
tested, so a coordinator that exchanged the model, and rewrote the end of its own log, is contradicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import AuditBroken, ModelMissing, ModelNotInEvidence
from common.evidence.mention import Made
from common.evidence.verdict import COORDINATOR, Verdict
from common.evidence.verification import Report
from common.files import file_sha256
from common.weights import StoredWeights
from common.weights import digest as weights_digest

MODEL_FILE = "model.safetensors"
"""What a run's folder calls its model."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """What logs say of a model.

    Attributes:
        log: Name of the coordinator's log.
        made: The entry that names the model.
        tested_by: Number of the entry in which each site's log says that it tested the model, by the log's
            name; empty if no log of a site was given, or none that tells which model was tested.
    """

    log: str
    made: Made
    tested_by: Mapping[str, int]

    def __str__(self) -> str:
        made = self.made
        text = f"study {made.study}, contract {made.contract[:12]}, entry {made.number} of {self.log}"
        sites = ", ".join(f"{log} (entry {number})" for log, number in self.tested_by.items())
        return f"{text}; tested by {sites}" if sites else f"{text}; no log of a site here speaks of it"


def vouched(report: Report, place: Path) -> Vouched:
    """What logs say of the model in a file.

    Args:
        report: Of the logs.
        place: The file, or the folder of its run.

    Raises:
        AuditBroken: A log is not what was written.
        ModelMissing: There is no such file.
        ModelNotInEvidence: The logs name another one, or none.
        WeightsDamaged: It is the file that they name, and still none of a model.
    """
    if not report.is_whole:
        raise AuditBroken("\n".join(report.faults))
    model = place / MODEL_FILE if place.is_dir() else place
    try:
        sha256 = file_sha256(model)
    except OSError as error:
        raise ModelMissing(f"{model}: {error.strerror or error}") from None
    log, made = _made(report.verdicts, sha256)
    if weights_digest(StoredWeights(model)) != made.weights:
        raise ModelNotInEvidence(
            f"entry {made.number} of {log} names this file, and weights that are not its"
        )
    return Vouched(log, made, _tested_by(report.verdicts, made))


def _made(verdicts: Sequence[Verdict], sha256: str) -> tuple[str, Made]:
    """The last entry of a coordinator's log that names the file."""
    known = list(_all_made(verdicts))
    found = [(log, made) for log, made in known if made.sha256 == sha256]
    if found:
        return found[-1]
    if not any(verdict.owner == COORDINATOR for verdict in verdicts):
        raise ModelNotInEvidence("none of the logs is a coordinator's, which alone names finished models")
    named = "".join(f"\n  {made.sha256} of study {made.study}" for _, made in known) or " none"
    raise ModelNotInEvidence(f"the file's SHA-256 is {sha256}; the logs name{named}")


def _all_made(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, Made]]:
    for verdict in verdicts:
        if verdict.owner == COORDINATOR:
            yield from ((verdict.name, made) for made in verdict.made)


def _tested_by(verdicts: Sequence[Verdict], made: Made) -> dict[str, int]:
    found, others = {}, []
    for verdict in verdicts:
        tested = [each for each in verdict.tested if each.contract == made.contract]
        if verdict.owner == COORDINATOR or not tested:
            continue
        same = [each.number for each in tested if each.weights == made.weights]
        if same:
            found[verdict.name] = same[-1]
        else:
            others.append(verdict.name)
    if others and not found:
        raise ModelNotInEvidence(f"{', '.join(others)} tested models of this study, and not this one")
    return found
