"""One round: ask, check, combine; and counting how the model does.

Invariant: what a round gives depends on who contributed, not on who answered first. Contributions are
combined, and counts summed, in the order of the sites' names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from flwr.app import MessageType, RecordDict
from flwr.serverapp import Grid

from common.balance import balanced_weights
from common.errors import (
    ConsiliumError,
    ModelDiverged,
    NothingLearned,
    QuorumNotReached,
    SiteRefused,
    TaskInvalid,
    UpdateRefused,
)
from common.study import Study, to_canonical
from common.tasks import (
    EvaluateTask,
    Evaluation,
    TrainTask,
    read_contribution,
    read_evaluation,
    task_content,
    weights_record,
)
from common.update import Contribution
from common.weights import Weights, add, digest, norm
from server.exchange import NO_REPLY, ask
from server.gate import admit
from server.roster import Roster, reasons
from server.selection import select_sites
from server.strategies import Strategy

Answer = TypeVar("Answer")
DESCRIBE_S = 60.0  # a newcomer that takes longer is asked again next round


@dataclass(frozen=True, slots=True, eq=False)
class TrainedRound:
    """What a round of training gave: the new model, who made it, and who did not and why."""

    weights: Weights
    contributions: tuple[Contribution, ...]
    missing: Mapping[str, str]


class RoundEngine:
    """Runs rounds of one study over a Grid."""

    def __init__(
        self,
        grid: Grid,
        study: Study,
        seed: int,
        roster: Roster,
        strategy: Strategy,
        *,
        strict: bool = False,
    ) -> None:
        """An engine that goes on without sites that refuse a task or, if ``strict``, stops at the first."""
        self._grid = grid
        self._study = study
        self._text = to_canonical(study)
        self._seed = seed
        self._roster = roster
        self._strategy = strategy
        self._strict = strict

    def train(self, round_number: int, base: Weights) -> TrainedRound:
        """One round of training from ``base``.

        Raises:
            QuorumNotReached: Fewer usable contributions than ``min_sites``.
            NothingLearned: The strategy got too few, or the contributions changed nothing.
            ModelDiverged: The new weights are not finite.
        """
        federation = self._study.federation
        self._roster.refresh(self._grid, self._study, min(federation.deadline_s, DESCRIBE_S))
        chosen = select_sites(
            list(self._roster.nodes),
            federation.fraction_sites,
            federation.min_sites,
            self._seed,
            round_number,
        )
        task = self._train_task(round_number, digest(base))
        read = self._reader(task, base)
        given, missing = self._ask(chosen, MessageType.TRAIN, task, base, read)
        missing = {**reasons(self._roster.refused), **missing}
        if len(given) < federation.min_sites:
            raise QuorumNotReached(_quorum(round_number, len(given), federation.min_sites, missing))
        contributions = tuple(given[site] for site in sorted(given))
        delta = self._strategy.combine(round_number, contributions)
        if norm(delta) == 0:
            raise NothingLearned(f"round {round_number}: the contributions change nothing")
        weights = add(base, delta)
        if not math.isfinite(norm(weights)):
            raise ModelDiverged(f"round {round_number}: the combined weights are not finite")
        return TrainedRound(weights, contributions, missing)

    def evaluate(self, round_number: int, weights: Weights) -> dict[str, Evaluation]:
        """Counts of every site that has test cases and answers, by name in order."""
        sites = [s for s in sorted(self._roster.nodes) if self._roster.descriptions[s].test_cases]
        task = EvaluateTask(self._text, round_number, digest(weights))
        classes = len(self._study.study.classes)

        def read(content: RecordDict, site: str) -> Evaluation:
            evaluation = read_evaluation(content, classes)
            if (evaluation.site, evaluation.base_digest) != (site, task.base_digest):
                raise TaskInvalid("evaluation of another site or model")
            if evaluation.sums.n > self._roster.descriptions[site].test_cases:
                raise TaskInvalid("evaluation of more cases than the site described")
            return evaluation

        given, _ = self._ask(sites, MessageType.EVALUATE, task, weights, read)
        return {site: given[site] for site in sorted(given)}

    def _ask(
        self,
        sites: Sequence[str],
        message_type: str,
        task: TrainTask | EvaluateTask,
        weights: Weights,
        read: Callable[[RecordDict, str], Answer],
    ) -> tuple[dict[str, Answer], dict[str, str]]:
        """What the sites answered as read by ``read``, and why others did not; both by name."""
        content = task_content(task, weights_record(weights))
        names = {self._roster.nodes[site]: site for site in sites}
        given: dict[str, Answer] = {}
        missing: dict[str, str] = {}
        contents = dict.fromkeys(names, content)
        group = f"{message_type}-{task.round}"
        for reply in ask(self._grid, contents, message_type, group, self._study.federation.deadline_s):
            site = names[reply.node_id]
            if reply.refusal is not None or reply.content is None:
                missing[site] = str(reply.refusal)
                if self._strict and reply.refusal is not None and reply.refusal.code != NO_REPLY:
                    raise SiteRefused(f"{site}: {reply.refusal}", hint=reply.refusal.hint)
                continue
            try:
                given[site] = read(reply.content, site)
            except ConsiliumError as error:
                missing[site] = f"{error.code}: {error.private}"[:500]
        return given, missing

    def _train_task(self, round_number: int, base_digest: str) -> TrainTask:
        terms = self._strategy.terms
        balanced = self._study.training.class_weights == "balanced"
        return TrainTask(
            study=self._text,
            seed=self._seed,
            round=round_number,
            base_digest=base_digest,
            proximal_mu=terms.proximal_mu,
            class_weights=balanced_weights(self._roster.label_counts()) if balanced else (),
            base_loss=terms.base_loss,
        )

    def _reader(self, task: TrainTask, base: Weights) -> Callable[[RecordDict, str], Contribution]:
        def read(content: RecordDict, site: str) -> Contribution:
            contribution = read_contribution(content)
            admit(contribution, site, task.round, base, task.base_digest)
            described = self._roster.descriptions[site].train_cases
            if contribution.cases > described:
                raise UpdateRefused(f"weight of {contribution.cases} cases, {described} described")
            # A record may name its arrays in any order; strategies pair them by position.
            return replace(contribution, delta={name: contribution.delta[name] for name in base})

        return read


def _quorum(round_number: int, given: int, needed: int, missing: Mapping[str, Any]) -> str:
    why = "\n".join(f"  {site}: {reason}" for site, reason in list(missing.items())[:10])
    return f"round {round_number}: {given} usable updates, {needed} needed" + (f"\n{why}" if why else "")
