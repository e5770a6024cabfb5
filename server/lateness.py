"""Updates that sites owe for rounds that have closed: who is still at work, and what comes of it.

A study with ``late_rounds = k`` takes an update up to k rounds after the one that it was trained for; it
counts in the round in which it is heard. Whoever may still send one is *at work*, and is asked nothing else
meanwhile: it could never catch up. A later one is refused, with the reason ``late``.

Invariant: an update counts once, whatever process is killed between its arrival, the journal and the close of
the round. The journal knows every update that it keeps by site and by the round that it was trained for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from common.errors import WeightsDamaged
from common.study import Study
from common.update import Contribution
from common.weights import Weights
from server.exchange import NO_REPLY, Exchange, Reply
from server.inquiry import Inquiry
from server.journal import RunJournal
from server.models import Models
from server.orders import TrainOrders
from server.roster import Roster

LATE: Literal["late"] = "late"
LISTENED_ROUNDS = 10
"""Rounds for which an answer is listened for that could not be called off, to say that it was refused."""


def group_of(number: int, attempt: int = 0) -> str:
    """Flower's group id of what sites are asked to train in a round."""
    return f"train-{number}.{attempt}" if attempt else f"train-{number}"


def round_of(group: str) -> int:
    """The round of a group."""
    return int(group.removeprefix("train-").partition(".")[0])


class Latecomers:
    """Who owes updates of earlier rounds.

    Args:
        exchange: Where they would come from.
        study: Says how late one may be.
        roster: Who the sites are.
        inquiry: Reads answers.
        orders: Says how.
        journal: Knows what came.
        models: Holds the bases that updates were made from.
    """

    def __init__(
        self,
        exchange: Exchange,
        study: Study,
        roster: Roster,
        inquiry: Inquiry,
        orders: TrainOrders,
        journal: RunJournal,
        models: Models,
    ) -> None:
        self._exchange, self._study, self._roster, self._inquiry = exchange, study, roster, inquiry
        self._orders, self._journal, self._models = orders, journal, models
        self._most = study.federation.late_rounds
        self._bases: dict[int, Weights] = {}
        self._names: dict[int, str] = {}  # of all nodes that were ever there: one may answer and be gone

    def name(self, node_id: int) -> str:
        """The site's name of a node that was asked something."""
        return self._names[node_id]

    def look_up(self, number: int, base: Weights | None = None) -> None:
        """Find what is owed, and let go of what was written down.

        Args:
            number: The round that is under way.
            base: What it starts from, once it has begun: late updates of it will be checked against that.
        """
        self._names |= {node: site for site, node in self._roster.nodes.items()}
        if base is not None:
            self._bases[number] = base
        for earlier in [each for each in self._bases if each < number - self._most]:
            del self._bases[earlier]
        # Of the round itself only as it begins or goes on: who refused may be asked again.
        for each in range(max(1, number - self._most - 1), number if base is None else number + 1):
            group = group_of(each)
            nodes = self._exchange.recall(group)
            self._exchange.drop(group, [node for node in nodes if self._is_settled(node, each)])
        for group in self._groups(number):
            if round_of(group) < number - max(self._most, LISTENED_ROUNDS):
                self._exchange.forget(group)

    def at_work(self, number: int) -> dict[str, int]:
        """Sites still at an earlier round's task whose update may count in this one, each with that round."""
        return {
            self._names[node]: round_of(group)
            for group in self._groups(number)
            if number - round_of(group) <= self._most
            for node in self._exchange.waiting(group)
            if node in self._names
        }

    def groups(self, number: int) -> tuple[str, ...]:
        """Groups of earlier rounds of which answers may come, the earliest first."""
        return tuple(sorted(self._groups(number), key=round_of))

    def nodes(self) -> frozenset[int]:
        """Nodes whose answers can be told whose they are."""
        return frozenset(self._names)

    def take(self, number: int, reply: Reply) -> Contribution | None:
        """The update of an earlier round that came in this one, if it may count; the journal is told if not.

        Raises:
            SiteRefused: The site refused, and that is to stop the study.
            JournalTaken, MachineError: It cannot be written down.
        """
        site, trained_for = self._names[reply.node_id], round_of(reply.group)
        if self._journal.has_update(site, trained_for):
            return None  # it was written down by a process that was killed before it could say so
        if number - trained_for > self._most:
            self._refuse_late(number, site, trained_for, reply)
            return None
        known = self._journal.base(trained_for)
        read = self._orders.reader(trained_for, known, self._base(trained_for, known))
        return self._inquiry.answer(reply, site, "train", number, read)

    def close(self, number: int, *, last: bool) -> None:
        """Call off what can count no more once a round is closed, after the last one all of it."""
        for earlier in range(max(1, number - self._most), number + 1):
            self._exchange.recall(group_of(earlier))
        for group in self.groups(number + 1):
            trained_for = round_of(group)
            if last or number + 1 - trained_for > self._most:
                nodes = self._exchange.waiting(group)
                if number - self._most <= trained_for < number:
                    self._refuse_missing(number, trained_for, nodes)
                self._exchange.give_up(group, nodes, LATE)

    def _refuse_missing(self, number: int, trained_for: int, nodes: Collection[int]) -> None:
        known = self._journal.refused(number, LATE)
        for site in sorted(self._names[node] for node in nodes if node in self._names):
            if site not in known:
                told = f"{LATE}: the update of round {trained_for} did not come; {self._rule}"
                self._journal.refuse(number, LATE, site, told)

    @property
    def _rule(self) -> str:
        return f"late_rounds is {self._most}"

    def _refuse_late(self, number: int, site: str, trained_for: int, reply: Reply) -> None:
        if reply.refusal is None:
            told = f"{LATE}: the update of round {trained_for} came in round {number}; {self._rule}"
        else:
            told = f"{reply.refusal} (asked in round {trained_for})"
        if reply.refusal is None or reply.refusal.code != NO_REPLY:  # that was said in the round itself
            self._journal.refuse(number, LATE, site, told)

    def _is_settled(self, node_id: int, trained_for: int) -> bool:
        """Whether what a node answered was written down, by a process that was killed right after."""
        site = self._names.get(node_id)
        if site is None:
            return False
        told = self._journal.refused(trained_for, "train").get(site, LATE).partition(":")[0]
        return told not in (LATE, NO_REPLY) or self._journal.has_update(site, trained_for)

    def _base(self, trained_for: int, known: str) -> Weights:
        """The model that the updates of a round change.

        Raises:
            WeightsDamaged: It is not what was written.
        """
        if not known:
            raise WeightsDamaged(f"nothing is known of round {trained_for}")
        if trained_for not in self._bases:
            self._bases[trained_for] = self._models.open(trained_for - 1, known)
        return self._bases[trained_for]

    def _groups(self, number: int) -> list[str]:
        return [group for group in self._exchange.groups if round_of(group) < number]


def still_at(rounds: Mapping[str, int]) -> dict[str, str]:
    """What is said of sites that are at work, by site."""
    return {site: f"{LATE}: still at round {number}" for site, number in sorted(rounds.items())}
