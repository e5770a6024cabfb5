"""Where a site stands: its bad rounds in a row, and whether they are enough to leave it out.

A round is bad for a site whose update the gate refused, or marked as turned against the others
(:mod:`server.gate.scores`). A round in which it gave a good update ends the row. A round in which it gave
nothing (it was not asked, did not answer, or refused by right) changes nothing. A site that is suspended
stays so until a person decides; time alone takes nobody back.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import SiteSuspended

PATIENCE = 3
"""Bad rounds in a row after which a site is suspended: one may be an accident, two a restart of it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A site's bad rounds in a row, the latest last, and why the latest was one."""

    site: str
    bad_rounds: tuple[int, ...]
    reason: str

    @property
    def suspended(self) -> bool:
        """Whether the site is left out until a person decides."""
        return len(self.bad_rounds) >= PATIENCE

    def error(self) -> SiteSuspended:
        """Why the site is left out, for the round's record."""
        rounds = ", ".join(map(str, self.bad_rounds))
        return SiteSuspended(
            f"bad updates in rounds {rounds}; the last: {self.reason}"[:500],
            hint=f"See what is wrong at {self.site}; then `consilium study readmit STUDY {self.site}`.",
        )


def stand(
    standings: tuple[Standing, ...], round_number: int, good: frozenset[str], bad: dict[str, str]
) -> tuple[Standing, ...]:
    """The standings after a round, in the order of the sites' names; sites without a bad round have none.

    Args:
        standings: Before the round.
        round_number: The round's.
        good: Sites that gave an update with nothing against it.
        bad: Why the update of each other site that gave one was bad.
    """
    before = {one.site: one for one in standings}
    after = {site: one for site, one in before.items() if one.suspended or site not in good}
    for site, reason in bad.items():
        known = before.get(site)
        if known is None or not known.suspended:
            rounds = (*(known.bad_rounds if known else ()), round_number)
            after[site] = Standing(site, rounds, reason[:200])
    return tuple(after[site] for site in sorted(after))


def readmitted(standings: tuple[Standing, ...], site: str) -> tuple[Standing, ...]:
    """The standings once a person has let a site come back: it begins with nothing against it."""
    return tuple(one for one in standings if one.site != site)
