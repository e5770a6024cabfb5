"""All attacks on one site's private training, and what they say together.

Invariant: everything follows from the study, the cases and the seed. The noise is seeded, so what is trained here
is never to be used: this is a simulation of an attack, and of the attacker's best position.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from client.trainer import predict
from common import __version__
from common.models import SequenceClassifier
from common.private.secret import Secret
from common.seeds import derive_seed
from common.sequences import SequenceBatch
from deploy.attack import canaries, membership, one_run
from deploy.attack.crafting import SCALES, clearest, crafted, direction, of_unit
from deploy.attack.finding import Claim, Finding, Verdict
from deploy.attack.own_gradient import own_gradient, trainable
from deploy.attack.releases import Engine, WholeStep
from deploy.attack.scenes import COMPANIONS, Scene, scenes
from deploy.attack.stage import Released, Stage
from deploy.attack.subject import Subject, without_dropout

CANARIES = 64
"""Units with a coin each in the one-run audit; on average half of them are trained on."""

CANDIDATES = 8
"""Patients of whom canaries for a step are made."""

WINDOWS = 12
"""Parts of a training, between which the one-run audit looks at the weights."""

CHOOSING, RELEASES = 150, 8000
"""Releases of either kind to choose a stage by, and for the bound."""

STEPS_CHOOSING, STEPS = 50, 500
"""The same for whole steps of training, each of which costs a forward and a backward pass."""

NORMALS = 10**9
"""Noise values that the bound may take; a larger model gets fewer releases."""

SECURE_COST = 10
"""How many times a value from the cryptographic source costs one from torch's generator."""

Step = Callable[[str], None]
Release = Callable[[Sequence[SequenceBatch]], Released]


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


def attack(subject: Subject, shadows: int, step: Step = lambda _: None) -> tuple[Finding, ...]:
    """What each attack shows.

    Args:
        subject: Whom to attack.
        shadows: Shadow models for the likelihood ratio, rounded down to an even number; fewer than two leave
            that attack away.
        step: Told what is being done.
    """
    step("training the model that is attacked")
    rounds = subject.study.federation.rounds
    states, target = {}, None
    for done, model in enumerate(subject.training(subject.train, subject.units, subject.plan.units, "target")):
        target = model
        if done in (0, rounds // 2, rounds):
            states[f"after {done} of {rounds} rounds"] = without_dropout(copy.deepcopy(model))
    assert target is not None  # noqa: S101  there is a state before the first round
    return (
        *_white_box(subject, states, step),
        *_one_run(subject, step),
        *_membership(subject, target, shadows, step),
    )


def _white_box(subject: Subject, states: dict[str, SequenceClassifier], step: Step) -> Iterator[Finding]:
    claim = subject.claim
    step("looking for canaries in single steps")
    engine: list[Stage] = []
    whole: list[Stage] = []
    for name, model in states.items():
        seed = derive_seed(subject.seed, "attack", "canaries", name)
        found = list(_scenes(subject, model, seed))
        clipping = Engine(model, subject.plan, subject.plan.clip_norm, Secret.seeded(seed, "engine"))
        stages = WholeStep(model, subject.plan, subject.plan.clip_norm, subject.study.training, seed)
        engine += [_stage(scene, name, model, clipping.releasing, claim) for scene in found]
        whole = [_stage(scene, name, model, stages.releasing, claim) for scene in found]  # of the last state
    parameters = sum(weight.numel() for weight in trainable(next(iter(states.values()))))
    cost = parameters * (SECURE_COST if subject.plan.secure_noise else 1)
    releases = max(STEPS, min(RELEASES, NORMALS // (2 * cost)))
    yield canaries.measure("canaries, clipping and noise", engine, claim, CHOOSING, releases)
    step("looking for canaries in whole steps of training")
    yield canaries.measure("canaries, whole steps", whole, claim, STEPS_CHOOSING, STEPS)


def _scenes(subject: Subject, model: SequenceClassifier, seed: int) -> Iterator[Scene]:
    draw = torch.Generator().manual_seed(seed)
    classes, most = len(subject.study.study.classes), subject.plan.max_cases_per_patient
    order = torch.randperm(subject.plan.units, generator=draw)[: CANDIDATES + COMPANIONS].tolist()
    units = [of_unit(subject.train, subject.units, unit, most) for unit in order]
    made = [crafted(unit, classes, scale, draw) for unit in units[:CANDIDATES] for scale in SCALES]
    return scenes(clearest(model, made), units[CANDIDATES:], draw)


def _stage(scene: Scene, state: str, model: SequenceClassifier, releasing: Release, claim: Claim) -> Stage:
    gradient = own_gradient(model, scene.units[scene.canary]) / len(scene.units[scene.canary])
    return Stage(
        name=f"{scene.name}, {state}",
        present=releasing(scene.units),
        without=releasing(scene.without),
        direction=direction(gradient),
        reach=float(gradient.norm()) / claim.clip_norm,
    )


def _one_run(subject: Subject, step: Step) -> tuple[Finding, ...]:
    step("guessing which canaries were trained on")
    plan, draw = subject.plan, torch.Generator().manual_seed(derive_seed(subject.seed, "attack", "one run"))
    classes = len(subject.study.study.classes)
    units = [
        crafted(of_unit(subject.train, subject.units, number % plan.units, 1), classes, SCALES[1], draw)
        for number in range(CANARIES)
    ]
    inside = torch.rand(CANARIES, generator=draw) < 0.5
    there = inside.nonzero().flatten()
    cases = SequenceBatch.concatenate([subject.train, *(units[number] for number in there.tolist())])
    owners = torch.cat([subject.units, plan.units + there])
    training = subject.training(cases, owners, plan.units + CANARIES, "one run")
    every = -(-subject.study.federation.rounds // WINDOWS)
    scores = one_run.scores(islice(training, 0, None, every), units)
    return one_run.measure(one_run.guess(scores, inside), subject.claim)


def _membership(
    subject: Subject, target: SequenceClassifier, shadows: int, step: Step
) -> Iterator[Finding]:
    if not len(subject.test):
        return
    count = subject.plan.units
    cases = SequenceBatch.concatenate([subject.train, subject.test])
    units = torch.cat([subject.units, count + subject.test_units])
    scores = _confidences(target, cases, units)
    yield membership.measure(
        "membership by loss", "Yeom et al. 2018", scores[:count], scores[count:], subject.claim
    )
    if shadows < 2:
        return
    ratios = _ratios(subject, cases, units, scores, shadows, step)
    yield membership.measure(
        "membership by likelihood ratio", "Carlini et al. 2022", ratios[:count], ratios[count:], subject.claim
    )


def _ratios(
    subject: Subject,
    cases: SequenceBatch,
    units: torch.Tensor,
    scores: torch.Tensor,
    shadows: int,
    step: Step,
) -> torch.Tensor:
    """(U,) likelihood ratios; each pair of shadow models divides the units between it."""
    draw = torch.Generator().manual_seed(derive_seed(subject.seed, "attack", "shadows"))
    total, found, trained_on = len(scores), [], []
    for pair in range(shadows // 2):
        first = torch.randperm(total, generator=draw) < total // 2
        for half, chosen in enumerate((first, ~first)):
            number = 2 * pair + half + 1
            step(f"training shadow models: {number} of {2 * (shadows // 2)}")
            rows = chosen[units].nonzero().flatten()
            places = chosen.cumsum(0) - 1
            model = _last(
                subject.training(cases.take(rows), places[units[rows]], int(chosen.sum()), f"shadow {number}")
            )
            found.append(_confidences(model, cases, units))
            trained_on.append(chosen)
    return membership.likelihood_ratios(scores, torch.stack(found), torch.stack(trained_on))


def _confidences(model: SequenceClassifier, cases: SequenceBatch, units: torch.Tensor) -> torch.Tensor:
    return membership.confidences(predict(model, cases), cases.labels.cpu(), units)


def _last(training: Iterator[SequenceClassifier]) -> SequenceClassifier:
    *_, model = training
    return model
