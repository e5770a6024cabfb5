"""From what an attack was seen to achieve to what the mechanism cannot be better than.

Each bound is below the truth in at least ``confidence`` of all experiments. A count of successes can only
raise it: more right guesses, fewer errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from deploy.attack.binomial import at_least, masses, upper_rate
from deploy.attack.trade_off import fewest_false_alarms, separation

MOST_EPSILON, MOST_MU = 50.0, 50.0
"""Where the searches end; no number of observations that fits a memory reaches these."""

_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Errors:
    """How often a test was wrong about whether a unit was there.

    Attributes:
        false_alarms: Of ``without`` observations without the unit, those that were called with it.
        without: Observations without the unit.
        misses: Of ``present`` observations with the unit, those that were called without it.
        present: Observations with the unit.
    """

    false_alarms: int
    without: int
    misses: int
    present: int

    def rates_at_most(self, confidence: float) -> tuple[float, float]:
        """Largest rates of false alarms and misses that fit, both at once with ``confidence``.

        Half of what may go wrong goes to each, so the two counts need not be independent.
        """
        each = (1 + confidence) / 2
        return (
            upper_rate(self.false_alarms, self.without, each),
            upper_rate(self.misses, self.present, each),
        )


def mu_of_errors(errors: Errors, confidence: float) -> float:
    """Lower bound on mu, for a mechanism whose trade-off is at least that of a Gaussian one.

    ``Phi^-1(1 - alpha) - Phi^-1(beta)`` at the largest alpha and beta that fit (Nasr et al. 2023, "Tight
    auditing of differentially private machine learning", section 4).
    """
    return separation(*errors.rates_at_most(confidence))


def epsilon_of_errors(errors: Errors, delta: float, confidence: float) -> float:
    """Lower bound on the epsilon of any (epsilon, delta) guarantee.

    ``max(log((1 - delta - alpha) / beta), log((1 - delta - beta) / alpha))`` (Kairouz, Oh and Viswanath 2015,
    Thm 2.1) at the largest alpha and beta that fit.
    """
    alpha, beta = errors.rates_at_most(confidence)
    ratios = ((1 - delta - alpha) / beta, (1 - delta - beta) / alpha)
    return max((math.log(ratio) for ratio in ratios if ratio > 1.0), default=0.0)


@dataclass(frozen=True, slots=True)
class Guesses:
    """What came of guessing, in one training, which canaries were in it.

    Attributes:
        canaries: How many there were, each in with probability 1/2 by a coin of its own.
        made: For how many a guess was made, a number that does not depend on the coins.
        right: How many of the guesses were right.
    """

    canaries: int
    made: int
    right: int


def epsilon_of_guesses(guesses: Guesses, delta: float, confidence: float) -> float:
    """Lower bound on the epsilon of any (epsilon, delta) guarantee, from one training.

    It is the largest epsilon under which so many right guesses are too improbable (Steinke, Nasr and
    Jagielski 2023, "Privacy auditing with one (1) training run", Thm 5.2): with W binomial of ``made`` trials
    of probability ``e^epsilon / (e^epsilon + 1)``, v = ``right`` and m = ``canaries``,
    ``P[at least v right] <= P[W >= v] + 2 m delta max_i P[v > W >= v - i] / i``.
    """
    return _largest(lambda epsilon: guessing_chance(guesses, epsilon, delta) <= 1 - confidence, MOST_EPSILON)


def guessing_chance(guesses: Guesses, epsilon: float, delta: float) -> float:
    """The largest probability of so many right guesses; see :func:`epsilon_of_guesses`."""
    v, made = guesses.right, guesses.made
    likely = 1 / (1 + math.exp(-epsilon))
    chance = at_least(v, made, likely)
    if v == 0 or delta == 0.0:
        return chance
    below: list[float] = masses(made, likely)[:v].flip(0).cumsum(0).tolist()  # P[v > W >= v - i], i = 1..v
    slope = max(mass / i for i, mass in enumerate(below, start=1))
    return min(1.0, chance + 2 * guesses.canaries * delta * slope)


def mu_of_guesses(guesses: Guesses, confidence: float) -> float:
    """Lower bound on the mu of a whole training whose trade-off is a Gaussian one, from one training.

    It uses the trade-off at every error rate, not at one, and is the tighter for it (Mahloujifar, Melis and
    Chaudhuri 2024, "Auditing f-differential privacy in one run", Alg. 3 and 4).
    """
    return _largest(lambda mu: mu == 0.0 or _too_many(guesses, mu, 1 - confidence), MOST_MU)


def _too_many(guesses: Guesses, mu: float, chance: float) -> bool:
    """Whether at least ``right`` right guesses have probability at most ``chance`` under mu-GDP.

    Let p_i be the probability of i right guesses of c' made for m canaries. If more than ``chance`` lay at
    ``right`` and above, the trade-off would force so much below it, step by step downwards, that all p_i
    together exceeded 1: ``r`` and ``h`` are the sums of ``p_i i / m`` and of ``p_i (c' - i) / m`` so far.
    """
    made, right, canaries = guesses.made, guesses.right, guesses.canaries
    r, h = chance * right / canaries, chance * (made - right) / canaries
    for i in range(right - 1, -1, -1):
        forced = fewest_false_alarms(r, mu)
        if forced > h:
            r, h = min(1.0, r + i / (made - i) * (forced - h)), forced
    return r + h > made / canaries


def _largest(holds: Callable[[float], bool], most: float) -> float:
    """The largest value at which ``holds`` does, which holds up to some value and from there on no more."""
    if not holds(0.0):
        return 0.0
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
