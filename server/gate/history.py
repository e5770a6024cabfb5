"""What is known of a study's updates: how long they usually are, which way they point, and who stands how.

Invariants: a history is a function of the study and of the rounds entered, each once and in order; within a
round of the sites' names and not of who answered first. It holds no array, and no more than the last
``WINDOW`` rounds and the sites with bad rounds, so it does not grow with the study. A coordinator that comes
back with the history it journalled decides as if it had never been away.

In a study with ``[privacy.sites]`` a history is *closed*: it takes nothing in, so that nothing about a single
site is kept, decides anything, or can be shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from common.errors import ConsiliumError, SiteSuspended
from common.study import Study
from server.gate.scores import Score
from server.gate.standing import Standing, readmitted, stand

WINDOW = 10
"""Rounds that are remembered: updates grow shorter as a model settles, and the old ones say less."""
MOST_REMEMBERED = 1000
"""Updates that are remembered, however many sites a round has."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What is remembered of an update that was let in.

    Attributes:
        site: Who gave it.
        round: In which round it counted.
        norm: Its length.
        cases: Its weight.
        cosine: To the others of its round; None where there was none, or it was marked for it.
    """

    site: str
    round: int
    norm: float
    cases: int
    cosine: float | None


@dataclass(frozen=True, slots=True)
class History:
    """The rounds of a study so far, as the gate remembers them.

    Attributes:
        closed: Whether nothing may be remembered (``[privacy.sites]``).
        noised: Whether updates are noised at the sites (``[privacy]``), which is seen in their lengths.
        round: The last round entered; 0 before the first.
        admitted: Updates of the last rounds, in the order of rounds and then of sites.
        standings: Sites with bad rounds, in the order of their names.
    """

    closed: bool = False
    noised: bool = False
    round: int = 0
    admitted: tuple[Admitted, ...] = ()
    standings: tuple[Standing, ...] = ()

    @staticmethod
    def begin(study: Study) -> History:
        """The history before a study's first round."""
        privacy = study.privacy
        if privacy is None:
            return History()
        return History(closed=privacy.sites is not None, noised=privacy.at_sites)

    def after(
        self, round_number: int, scores: tuple[Score, ...], refused: Mapping[str, ConsiliumError]
    ) -> History:
        """The history once a round is over.

        Args:
            round_number: The round's, later than every round entered.
            scores: Of the round's updates, as :func:`server.gate.judge` gave them.
            refused: Why an answer was not let in as it was read, by site; not a site's own refusals, and not
                that it did not answer.

        Raises:
            ValueError: The round has been entered: nothing may count twice.
        """
        if self.closed:
            return self
        if round_number <= self.round:
            raise ValueError(f"round {round_number} comes after round {self.round}, which has been entered")
        bad = {site: f"{error.code}: {error.private}" for site, error in refused.items()}
        bad |= {one.site: one.why for one in scores if one.bad}
        good = frozenset(one.site for one in scores) - bad.keys()
        recent = tuple(one for one in self.admitted if one.round > round_number - WINDOW)
        return replace(
            self,
            round=round_number,
            admitted=(recent + _remembered(round_number, scores))[-MOST_REMEMBERED:],
            standings=stand(self.standings, round_number, good, bad),
        )

    def readmit(self, site: str) -> History:
        """The history once a person has decided that a site may come back."""
        return replace(self, standings=readmitted(self.standings, site))

    def to_json(self) -> str:
        """The history as the journal keeps it: equal histories give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @staticmethod
    def from_json(text: str) -> History:
        """The history that :meth:`to_json` wrote."""
        told = json.loads(text)
        return History(
            closed=told["closed"],
            noised=told["noised"],
            round=told["round"],
            admitted=tuple(Admitted(**one) for one in told["admitted"]),
            standings=tuple(
                Standing(one["site"], tuple(one["bad_rounds"]), one["reason"]) for one in told["standings"]
            ),
        )


def suspended(history: History) -> dict[str, SiteSuspended]:
    """Who is not to be asked, and why, in the order of the names; nobody in a closed history."""
    return {one.site: one.error() for one in history.standings if one.suspended}


def _remembered(round_number: int, scores: tuple[Score, ...]) -> tuple[Admitted, ...]:
    return tuple(
        Admitted(one.site, round_number, one.norm, one.cases, None if one.mark else one.cosine)
        for one in sorted(scores, key=lambda one: (one.site, one.round))
        if not one.refused and one.norm is not None
    )
