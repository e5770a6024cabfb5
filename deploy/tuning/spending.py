"""What the trials of a private study would cost the patients, if each were a study of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from common.errors import StudyError, TrialsSpendBudget
from common.private.accounting import Accountant, epsilon_of
from common.private.event import Event
from common.private.plan import plan_of, target_delta
from common.study import Study
from deploy.tuning.candidates import Candidates
from deploy.tuning.search import Search

MOST_STUDIES = 256
"""Combinations of the ends of what is searched that are looked at for the dearest."""

MOST_STEPS = 20_000
"""Above it, the Rényi bound answers, which is as valid, a little larger, and quick."""

_DEAR = ("privacy.", "federation.rounds", "training.local_epochs")
"""Keys that a training's cost depends on."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What a site's patients would pay.

    Attributes:
        site: Whose.
        trainings: How many a patient has a part in, at most: all folds of a trial but the one in which the
            patient is held out.
        each: Epsilon of one training, at most.
        together: Epsilon of all of them.
        delta: At which.
    """

    site: str
    trainings: int
    each: float
    together: float
    delta: float


def spending(
    search: Search,
    candidates: Candidates,
    units: Mapping[str, tuple[int, int]],
    trials: int,
    folds: int,
) -> list[Spending]:
    """What each site's patients would pay for a search; empty where sites do not train privately.

    Args:
        search: What is searched; the dearest of its ends are taken.
        candidates: Its studies.
        units: Of each site: all its units of privacy, and the fewest that a fold trains on.
        trials: How many at most.
        folds: Of each.

    Raises:
        PrivacyUnreachable: No noise is enough for a target.
    """
    studies = [s for s in _dearest(search, candidates) if s.privacy is not None and s.privacy.at_sites]
    if not studies:
        return []
    count = trials * (folds - 1)
    return [_of_site(site, studies, whole, least, count) for site, (whole, least) in units.items()]


def require_consent(found: list[Spending], yes: bool) -> None:
    """Let a search pass that costs real patients nothing, or whose cost was accepted.

    Raises:
        TrialsSpendBudget: It costs something, and nobody has said yes.
    """
    if found and not yes:
        raise TrialsSpendBudget("\n".join(told(each) for each in found))


def told(spent: Spending) -> str:
    """One sentence for people."""
    return (
        f"{spent.site}: {spent.trainings} trainings that a patient has a part in, each up to epsilon "
        f"{spent.each:.3g}, cost epsilon {spent.together:.3g} together, at delta {spent.delta:.3g}"
    )


def _of_site(site: str, studies: list[Study], whole: int, least: int, count: int) -> Spending:
    priced = max((_price(study, whole, least) for study in studies), key=lambda price: price.epsilon)
    events = [Event(e.noise_multiplier, e.sample_rate, e.steps * count) for e in priced.events]
    by: Accountant = "rdp" if sum(event.steps for event in events) > MOST_STEPS else priced.accountant
    together = epsilon_of(events, priced.delta, by)
    return Spending(site, count, priced.epsilon, together, priced.delta)


@dataclass(frozen=True, slots=True)
class _Price:
    """What one training of a study spends at a site."""

    epsilon: float
    delta: float
    events: tuple[Event, ...]
    accountant: Accountant


def _price(study: Study, whole: int, least: int) -> _Price:
    assert study.privacy is not None  # noqa: S101  as studies are chosen
    delta, planned = target_delta(study.privacy, whole), plan_of(study, least)
    events = planned.events_after(planned.rounds)
    return _Price(epsilon_of(events, delta, planned.accountant), delta, events, planned.accountant)


def _dearest(search: Search, candidates: Candidates) -> Iterator[Study]:
    """Studies at the ends of what decides about the cost."""
    axes = [axis for axis in search.axes if axis.key.startswith(_DEAR)]
    combined = itertools.product(*(axis.ends for axis in axes))
    for chosen in itertools.islice(combined, MOST_STUDIES):
        try:
            yield candidates.of(dict(zip((axis.key for axis in axes), chosen, strict=True)))
        except StudyError:  # together these are no study, and so no trial
            continue
