"""What sites are asked to train in a round, and how what they answer is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from flwr.app import RecordDict

from common.balance import balanced_weights
from common.codecs import codec_of
from common.errors import UpdateRefused
from common.study import Study, to_canonical
from common.tasks import TrainTask, read_contribution, task_content, weights_record
from common.update import Contribution
from common.weights import Weights, spec_of
from server.gate import admit
from server.journal import RunJournal
from server.roster import Roster
from server.strategies import ClientTerms

HEADS = "ledger_heads"
MOST_STEPS = 2**40
"""Of a round's training: far more than there are."""

Reader = Callable[[RecordDict, str], Contribution]
"""Makes a contribution of what a site answered, which is not trusted; raises why it is not let in."""


class TrainOrders:
    """What a study's sites are asked to train.

    Args:
        study: What is run.
        seed: Decides every random choice of the sites that is not private.
        roster: Who is there.
        terms: What the strategy asks of them.
        journal: Knows the heads of their ledgers.
    """

    def __init__(
        self, study: Study, seed: int, roster: Roster, terms: ClientTerms, journal: RunJournal
    ) -> None:
        self._study, self._seed, self._roster = study, seed, roster
        self._terms, self._journal = terms, journal
        self._text, self._codec = to_canonical(study), codec_of(study.federation)
        self._private = study.privacy is not None and study.privacy.at_sites

    def heads(self) -> Mapping[str, str]:
        """The head that each site's ledger last had."""
        return dict(self._journal.known().get(HEADS, {}))

    def contents(
        self, sites: Sequence[str], number: int, base_digest: str, base: Weights
    ) -> dict[str, RecordDict]:
        """What each site is sent. They differ in the ledger's head alone, and share one record of weights."""
        if not sites:
            return {}
        task, record, known = self._task(number, base_digest), weights_record(base), self.heads()
        heads = {site: known.get(site, "") for site in sites}
        contents = {
            head: task_content(replace(task, ledger_head=head), record) for head in set(heads.values())
        }
        return {site: contents[head] for site, head in heads.items()}

    def reader(self, number: int, base_digest: str, base: Weights) -> Reader:
        """Reads answers to the task of a round from its base."""
        like = {name: spec_of(base, name) for name in base}

        def read(content: RecordDict, site: str) -> Contribution:
            contribution = read_contribution(content, self._codec, like)
            registered = self._roster.descriptions[site].train_cases
            admit(contribution, site, number, base, base_digest, private=self._private, registered=registered)
            self._check_steps(contribution)
            # A record may name its arrays in any order; strategies pair them by position.
            return replace(contribution, delta={name: contribution.delta[name] for name in base})

        return read

    def _check_steps(self, contribution: Contribution) -> None:
        """A site says how many steps it made where that is not the study's to say, and only there."""
        steps, by_time = contribution.steps, self._study.training.work_s is not None
        if (steps is not None) != by_time or (steps is not None and not 1 <= steps <= MOST_STEPS):
            raise UpdateRefused("a number of training steps that cannot be")

    def _task(self, number: int, base_digest: str) -> TrainTask:
        balanced = self._study.training.class_weights == "balanced"
        return TrainTask(
            study=self._text,
            seed=self._seed,
            round=number,
            base_digest=base_digest,
            proximal_mu=self._terms.proximal_mu,
            class_weights=balanced_weights(self._roster.label_counts()) if balanced else (),
            base_loss=self._terms.base_loss,
        )
