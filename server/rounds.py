"""One round: ask, check, combine; and counting how the model does.

Invariants: what a round gives depends on who contributed, not on who answered first; contributions are
combined, and counts summed, in the order of the sites' names. In a study with ``[privacy.sites]`` nothing but
the mechanism's noised mean reaches the strategy, and no count of contributions decides anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from flwr.app import MessageType, RecordDict
from flwr.serverapp import Grid

from common.balance import balanced_weights
from common.errors import (
    AuditBroken,
    BudgetSpent,
    ConsiliumError,
    ContractExpired,
    LedgerBroken,
    LedgerRolledBack,
    ModelDiverged,
    NothingLearned,
    PolicyRefused,
    PrivacyRequired,
    QuorumNotReached,
    Refusal,
    ReservationClosed,
    SiteRefused,
    StudyUnapproved,
    StudyUnknown,
    StudyWithdrawn,
    TargetSpent,
    TaskInvalid,
    UnitRefused,
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
from server.site_privacy import SiteMechanism, SiteSpending
from server.strategies import Strategy

Answer = TypeVar("Answer")
DESCRIBE_S = 60.0  # a newcomer that takes longer is asked again next round
NOISE_MARGIN = 1000  # cases that the noise on a small site's counts may add
HOSPITALS_RIGHT = frozenset(
    kind.code
    for kind in (
        BudgetSpent,
        TargetSpent,
        PrivacyRequired,
        UnitRefused,
        LedgerBroken,
        LedgerRolledBack,
        AuditBroken,
        ReservationClosed,
        StudyUnknown,
        StudyUnapproved,
        StudyWithdrawn,
        ContractExpired,
        PolicyRefused,
    )
)
"""Refusals that are a hospital's right, in a simulation as in life: the study goes on with the others."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainedRound:
    """What a round of training gave: the new model, who made it, and who did not and why.

    ``site_spending`` is what all rounds so far cost the sites, where the coordinator adds noise.
    """

    weights: Weights
    contributions: tuple[Contribution, ...]
    missing: Mapping[str, str]
    site_spending: SiteSpending | None = None


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
        noise_seed: int | None = None,
    ) -> None:
        """An engine that goes on without sites that refuse a task or, if ``strict``, stops at the first.

        Args:
            grid: Carries the messages.
            study: What is run.
            seed: Decides every random choice that is not private noise.
            roster: Who is there.
            strategy: Combines the updates.
            strict: Stop at a refusal, unless a hospital's privacy is the reason.
            noise_seed: Simulation only: seeds the coordinator's private noise and sampling.

        Raises:
            PrivacyUnreachable: No noise of use reaches the epsilon that the study has for its sites.
        """
        self._grid = grid
        self._study = study
        self._text = to_canonical(study)
        self._seed = seed
        self._roster = roster
        self._strategy = strategy
        self._strict = strict
        self._private = study.privacy is not None and study.privacy.at_sites
        self._mechanism = SiteMechanism.of(study, noise_seed)
        self._ledger_heads: dict[str, str] = {}

    def train(self, round_number: int, base: Weights) -> TrainedRound:
        """One round of training from ``base``.

        Raises:
            QuorumNotReached: Fewer usable contributions than ``min_sites``; with ``[privacy.sites]``, fewer
                sites are there before the round.
            NothingLearned: The strategy got too few, or the contributions changed nothing.
            ModelDiverged: The new weights are not finite.
        """
        federation = self._study.federation
        self._roster.refresh(self._grid, self._study, min(federation.deadline_s, DESCRIBE_S))
        chosen = self._choose(round_number)
        task = self._train_task(round_number, digest(base))
        contents = self._train_contents(chosen, task, base)
        given, missing = self._ask(contents, MessageType.TRAIN, round_number, self._reader(task, base))
        missing = {**reasons(self._roster.refused), **missing}
        contributions = tuple(given[site] for site in sorted(given))
        self._ledger_heads |= {c.site: c.ledger_head for c in contributions if c.ledger_head}
        if self._mechanism is None:
            self._check_quorum(round_number, len(given), "usable updates", missing)
        weights = self._combined(round_number, base, contributions)
        spending = None if self._mechanism is None else self._mechanism.spent(round_number)
        return TrainedRound(weights, contributions, missing, spending)

    def evaluate(self, round_number: int, weights: Weights) -> dict[str, Evaluation]:
        """Counts of every site that has test cases and answers, by name in order."""
        sites = [s for s in sorted(self._roster.nodes) if self._roster.descriptions[s].test_cases]
        task = EvaluateTask(self._text, round_number, digest(weights))
        contents = dict.fromkeys(sites, task_content(task, weights_record(weights)))
        classes = len(self._study.study.classes)

        def read(content: RecordDict, site: str) -> Evaluation:
            evaluation = read_evaluation(content, classes)
            if (evaluation.site, evaluation.base_digest) != (site, task.base_digest):
                raise TaskInvalid("evaluation of another site or model")
            if evaluation.sums.n > self._most_counted(site):
                raise TaskInvalid("evaluation of more cases than the site described")
            return evaluation

        given, _ = self._ask(contents, MessageType.EVALUATE, round_number, read)
        return {site: given[site] for site in sorted(given)}

    def _most_counted(self, site: str) -> int:
        """How many test cases a site may count: those it described or, under noise, somewhat more."""
        described = self._roster.descriptions[site].test_cases
        noised = self._study.privacy is not None and self._study.privacy.evaluation_epsilon is not None
        return 2 * described + NOISE_MARGIN if noised else described

    def _choose(self, round_number: int) -> list[str]:
        """Who trains in a round.

        Raises:
            QuorumNotReached: See :meth:`train`.
        """
        federation, present = self._study.federation, list(self._roster.nodes)
        if self._mechanism is None:
            fraction, least = federation.fraction_sites, federation.min_sites
            return select_sites(present, fraction, least, self._seed, round_number)
        # Before the round, because afterwards the number would tell who answered.
        self._check_quorum(round_number, len(present), "sites there", reasons(self._roster.refused))
        return self._mechanism.choose(present, round_number)

    def _check_quorum(self, round_number: int, count: int, what: str, missing: Mapping[str, str]) -> None:
        needed = self._study.federation.min_sites
        if count < needed:
            why = "".join(f"\n  {site}: {reason}" for site, reason in list(missing.items())[:10])
            told = f"round {round_number}: {count} {what}, {needed} needed{why}"
            raise QuorumNotReached(told, hint=_common_hint(missing))

    def _combined(self, round_number: int, base: Weights, given: Sequence[Contribution]) -> Weights:
        """The model that the contributions make of ``base``; see :meth:`train` for what it raises."""
        if self._mechanism is not None:
            given = [self._mechanism.release(round_number, base, given)]
        delta = self._strategy.combine(round_number, given)
        if norm(delta) == 0:
            raise NothingLearned(f"round {round_number}: the contributions change nothing")
        weights = add(base, delta)
        if not math.isfinite(norm(weights)):
            raise ModelDiverged(f"round {round_number}: the combined weights are not finite")
        return weights

    def _train_contents(self, sites: Sequence[str], task: TrainTask, base: Weights) -> dict[str, RecordDict]:
        """What each site is sent. They differ in the ledger's head alone, and share one record of weights."""
        record = weights_record(base)
        heads = {site: self._ledger_heads.get(site, "") for site in sites}
        contents = {
            head: task_content(replace(task, ledger_head=head), record) for head in set(heads.values())
        }
        return {site: contents[head] for site, head in heads.items()}

    def _ask(
        self,
        contents: Mapping[str, RecordDict],
        message_type: str,
        round_number: int,
        read: Callable[[RecordDict, str], Answer],
    ) -> tuple[dict[str, Answer], dict[str, str]]:
        """What the sites answered as read by ``read``, and why others did not; both by name."""
        names = {self._roster.nodes[site]: site for site in contents}
        given: dict[str, Answer] = {}
        missing: dict[str, str] = {}
        sent = {node: contents[site] for node, site in names.items()}
        group = f"{message_type}-{round_number}"
        for reply in ask(self._grid, sent, message_type, group, self._study.federation.deadline_s):
            site = names[reply.node_id]
            if reply.refusal is not None or reply.content is None:
                missing[site] = str(reply.refusal)
                if self._strict and reply.refusal is not None and _stops(reply.refusal):
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
            admit(contribution, site, task.round, base, task.base_digest, private=self._private)
            described = self._roster.descriptions[site].train_cases
            if contribution.cases > described:
                raise UpdateRefused(f"weight of {contribution.cases} cases, {described} described")
            # A record may name its arrays in any order; strategies pair them by position.
            return replace(contribution, delta={name: contribution.delta[name] for name in base})

        return read


def _stops(refusal: Refusal) -> bool:
    """Whether a strict run ends with this refusal."""
    return refusal.code not in {NO_REPLY, *HOSPITALS_RIGHT}


def _common_hint(missing: Mapping[str, str]) -> str:
    """What to do where one right of theirs keeps all sites away; empty where it is not as simple."""
    codes = {reason.partition(":")[0] for reason in missing.values()}
    return ConsiliumError.of_code(*codes).hint if len(codes) == 1 and codes <= HOSPITALS_RIGHT else ""
