"""One-run auditing: guess, from a single training, which of many canaries were in it.

Each canary is in or out by a coin of its own. A score says how far the released weights moved along the
canary's own gradient, part by part of the training; the highest are guessed in, the lowest out, the rest
left open (Steinke, Nasr and Jagielski 2023). How many to guess is not chosen by how well it went: a few
numbers are tried and each is held to a stricter confidence (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch

from common.models import SequenceClassifier
from common.private.accounting import epsilon_of
from common.private.event import Event
from common.seeds import derive_seed
from common.sequences import SequenceBatch
from deploy.attack.bounds import Guesses, epsilon_of_guesses, mu_of_guesses
from deploy.attack.crafting import crafted, direction, of_unit
from deploy.attack.finding import CONFIDENCE, CONVICTION, Claim, Finding, Verdict
from deploy.attack.own_gradient import flat, own_gradient, trainable
from deploy.attack.subject import Subject
from deploy.attack.trade_off import epsilon_of_mu, mu_of_epsilon

Bound = Callable[[tuple[Guesses, ...], float], float]
"""From guesses and a confidence to a lower bound on epsilon."""

CANARIES = 64
"""Units with a coin each; on average half of them are trained on."""

SCALE = 3.0
"""How much their values are enlarged."""

WINDOWS = 12
"""Parts of the training, between which the weights are looked at."""

SHARES = (0.25, 0.5, 0.75)
"""Of the canaries, how many guesses are made."""

_EXPERIMENTS = 200


def play(subject: Subject) -> tuple[Finding, Finding]:
    """What one training with canaries shows; see :func:`measure`."""
    plan, draw = subject.plan, torch.Generator().manual_seed(derive_seed(subject.seed, "attack", "one run"))
    classes = len(subject.study.study.classes)
    canaries = [
        crafted(of_unit(subject.train, subject.units, number % plan.units, 1), classes, SCALE, draw)
        for number in range(CANARIES)
    ]
    inside = torch.rand(CANARIES, generator=draw) < 0.5
    there = inside.nonzero().flatten()
    cases = SequenceBatch.concatenate([subject.train, *(canaries[number] for number in there.tolist())])
    owners = torch.cat([subject.units, plan.units + there])
    training = subject.training(cases, owners, plan.units + CANARIES, "one run")
    every = -(-subject.study.federation.rounds // WINDOWS)
    return measure(guess(scores(islice(training, 0, None, every), canaries), inside), subject.claim)


def scores(training: Iterator[SequenceClassifier], canaries: Sequence[SequenceBatch]) -> torch.Tensor:
    """(m,) how far a training moved against each canary's own gradient, summed over its parts.

    Args:
        training: The model at the beginning and at the end of each part of a training.
        canaries: One unit each.
    """
    model = next(training)
    found = torch.zeros(len(canaries))
    directions, before = _directions(model, canaries), flat(trainable(model))
    for model in training:
        after = flat(trainable(model))
        found += (directions @ (before - after)).cpu()
        directions, before = _directions(model, canaries), after
    return found


def _directions(model: SequenceClassifier, canaries: Sequence[SequenceBatch]) -> torch.Tensor:
    """(m, P)."""
    return torch.stack([direction(own_gradient(model, canary)) for canary in canaries])


def guess(scores: torch.Tensor, inside: torch.Tensor) -> tuple[Guesses, ...]:
    """What comes of guessing, for each number of guesses.

    Args:
        scores: (m,) the higher, the likelier it was in.
        inside: (m,) bool, whether it was.
    """
    m = len(scores)
    sorted_by_score = inside[scores.argsort(stable=True)]
    return tuple(
        Guesses(m, 2 * half, int((~sorted_by_score[:half]).sum() + sorted_by_score[m - half :].sum()))
        for half in _halves(m)
    )


def measure(guesses: tuple[Guesses, ...], claim: Claim) -> tuple[Finding, Finding]:
    """What the guesses show: by the bound for any mechanism, and by the one for a Gaussian trade-off."""
    halved = epsilon_of(
        [Event(claim.noise_multiplier / 2, claim.sample_rate, claim.steps)], claim.delta, claim.accountant
    )
    canaries = guesses[0].canaries
    best, at_half = perfect(canaries), expected(canaries, mu_of_epsilon(halved, claim.delta))

    def finding(attack: str, source: str, bound: Bound, observed: str, beyond: Verdict) -> Finding:
        shown, visible, seen = (bound(each, CONFIDENCE) for each in (guesses, best, at_half))
        return Finding(
            attack=attack,
            source=source,
            observations=canaries,
            observed=observed,
            epsilon=shown,
            visible=visible,
            power=_power(canaries, visible, halved, seen, claim.epsilon),
            verdict=beyond if bound(guesses, CONVICTION) > claim.epsilon else Verdict.not_violated,
            figures={"epsilon_at_half_noise": halved, "epsilon_expected_at_half_noise": seen},
        )

    def epsilon(seen: tuple[Guesses, ...], confidence: float) -> float:
        return max(epsilon_of_guesses(each, claim.delta, _stricter(confidence)) for each in seen)

    def gaussian(seen: tuple[Guesses, ...], confidence: float) -> float:
        return epsilon_of_mu(max(mu_of_guesses(each, _stricter(confidence)) for each in seen), claim.delta)

    told = ", ".join(f"{each.right} of {each.made}" for each in guesses)
    return (
        finding("one run", "Steinke et al. 2023", epsilon, f"guesses right: {told}", Verdict.violated),
        finding(
            "one run, Gaussian trade-off",
            "Mahloujifar et al. 2024",
            gaussian,
            "the same guesses, if the trade-off of the whole training is a Gaussian one",
            Verdict.indication,
        ),
    )


def perfect(canaries: int) -> tuple[Guesses, ...]:
    """Every guess right."""
    return tuple(Guesses(canaries, 2 * half, 2 * half) for half in _halves(canaries))


def expected(canaries: int, mu: float) -> tuple[Guesses, ...]:
    """What is to be expected where the training is mu-GDP and no canary is in another's way.

    Each score is then N(0, 1) without the canary and N(mu, 1) with it; the medians of a simulation.
    """
    draw = torch.Generator().manual_seed(0)
    inside = torch.rand(_EXPERIMENTS, canaries, generator=draw) < 0.5
    scores = torch.randn(_EXPERIMENTS, canaries, generator=draw) + mu * inside
    right = torch.tensor(
        [[each.right for each in guess(s, i)] for s, i in zip(scores, inside, strict=True)], dtype=torch.int64
    )
    return tuple(
        Guesses(canaries, 2 * half, int(count))
        for half, count in zip(_halves(canaries), right.median(dim=0).values, strict=True)
    )


def _power(canaries: int, visible: float, halved: float, seen: float, claimed: float) -> str:
    could = "it could see that" if seen > claimed else "alone it cannot see that"
    return (
        f"Had every guess been right, {canaries} canaries would show {visible:.2f}. With half the noise "
        f"epsilon would be {halved:.1f}, and this attack should at best show {seen:.2f}: {could}."
    )


def _halves(canaries: int) -> list[int]:
    """Half of each number of guesses: as many are guessed in as out."""
    return [max(1, int(share * canaries / 2)) for share in SHARES]


def _stricter(confidence: float) -> float:
    """For each of the numbers of guesses, so that all of them together have ``confidence``."""
    return 1 - (1 - confidence) / len(SHARES)
