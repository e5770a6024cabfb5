"""Collecting a round's updates: who is asked, how long the round waits, and when it may close.

A round closes as soon as nobody who was asked is waited for any more; before that, once the share of them
that the study calls enough has contributed; and at its deadline. It never closes before the deadline with
fewer updates than ``min_sites`` while one may still come.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, count

from flwr.serverapp import Grid

from common.study import Study
from common.weights import Weights
from server.exchange import Exchange, Pace, no_reply
from server.inquiry import Inquiry
from server.journal import Course, RunJournal, Stage
from server.lateness import LATE, Latecomers, group_of, still_at
from server.orders import Reader, TrainOrders
from server.roster import Roster

log = logging.getLogger("consilium.coordinator.rounds")
TRAIN: Stage = "train"
PAUSE_S, LONGEST_PAUSE_S, LOOK_S = 5.0, 300.0, 0.5
LEAST_S = 1.0  # to hear what is there already, of a round whose time was over while nobody waited
DESCRIBE_S = 60.0  # a newcomer that takes longer is asked again next round

Usable = Callable[[], Collection[str]]
"""Sites whose updates of the round count, as the gate judges those that are there."""


class Collector:
    """Collects the updates of a study's rounds.

    Args:
        grid: Who is there.
        exchange: Carries the messages.
        study: Says when a round closes.
        roster: Who the sites are.
        inquiry: Reads answers.
        orders: What they are asked.
        late: Who owes updates of earlier rounds.
        journal: Keeps what comes.
        patience_s: How long a round that has too few updates at its deadline waits for more.
    """

    def __init__(
        self,
        grid: Grid,
        exchange: Exchange,
        study: Study,
        roster: Roster,
        inquiry: Inquiry,
        orders: TrainOrders,
        late: Latecomers,
        journal: RunJournal,
        patience_s: float,
    ) -> None:
        self._grid, self._exchange, self._study, self._roster = grid, exchange, study, roster
        self._inquiry, self._orders, self._late, self._journal = inquiry, orders, late, journal
        self._federation, self._patience_s = study.federation, patience_s
        # Of hidden sites none is counted: their number would tell who answered.
        self._counts = study.privacy is None or study.privacy.sites is None
        self._judged: tuple[int, tuple[str, ...]] = (0, ())  # when it was last seen that there is not enough

    def collect(
        self, course: Course, base: Weights, usable: Usable, left_out: Callable[[], Collection[str]]
    ) -> None:
        """Have the journal keep what whoever is asked in a round answers, and has not.

        With patience, a round that has too few updates at its deadline waits for sites, and asks again.

        Args:
            course: The round.
            base: What it starts from.
            usable: The gate's word on what is there.
            left_out: Sites that are not to be asked again.

        Raises:
            SiteRefused: A site did, and that is to stop the study.
            JournalTaken, MachineError: It cannot be written down.
        """
        number = course.number
        self._note_at_work(number)
        known = {*self._journal.contributed(number), *self._journal.refused(number, TRAIN)}
        left = [site for site in course.asked if site not in known and site in self._roster.nodes]
        left_s = min(max(course.deadline - time.time(), LEAST_S), self._federation.deadline_s)
        self._hear(course, base, left, usable, left_s)
        for attempt, since in self._waiting(course):
            log.info("round %s waits for sites since %s", number, since)
            done = {*self._journal.contributed(number), *left_out(), *self._late.at_work(number)}
            here = [site for site in sorted(self._roster.nodes) if site not in done]
            self._hear(course, base, here, usable, self._federation.deadline_s, attempt)

    def _waiting(self, course: Course) -> Iterator[tuple[int, str]]:
        """Each moment at which to ask again, until there are enough updates or no patience is left."""
        began, since = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        for attempt in count(1):
            short = len(self._journal.contributed(course.number)) < self._federation.min_sites
            if not short or not self._counts or time.monotonic() - began >= self._patience_s:
                return
            self._pause(min(PAUSE_S * 2**attempt, LONGEST_PAUSE_S))
            self._roster.refresh(self._grid, self._study, DESCRIBE_S)
            self._late.look_up(course.number)
            yield attempt, since

    def _pause(self, pause_s: float) -> None:
        """Wait; a site that comes or goes ends that."""
        before, until = set(self._grid.get_node_ids()), time.monotonic() + pause_s
        while time.monotonic() < until and set(self._grid.get_node_ids()) == before:
            time.sleep(min(LOOK_S, pause_s))

    def _note_at_work(self, number: int) -> None:
        """Write down who is not asked, because it is still at an earlier round's task."""
        known = {*self._journal.contributed(number), *self._journal.refused(number, TRAIN)}
        for site, told in still_at(self._late.at_work(number)).items():
            if site not in known:
                self._journal.refuse(number, TRAIN, site, told)

    def _hear(
        self,
        course: Course,
        base: Weights,
        sites: Sequence[str],
        usable: Usable,
        wait_s: float,
        attempt: int = 0,
    ) -> None:
        """Ask sites, and hear them and latecomers until the round may close."""
        # A task that goes on after its round is not given twice; one that expires with it is.
        group = group_of(course.number, 0 if self._federation.late_rounds else attempt)
        nodes = frozenset(self._roster.nodes[site] for site in sites)
        read = self._orders.reader(course.number, course.base_digest, base)
        before = self._exchange.recall(group) & nodes
        if before:
            self._look(course, group, before, read)  # also if enough had come when a process was killed
            nodes -= before - self._exchange.waiting(group)
        if self._may_close(course, usable, waits=bool(nodes)):
            self._note_silent(course, nodes, group)
            return
        new = [site for site in sites if self._roster.nodes[site] in nodes - before]
        self._ask(course, base, new, wait_s, group)
        pace = Pace(wait_s)
        while not self._may_close(course, usable, waits=bool(self._exchange.waiting(group) & nodes)):
            idle = not self._look(course, group, nodes, read)
            if pace.over:
                self._note_silent(course, self._exchange.waiting(group) & nodes, group, wait_s)
                return
            if idle:
                pace.pause()
        self._note_silent(course, self._exchange.waiting(group) & nodes, group)

    def _ask(self, course: Course, base: Weights, sites: Sequence[str], wait_s: float, group: str) -> None:
        contents = self._orders.contents(sites, course.number, course.base_digest, base)
        sent = {self._roster.nodes[site]: content for site, content in contents.items()}
        contents.clear()  # they hold a model that nobody needs once it is sent
        # A late update waits for rounds to come, each of which may take the time of training and of a test.
        ttl_s = wait_s + 2 * self._federation.late_rounds * self._federation.deadline_s
        for reply in self._exchange.send(sent, TRAIN, group, ttl_s):
            self._journal.refuse(course.number, TRAIN, self._late.name(reply.node_id), str(reply.refusal))

    def _look(self, course: Course, group: str, nodes: Collection[int], read: Reader) -> bool:
        """Whether anything came; what it says is written down then. What is late comes first."""
        came, earlier = False, self._late.groups(course.number)
        late = self._late.nodes() if earlier else ()
        for reply in chain(self._exchange.look(earlier, late), self._exchange.look((group,), nodes)):
            came, site = True, self._late.name(reply.node_id)
            if reply.group == group:
                answer = self._inquiry.answer(reply, site, TRAIN, course.number, read)
            else:
                answer = self._late.take(course.number, reply)
            del reply  # its arrays, once they lie in a file
            if answer is not None:
                self._journal.keep(answer, course.number)
        return came

    def _may_close(self, course: Course, usable: Usable, *, waits: bool) -> bool:
        """Whether the round may close now, whether or not it ``waits`` for sites that were asked."""
        federation, number = self._federation, course.number
        if not waits:
            at_work = self._late.at_work(number)
            return not at_work or len(self._journal.contributed(number)) >= federation.min_sites
        if federation.enough >= 1.0:
            return False
        contributed = self._journal.contributed(number)
        share, asked = math.ceil(round(federation.enough * len(course.asked), 9)), frozenset(course.asked)
        if len(asked.intersection(contributed)) < share or len(contributed) < federation.min_sites:
            return False
        if (number, contributed) == self._judged:
            return False
        self._judged = number, contributed
        counting = usable()
        return len(asked.intersection(counting)) >= share and len(counting) >= federation.min_sites

    def _note_silent(
        self, course: Course, nodes: Collection[int], group: str, wait_s: float | None = None
    ) -> None:
        """Write down why sites have no part in the round: it is over after ``wait_s``, or before that."""
        came = len(self._journal.contributed(course.number)) if nodes else 0
        for node in sorted(nodes):
            told = f"{LATE}: the round closed with {came} updates"
            if wait_s is not None:
                told = str(no_reply(node, group, wait_s).refusal)
            self._journal.refuse(course.number, TRAIN, self._late.name(node), told)
