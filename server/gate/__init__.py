"""Every update is checked before it counts; docs/gate.md says what is checked, when, and what follows.

The gate decides and keeps nothing: every function here is pure, and the history it decides by is a value that
the journal holds. A coordinator uses it so, and a resumed one the same way from the journalled history::

    history = History.begin(study)                       # or History.from_json(journalled)
    for number, base in rounds:
        left_out = suspended(history)                    # before sites are chosen: site -> SiteSuspended
        for site, content in replies:                    # as they arrive
            try:
                contribution = read_contribution(content)
                admit(contribution, site, number, base, digest(base), private=..., registered=...)
            except ConsiliumError as error:
                refused[site] = error                    # these and no others: not a site's own refusals
        judged = judge(history, contributions, base)     # once no more replies are waited for
        missing |= judged.quarantined                    # site -> UpdateRefused
        counted = judged.kept(contributions)             # quorum is asked of these
        part = [replace(one, delta=learnt(one.delta, base)) for one in counted]
        delta = complete(base, strategy.combine(number, part), counted)
        history = history.after(number, judged.scores, refused)   # in the transaction that closes the round
        journal(history.to_json(), [asdict(score) for score in judged.scores])

    history = history.readmit(site)                      # a person's decision

With ``[privacy.sites]`` the same calls are made: the history is closed, ``judge`` gives no scores and
quarantines nobody, ``after`` remembers nothing and ``suspended`` names nobody, so that only the mechanism's
noised sum depends on a site. There the mechanism is given ``learnt(base, base)`` and the learnt parts, and
``complete`` gets no contributions: counters, which no noise is on, stay as they are.
"""

from server.gate.admission import admit
from server.gate.buffers import complete, learnt
from server.gate.history import Admitted, History, suspended
from server.gate.judging import Judgement, judge
from server.gate.scores import Score
from server.gate.standing import Standing

__all__ = [
    "Admitted",
    "History",
    "Judgement",
    "Score",
    "Standing",
    "admit",
    "complete",
    "judge",
    "learnt",
    "suspended",
]
