"""All attacks on one site's private training, and what they say together.

Invariant: everything follows from the study, the cases and the seed. The noise is seeded, so what is
    trained here is never to be used: this is a simulation of an attack, and of the attacker's best
    position.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from common import __version__
from common.models import SequenceClassifier
from common.study import digest
from deploy.attack.canaries import ENGINE, STEPS, Effort, look
from deploy.attack.finding import Claim, Finding, Verdict
from deploy.attack.membership import infer
from deploy.attack.one_run import play
from deploy.attack.subject import Subject, without_dropout

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Audit:
    """What is claimed of one site's training, and what attacks showed.

    Attributes:
        study: Its name.
        study_digest: Which state of it.
        site: Whose training.
        seed: Of everything.
        claim: What the study promises.
        findings: One for each attack.
    """

    study: str
    study_digest: str
    site: str
    seed: int
    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def violations(self) -> tuple[Finding, ...]:
        """Those that contradict the claim."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.violated)

    def to_dict(self) -> dict[str, Any]:
        """As written to attack.json."""
        return {
            "study": self.study,
            "study_digest": self.study_digest,
            "site": self.site,
            "seed": self.seed,
            "version": __version__,
            "noise": "seeded: a simulation",
            "claim": asdict(self.claim),
            "findings": [finding.to_dict() for finding in self.findings],
            "violated": bool(self.violations),
        }


def attack(
    subject: Subject,
    shadows: int,
    step: Step = lambda _: None,
    engine: Effort = ENGINE,
    steps: Effort = STEPS,
) -> Audit:
    """What every attack shows of a site's training.

    Args:
        subject: Whom to attack.
        shadows: See :func:`deploy.attack.membership.infer`.
        step: Told what is being done.
        engine: See :func:`deploy.attack.canaries.look`.
        steps: See there.
    """
    states, target = _trained(subject, step)
    step("looking for canaries in single steps")
    findings = [*look(subject, states, engine, steps)]
    step("guessing which canaries were trained on")
    findings += play(subject)
    step("telling members from the trained model")
    findings += infer(subject, target, shadows, step)
    return Audit(
        study=subject.study.study.name,
        study_digest=digest(subject.study),
        site=subject.site,
        seed=subject.seed,
        claim=subject.claim,
        findings=tuple(findings),
    )


def _trained(subject: Subject, step: Step) -> tuple[dict[str, SequenceClassifier], SequenceClassifier]:
    """States along a training, none of which drops anything, and the trained model."""
    step("training the model that is attacked")
    rounds, states = subject.study.federation.rounds, {}
    training = subject.training(subject.train, subject.units, subject.plan.units, "target")
    for done, model in enumerate(training):
        if done in (0, rounds // 2, rounds):
            states[f"after {done} of {rounds} rounds"] = without_dropout(copy.deepcopy(model))
    return states, model
