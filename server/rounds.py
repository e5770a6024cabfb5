"""One round: ask, check, combine; and counting how the model does.

Invariants: what a round gives depends on who contributed, not on who answered first; contributions are
combined, and counts summed, in the order of the sites' names. In a study with ``[privacy.sites]`` nothing but
the mechanism's noised mean reaches the strategy, and no count of contributions decides anything.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count

from flwr.app import RecordDict
from flwr.serverapp import Grid

from common.balance import balanced_weights
from common.codecs import codec_of
from common.errors import (
    ConsiliumError,
    ModelDiverged,
    NothingLearned,
    QuorumNotReached,
    TaskInvalid,
    UpdateRefused,
    WeightsDamaged,
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
from common.weights import Moved, Weights, digest, norm, spec_of
from server.gate import History, Judgement, Score, admit, complete, judge, learnt, suspended
from server.inquiry import HOSPITALS_RIGHT, Inquiry
from server.journal import Course, FleetingJournal, RunJournal, Stage
from server.models import Models, ModelsInMemory
from server.roster import Roster, reasons
from server.selection import select_sites
from server.site_privacy import SiteMechanism, SiteSpending
from server.strategies import Strategy

log = logging.getLogger("consilium.coordinator.rounds")
TRAIN: Stage = "train"
EVALUATE: Stage = "evaluate"
UNREAD: Stage = "gate"
HEADS, GATE, SCORES, READMITTED = "ledger_heads", "gate", "scores", "readmitted"
PAUSE_S, LONGEST_PAUSE_S, LOOK_S = 5.0, 300.0, 0.5
LEAST_S = 1.0  # to hear what is there already, of a round whose time was over while nobody waited
DESCRIBE_S = 60.0  # a newcomer that takes longer is asked again next round
NOISE_MARGIN = 1000  # cases that the noise on a small site's counts may add


@dataclass(frozen=True, slots=True, eq=False)
class TrainedRound:
    """What a round of training gave: the new model, who made it, and who did not and why.

    ``site_spending`` is what all rounds so far cost the sites, where the coordinator adds noise; ``scores``
    is what the gate saw in each update, quarantined ones included.
    """

    weights: Weights
    contributions: tuple[Contribution, ...]
    missing: Mapping[str, str]
    site_spending: SiteSpending | None = None
    scores: tuple[Score, ...] = ()


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
        self._codec = codec_of(study.federation)
        self._seed = seed
        self._roster = roster
        self._strategy = strategy
        self._journal = journal or FleetingJournal()
        self._models = models or ModelsInMemory()
        self._inquiry = Inquiry(grid, roster, self._journal, strict=strict)
        self._patience_s = patience_s
        self._private = study.privacy is not None and study.privacy.at_sites
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
        if not course.model_digest:
            self._collect(course, base)
        given, missing = self._judged(course, base)
        if self._mechanism is None and not course.model_digest:
            self._check_quorum(round_number, len(given.counted), "usable updates", missing)
        weights = self._model(course, base, given)
        spending = None if self._mechanism is None else self._mechanism.spent(round_number)
        return TrainedRound(weights, given.counted, missing, spending, given.judgement.scores)

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

    def evaluate(self, round_number: int, weights: Weights) -> dict[str, Evaluation]:
        """Counts of every site that has test cases and answers, by name in order."""
        known = self._journal.counted(round_number)
        sites = [s for s in sorted(self._roster.nodes) if self._roster.descriptions[s].test_cases]
        task = EvaluateTask(self._text, round_number, digest(weights))
        classes = len(self._study.study.classes)

        def read(content: RecordDict, site: str) -> Evaluation:
            evaluation = read_evaluation(content, classes)
            if (evaluation.site, evaluation.base_digest) != (site, task.base_digest):
                raise TaskInvalid("evaluation of another site or model")
            if evaluation.round != round_number:
                raise TaskInvalid("evaluation of another round")
            if evaluation.sums.n > self._most_counted(site):
                raise TaskInvalid("evaluation of more cases than the site described")
            return evaluation

        left = [site for site in sites if site not in known]
        content = task_content(task, weights_record(weights)) if left else RecordDict()
        contents = dict.fromkeys(left, content)
        del content
        deadline_s = self._study.federation.deadline_s
        group = f"{EVALUATE}-{round_number}"
        self._inquiry.put(contents, EVALUATE, round_number, read, self._journal.count, deadline_s, group)
        return self._journal.counted(round_number)

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
        asked = tuple(self._choose(round_number))
        course = Course(round_number, base_digest, asked, time.time() + federation.deadline_s)
        self._journal.begin(course)
        return course

    def _collect(self, course: Course, base: Weights) -> None:
        """Ask whoever is asked in this round and has not answered, and write down what they say.

        With patience, a round that has too few updates at its deadline waits for sites, and asks again.
        """
        known = {*self._journal.contributed(course.number), *self._journal.refused(course.number, TRAIN)}
        left = [site for site in course.asked if site not in known and site in self._roster.nodes]
        left_s = min(max(course.deadline - time.time(), LEAST_S), self._study.federation.deadline_s)
        self._ask_for_updates(course, base, left, left_s)
        for attempt, since in self._waiting(course):
            log.info("round %s waits for sites since %s", course.number, since)
            done = {*self._journal.contributed(course.number), *suspended(self._history)}
            here = [site for site in sorted(self._roster.nodes) if site not in done]
            self._ask_for_updates(course, base, here, self._study.federation.deadline_s, f".{attempt}")

    def _waiting(self, course: Course) -> Iterator[tuple[int, str]]:
        """Each moment at which to ask again, until there are enough updates or no patience is left."""
        began, since = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        for attempt in count(1):
            short = len(self._journal.contributed(course.number)) < self._study.federation.min_sites
            if not short or self._mechanism is not None or time.monotonic() - began >= self._patience_s:
                return
            self._pause(min(PAUSE_S * 2**attempt, LONGEST_PAUSE_S))
            self._roster.refresh(self._grid, self._study, DESCRIBE_S)
            yield attempt, since

    def _pause(self, pause_s: float) -> None:
        """Wait; a site that comes or goes ends that."""
        before, until = set(self._grid.get_node_ids()), time.monotonic() + pause_s
        while time.monotonic() < until and set(self._grid.get_node_ids()) == before:
            time.sleep(min(LOOK_S, pause_s))

    def _ask_for_updates(
        self, course: Course, base: Weights, sites: Sequence[str], deadline_s: float, attempt: str = ""
    ) -> None:
        task = self._train_task(course.number, course.base_digest)
        contents = self._train_contents(sites, task, base)
        group = f"{TRAIN}-{course.number}{attempt}"
        read = self._reader(task, base)
        self._inquiry.put(contents, TRAIN, course.number, read, self._journal.keep, deadline_s, group)

    def _judgement(self, course: Course, given: Sequence[Contribution], base: Weights) -> Judgement:
        """What the gate makes of a round's updates, or made of them before the history took them in."""
        if not course.model_digest:
            return judge(self._history, given, base)
        return Judgement(tuple(Score(**told) for told in self._journal.known().get(SCORES, ())))

    def _model(self, course: Course, base: Weights, given: _Given) -> Weights:
        """The model that the contributions make of ``base``; see :meth:`train` for what it raises."""
        if course.model_digest:
            return self._models.open(course.number, course.model_digest)
        delta = self._combined(course.number, base, given.counted)
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
            HEADS: {**self._heads(), **given.heads},
            GATE: self._history.to_json(),
            SCORES: [asdict(score) for score in given.judgement.scores],
            READMITTED: self._readmitted,
        }
        self._journal.trained(course.number, made, known, self._strategy.memory())
        return weights

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

    def _heads(self) -> Mapping[str, str]:
        """The head that each site's ledger last had."""
        return dict(self._journal.known().get(HEADS, {}))

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
        left_out = suspended(self._history)
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
            return complete(base, self._strategy.combine(round_number, part), given)
        released = self._mechanism.release(round_number, learnt(base, base), part)
        return complete(base, self._strategy.combine(round_number, [released]), [])

    def _train_contents(self, sites: Sequence[str], task: TrainTask, base: Weights) -> dict[str, RecordDict]:
        """What each site is sent. They differ in the ledger's head alone, and share one record of weights."""
        if not sites:
            return {}
        record, known = weights_record(base), self._heads()
        heads = {site: known.get(site, "") for site in sites}
        contents = {
            head: task_content(replace(task, ledger_head=head), record) for head in set(heads.values())
        }
        return {site: contents[head] for site, head in heads.items()}

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
        like = {name: spec_of(base, name) for name in base}

        def read(content: RecordDict, site: str) -> Contribution:
            contribution = read_contribution(content, self._codec, like)
            described = self._roster.descriptions[site].train_cases
            admit(
                contribution,
                site,
                task.round,
                base,
                task.base_digest,
                private=self._private,
                registered=described,
            )
            # A record may name its arrays in any order; strategies pair them by position.
            return replace(contribution, delta={name: contribution.delta[name] for name in base})

        return read


def _common_hint(missing: Mapping[str, str]) -> str:
    """What to do where one right of theirs keeps all sites away; empty where it is not as simple."""
    codes = {reason.partition(":")[0] for reason in missing.values()}
    return ConsiliumError.of_code(*codes).hint if len(codes) == 1 and codes <= HOSPITALS_RIGHT else ""
