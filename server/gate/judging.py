"""All updates of a round, judged together: who is quarantined, and how unusual the others are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.errors import UpdateRefused
from common.update import Contribution
from common.weights import Weights
from server.gate.buffers import learnt
from server.gate.history import History
from server.gate.lengths import Deviation, Length, check_length, deviations
from server.gate.scores import Score, mark_of
from server.gate.vectors import Direction, directions, length


@dataclass(frozen=True, slots=True)
class Judgement:
    """The scores of a round's updates, in the order of sites; none where nothing may be scored."""

    scores: tuple[Score, ...] = ()

    @property
    def quarantined(self) -> dict[str, UpdateRefused]:
        """Why updates that arrived in due form do not count, by site."""
        return {one.site: UpdateRefused(one.refused) for one in self.scores if one.refused}

    def kept(self, contributions: Sequence[Contribution]) -> tuple[Contribution, ...]:
        """The contributions that count, in the order given."""
        out = {(one.site, one.round) for one in self.scores if one.refused}
        return tuple(one for one in contributions if (one.site, one.round) not in out)


def judge(history: History, contributions: Sequence[Contribution], base: Weights) -> Judgement:
    """What the gate makes of a round's updates.

    Args:
        history: Of the rounds before.
        contributions: Admitted one by one, in any order; deltas may be read from disk as they are asked for.
            Every array is read three times, and one is held at a time beside a sum of its size.
        base: The model that they change.

    Raises:
        ValueError: Two of them are of one site and one round: one would count twice.
    """
    if history.closed:
        return Judgement()
    given = sorted(contributions, key=lambda one: (one.site, one.round))
    if len({(one.site, one.round) for one in given}) < len(given):
        raise ValueError("two contributions of one site and round")
    updates = [learnt(one.delta, base) for one in given]
    norms = [length(update) for update in updates]
    model = length(learnt(base, base))
    scores = [_measured(history, given, norms, index, model) for index in range(len(given))]
    found = directions(updates, norms, [not one.refused for one in scores])
    return Judgement(tuple(_marked(history, *pair) for pair in zip(scores, found, strict=True)))


def _measured(
    history: History, given: Sequence[Contribution], norms: Sequence[float], index: int, model: float
) -> Score:
    """An update's score by its length alone, refused if that is out of measure."""
    one, norm = given[index], norms[index]
    if not math.isfinite(norm):
        return Score(
            one.site, one.round, one.cases, None, None, None, None, refused="norm beyond all numbers"
        )
    lengths: list[Length] = [(size, other.cases) for size, other in zip(norms, given, strict=True)]
    before = [(known.site, (known.norm, known.cases)) for known in history.admitted]
    found = deviations(
        lengths[index],
        lengths[:index] + lengths[index + 1 :],
        [known for _, known in before],
        [known for site, known in before if site == one.site],
        noised=history.noised,
    )
    factor, z = (found[0].factor, found[0].z) if found else (None, None)
    refused = _refusal(norm, model, found)
    return Score(one.site, one.round, one.cases, norm, factor, z, None, refused=refused)


def _refusal(norm: float, model: float, found: Sequence[Deviation]) -> str:
    """Why a length is refused; empty if it is not."""
    try:
        check_length(norm, model, found)
    except UpdateRefused as error:
        return error.private
    return ""


def _marked(history: History, score: Score, found: Direction | None) -> Score:
    """A score with its cosine, and with its mark if the update counts."""
    score = replace(score, cosine=None if found is None else found.cosine)
    if score.refused:
        return score
    before = [known.cosine for known in history.admitted if known.site == score.site]
    return replace(score, mark=mark_of(found, before))
