"""One round: ask, check, combine; and counting how the model does.

Invariants: what a round gives depends on who contributed, not on who answered first; contributions are
combined, and counts summed, in the order of the sites' names. In a study with ``[privacy.sites]`` nothing but
the mechanism's noised mean reaches the strategy, and no count of contributions decides anything.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from flwr.app import RecordDict
from flwr.serverapp import Grid

from common.errors import (
    ConsiliumError,
    ModelDiverged,
    NothingLearned,
    QuorumNotReached,
    TaskInvalid,
    UpdateRefused,
    WeightsDamaged,
)
from common.metrics import sums_kind
from common.study import Study, to_canonical
from common.tasks import EvaluateTask, Evaluation, read_evaluation, task_content, weights_record
from common.update import Contribution
from common.weights import Moved, Weights, digest, norm
from server.collecting import DESCRIBE_S, TRAIN, Collector
from server.exchange import Exchange
from server.freed_memory import give_back_freed_memory
from server.gate import History, Judgement, Score, complete, judge, learnt, suspended
from server.inquiry import HOSPITALS_RIGHT, Inquiry
from server.journal import Course, FleetingJournal, RunJournal, Stage
from server.journal.counted import Counted
from server.lateness import LATE, Latecomers, still_at
from server.models import FROM_BACKUP, Models, ModelsInMemory
from server.orders import HEADS, TrainOrders
from server.roster import Roster, reasons
from server.selection import select_sites
from server.site_privacy import SiteMechanism, SiteSpending
from server.strategies import Strategy

EVALUATE: Stage = "evaluate"
UNREAD: Stage = "gate"
GATE, SCORES, READMITTED = "gate", "scores", "readmitted"
NOISE_MARGIN = 1000  # cases that the noise on a small site's counts may add


@dataclass(frozen=True, slots=True, eq=False)
class TrainedRound:
    """What a round of training gave: the new model and its digest, who made it, and who did not and why.

    ``site_spending`` is what all rounds so far cost the sites, where the coordinator adds noise; ``scores``
    is what the gate saw in each update, quarantined ones included; ``late`` is whose updates of earlier
    rounds were refused as late in this one, and why.
    """

    weights: Weights
    model_digest: str
    contributions: tuple[Contribution, ...]
    missing: Mapping[str, str]
    site_spending: SiteSpending | None = None
    scores: tuple[Score, ...] = ()
    late: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """The updates of a round as the gate judged them, those that count, and the heads of their ledgers."""

    judgement: Judgement
    counted: tuple[Contribution, ...]
    heads: Mapping[str, str]


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
        journal: RunJournal | None = None,
        models: Models | None = None,
        strict: bool = False,
        noise_seed: int | None = None,
        patience_s: float = 0.0,
    ) -> None:
        """An engine that goes on without sites that refuse a task or, if ``strict``, stops at the first.

        Args:
            grid: Carries the messages.
            study: What is run.
            seed: Decides every random choice that is not private noise.
            roster: Who is there.
            strategy: Combines the updates.
            journal: Where each step is written down, and what of it was before; in memory unless given.
            models: Where models are put; in memory unless given.
            strict: Stop at a refusal, unless a hospital's privacy is the reason.
            noise_seed: Simulation only: seeds the coordinator's private noise and sampling.
            patience_s: How long a round that has too few updates at its deadline waits for more.

        Raises:
            PrivacyUnreachable: No noise of use reaches the epsilon that the study has for its sites.
        """
        self._grid = grid
        self._study = study
        self._text = to_canonical(study)
        self._seed = seed
        self._roster = roster
        self._strategy = strategy
        self._journal = journal or FleetingJournal()
        self._models = models or ModelsInMemory()
        self._inquiry = Inquiry(grid, roster, self._journal, strict=strict)
        self._orders = TrainOrders(study, seed, roster, strategy.terms, self._journal)
        asked = self._inquiry, self._orders
        exchange = Exchange(grid)
        self._late = Latecomers(exchange, study, roster, *asked, self._journal, self._models)
        self._collector = Collector(
            grid, exchange, study, roster, *asked, self._late, self._journal, patience_s
        )
        self._mechanism = SiteMechanism.of(study, noise_seed)
        strategy.remember(self._journal.memory())
        known = self._journal.known()
        self._readmitted = int(known.get(READMITTED, 0))
        self._history = History.from_json(known[GATE]) if GATE in known else History.begin(study)

    def train(self, round_number: int, base: Weights) -> TrainedRound:
        """One round of training from ``base``; one that was begun before goes on where it was.

        Raises:
            QuorumNotReached: Fewer usable contributions than ``min_sites``; with ``[privacy.sites]``, fewer
                sites are there before the round.
            NothingLearned: The strategy got too few, or the contributions changed nothing.
            ModelDiverged: The new weights are not finite.
            WeightsDamaged: The round was begun from another model, or what was kept of it is spoilt.
            JournalTaken, MachineError: It cannot be written down.
        """
        course = self._course(round_number, digest(base))
        self._late.look_up(round_number, base)
        if not course.model_digest:
            usable, left_out = partial(self._usable, course, base), partial(suspended, self._history)
            self._collector.collect(course, base, usable, left_out)
            give_back_freed_memory()  # before the new model takes as much again
        given, missing = self._judged(course, base)
        if self._mechanism is None and not course.model_digest:
            self._check_quorum(round_number, len(given.counted), "usable updates", missing)
        weights, made = self._model(course, base, given)
        self._late.close(round_number, last=round_number == self._study.federation.rounds)
        spending = None if self._mechanism is None else self._mechanism.spent(round_number)
        late = self._journal.refused(round_number, LATE)
        return TrainedRound(weights, made, given.counted, missing, spending, given.judgement.scores, late)

    def _usable(self, course: Course, base: Weights) -> Collection[str]:
        """Whose updates would count, were the round to close now."""
        contributions = tuple(self._journal.kept(course.number).values())
        return [c.site for c in self._judgement(course, contributions, base).kept(contributions)]

    def _judged(self, course: Course, base: Weights) -> tuple[_Given, dict[str, str]]:
        """What came of a round's questions, and why sites have no part in it."""
        contributions = tuple(self._journal.kept(course.number).values())
        judgement = self._judgement(course, contributions, base)
        missing = {
            **reasons(self._roster.refused),
            **{site: f"{e.code}: {e.private}" for site, e in suspended(self._history).items()},
            **self._journal.refused(course.number, TRAIN),
            **{site: f"{e.code}: {e.private}" for site, e in judgement.quarantined.items()},
        }
        heads = {c.site: c.ledger_head for c in contributions if c.ledger_head}
        return _Given(judgement, judgement.kept(contributions), heads), missing

    def evaluate(self, round_number: int, weights: Weights) -> Mapping[str, Evaluation]:
        """Counts of every site that has test cases and answers, by name in order."""
        known, at_work = self._journal.counted(round_number), self._late.at_work(round_number + 1)
        if round_number == self._study.federation.rounds:
            at_work = {}  # nothing is late any more
        sites = [s for s in sorted(self._roster.nodes) if self._roster.descriptions[s].test_cases]
        for site, told in still_at({s: n for s, n in at_work.items() if s in sites}).items():
            self._journal.refuse(round_number, EVALUATE, site, told)
        task = EvaluateTask(self._text, round_number, digest(weights))
        left = [site for site in sites if site not in known and site not in at_work]
        most = {site: self._most_counted(site) for site in left}
        self._count(task, weights, most, self._journal.count, f"{EVALUATE}-{round_number}")
        return self._journal.counted(round_number)

    def validate(self, round_number: int, weights: Weights) -> Mapping[str, Evaluation]:
        """Counts of the validation cases of every site that has any and answers, by name in order.

        They are not written down: a coordinator that is started again asks again.
        """
        at_work = self._late.at_work(round_number + 1)
        described = {site: self._roster.descriptions[site].val_cases or 0 for site in self._roster.nodes}
        most = {site: cases for site, cases in sorted(described.items()) if cases and site not in at_work}
        task = EvaluateTask(self._text, round_number, digest(weights), split="val")
        return self._count_again(task, weights, most, f"validate-{round_number}")

    def evaluate_again(self, round_number: int, weights: Weights) -> Mapping[str, Evaluation]:
        """As :meth:`evaluate`, of the model that an earlier round has made; they are not written down."""
        sites = [s for s in sorted(self._roster.nodes) if self._roster.descriptions[s].test_cases]
        task = EvaluateTask(self._text, round_number, digest(weights))
        most = {site: self._most_counted(site) for site in sites}
        return self._count_again(task, weights, most, f"{EVALUATE}-again-{round_number}")

    def stop(self, round_number: int) -> Mapping[str, str]:
        """End with this round: what sites are still at is called off.

        Returns:
            Whose updates of earlier rounds were refused as late in this one, and why.
        """
        self._late.close(round_number, last=True)
        return self._journal.refused(round_number, LATE)

    def _count_again(
        self, task: EvaluateTask, weights: Weights, most: Mapping[str, int], group: str
    ) -> Mapping[str, Evaluation]:
        """Counts that are not written down, by site in order; see :meth:`_count`."""
        found = Counted()
        self._count(task, weights, most, found.add, group)
        return found

    def by_subgroup(self, round_number: int, weights: Weights, keep: Callable[[Evaluation], object]) -> None:
        """Hand ``keep`` the counts of the test cases and of their subgroups of every site that answers.

        They are not written down, as in :meth:`validate`.
        """
        sites = [s for s in sorted(self._roster.nodes) if self._roster.descriptions[s].test_cases]
        most = {site: self._most_counted(site) for site in sites}
        task = EvaluateTask(self._text, round_number, digest(weights), subgroups=True)
        self._count(task, weights, most, keep, f"subgroups-{round_number}")

    def _count(
        self,
        task: EvaluateTask,
        weights: Weights,
        most: Mapping[str, int],
        keep: Callable[[Evaluation], object],
        group: str,
    ) -> None:
        """Have sites count cases.

        Args:
            task: What they are asked.
            weights: The model.
            most: Who is asked, and how many cases each may count.
            keep: Takes each answer.
            group: Flower's group id.
        """
        classes, kind = len(self._study.study.classes), sums_kind(self._study)
        federation = self._study.federation
        asked = federation.subgroups if task.subgroups else ()

        def read(content: RecordDict, site: str) -> Evaluation:
            evaluation = read_evaluation(content, classes, kind, asked, federation.min_cell)
            if (evaluation.site, evaluation.base_digest) != (site, task.base_digest):
                raise TaskInvalid("evaluation of another site or model")
            if evaluation.round != task.round:
                raise TaskInvalid("evaluation of another round")
            if evaluation.sums.n > most[site]:
                raise TaskInvalid("evaluation of more cases than the site described")
            return evaluation

        content = task_content(task, weights_record(weights)) if most else RecordDict()
        contents = dict.fromkeys(most, content)
        del content
        self._inquiry.put(contents, EVALUATE, task.round, read, keep, federation.deadline_s, group)

    def _course(self, round_number: int, base_digest: str) -> Course:
        """The round as it was begun: by an earlier process, or now."""
        begun = self._journal.course()
        if begun is not None and begun.number == round_number:
            if begun.base_digest != base_digest:
                raise WeightsDamaged(f"round {round_number} was begun from another model than is there")
            return begun
        federation = self._study.federation
        self._roster.refresh(self._grid, self._study, min(federation.deadline_s, DESCRIBE_S))
        self._let_back()
        self._late.look_up(round_number)
        asked = tuple(self._choose(round_number))
        course = Course(round_number, base_digest, asked, time.time() + federation.deadline_s)
        self._journal.begin(course)
        return course

    def _judgement(self, course: Course, given: Sequence[Contribution], base: Weights) -> Judgement:
        """What the gate makes of a round's updates, or made of them before the history took them in."""
        if not course.model_digest:
            return judge(self._history, given, base)
        return Judgement(tuple(Score(**told) for told in self._journal.known().get(SCORES, ())))

    def _model(self, course: Course, base: Weights, given: _Given) -> tuple[Weights, str]:
        """The model that the contributions make of ``base``, and its digest; see :meth:`train` for errors."""
        if course.model_digest:
            return self._models.open(course.number, course.model_digest), course.model_digest
        if digest(base) != course.base_digest:  # a round may wait for days, with the file on the disk
            told = f"the model that round {course.number} began from has changed on the disk"
            raise WeightsDamaged(told, hint=FROM_BACKUP)
        delta = self._combined(course.number, base, given.counted)
        self._journal.require_mine()  # whoever took the run over has written its file by now
        weights = self._models.keep(course.number, Moved(base, delta))
        made = digest(weights)
        try:
            if made == course.base_digest:
                raise NothingLearned(f"round {course.number}: the contributions change nothing")
            if not math.isfinite(norm(weights)):
                raise ModelDiverged(f"round {course.number}: the combined weights are not finite")
        except ConsiliumError:
            self._models.drop(course.number)
            raise
        self._history = self._after(course, given.judgement)
        known = {
            HEADS: {**self._orders.heads(), **given.heads},
            GATE: self._history.to_json(),
            SCORES: [asdict(score) for score in given.judgement.scores],
            READMITTED: self._readmitted,
        }
        self._journal.trained(course.number, made, known, self._strategy.memory())
        return weights, made

    def _after(self, course: Course, judgement: Judgement) -> History:
        """The gate's history once the round is over."""
        if self._history.round >= course.number:
            return self._history
        unread = {
            site: UpdateRefused(reason)
            for site, reason in self._journal.refused(course.number, UNREAD).items()
        }
        return self._history.after(course.number, judgement.scores, unread)

    def _let_back(self) -> None:
        """Take note of sites that a person has let back in."""
        for number, site in self._journal.readmitted():
            if number > self._readmitted:
                self._history, self._readmitted = self._history.readmit(site), number

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
        left_out = {*suspended(self._history), *self._late.at_work(round_number)}
        federation, present = self._study.federation, [s for s in self._roster.nodes if s not in left_out]
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
        """The change that the contributions make together."""
        part = [replace(one, delta=learnt(one.delta, base)) for one in given]
        if self._mechanism is None:
            of_base = [one for one in given if one.round == round_number]  # counters are counted on from it
            return complete(base, self._strategy.combine(round_number, part), of_base)
        released = self._mechanism.release(round_number, learnt(base, base), part)
        return complete(base, self._strategy.combine(round_number, [released]), [])


def _common_hint(missing: Mapping[str, str]) -> str:
    """What to do where one right of theirs keeps all sites away; empty where it is not as simple."""
    codes = {reason.partition(":")[0] for reason in missing.values()}
    return ConsiliumError.of_code(*codes).hint if len(codes) == 1 and codes <= HOSPITALS_RIGHT else ""
