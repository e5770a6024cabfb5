"""How unusual each update of a round is: its length, and its angle to the others.

A score is shown and journalled; what may follow from it stands here and in :mod:`server.gate.lengths`.

Length: refused where it is out of all measure. Angle: never refused. Hospitals differ, and with few of them
each pulls its own way: on the chest X-rays of three hospitals honest updates have cosines of -0.08 to -0.50
to the others, and a hospital whose patients are all ill has -0.4 to -0.6 to nine others that agree among
themselves, which is what a sign flip looks like. So an update against others that agree is *marked*, and a
person sees it. Only one from a site whose own last updates were with the others is marked as *turned*, and
counts as a bad round.

What may be scored: with ``[privacy]`` at the sites their updates are noised before they leave, so lengths and
angles of them cost no patient anything more. With ``[privacy.sites]`` an update itself is the secret: nothing
is scored (the history is closed, and :func:`server.gate.judge` gives nothing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from common.errors import UpdateRefused
from server.gate.vectors import Direction

AGAINST: Literal["against"] = "against"
TURNED: Literal["turned"] = "turned"
Mark = Literal["", "against", "turned"]

FEWEST_OTHERS = 3
"""With fewer there is no majority to be against."""
AGREEMENT = 0.05
"""Mean cosine between two of the others from which on they agree. Unrelated updates have 0; those of the nine
other sites 0.22 to 0.29, where the tenth is the one of a single class, and 0.09 to 0.17 else."""
WITH = 0.3
"""Cosine to the others' mean from which on an update is with them, and under minus which against them."""
BEFORE = 3
"""A site's own last updates that must all have been with the others for the next to have turned."""


@dataclass(frozen=True, slots=True)
class Score:
    """What the gate saw in one update, every value one that JSON has.

    Attributes:
        site: Who gave it.
        round: What it was trained for.
        cases: Its weight.
        norm: Its length, counters left out; None where it is beyond float64.
        factor: Length as a multiple of what is usual in its round; None where too few were there to tell.
        z: Its distance from that in robust standard deviations; None as before.
        cosine: To the mean direction of the others; None without others, or without a direction.
        mark: ``against`` or ``turned``, see above; empty for neither.
        refused: Why it does not count; empty if it does.
    """

    site: str
    round: int
    cases: int
    norm: float | None
    factor: float | None
    z: float | None
    cosine: float | None
    mark: Mark = ""
    refused: str = ""

    @property
    def bad(self) -> bool:
        """Whether the update makes this a bad round for its site."""
        return bool(self.refused) or self.mark == TURNED

    @property
    def why(self) -> str:
        """What is bad about it, as a person reads it; empty if nothing is."""
        if self.refused:
            return f"{UpdateRefused.code}: {self.refused}"
        return f"turned against the others (cosine {self.cosine:.2f})" if self.mark == TURNED else ""


def mark_of(found: Direction | None, before: Sequence[float | None]) -> Mark:
    """The mark of an update.

    Args:
        found: Where it points.
        before: Cosines of its site's earlier updates, the latest last; None for one that was marked.
    """
    if found is None or found.others < FEWEST_OTHERS or found.agreement < AGREEMENT or found.cosine > -WITH:
        return ""
    own = [one for one in before if one is not None][-BEFORE:]
    return TURNED if len(own) == BEFORE and min(own) >= WITH else AGAINST
