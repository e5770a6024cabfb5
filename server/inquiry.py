"""Asking sites one thing each, with the journal keeping what they answer and why others do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flwr.app import RecordDict
from flwr.serverapp import Grid

from common.errors import (
    AuditBroken,
    BudgetSpent,
    ConsiliumError,
    ContractExpired,
    LedgerBroken,
    LedgerRolledBack,
    PolicyRefused,
    PrivacyRequired,
    Refusal,
    ReservationClosed,
    SiteRefused,
    StudyUnapproved,
    StudyUnknown,
    StudyWithdrawn,
    TargetSpent,
    UnitRefused,
)
from server.exchange import NO_REPLY, Reply, ask
from server.journal import RunJournal, Stage
from server.roster import Roster

Answer = TypeVar("Answer")
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


class Inquiry:
    """Puts questions to the sites of a study.

    Args:
        grid: Carries them.
        roster: Who is there.
        journal: Keeps what comes of them.
        strict: Stop at a refusal, unless a hospital's privacy is the reason.
    """

    def __init__(self, grid: Grid, roster: Roster, journal: RunJournal, *, strict: bool) -> None:
        self._grid, self._roster, self._journal, self._strict = grid, roster, journal, strict

    def put(
        self,
        contents: dict[str, RecordDict],
        stage: Stage,
        round_number: int,
        read: Callable[[RecordDict, str], Answer],
        keep: Callable[[Answer], object],
        deadline_s: float,
        group: str,
    ) -> None:
        """Have the journal keep what the sites answer, or why they do not.

        Args:
            contents: What to send to each site; emptied, since it holds a model that nobody needs once it is
                sent.
            stage: What they are asked for: Flower's type of message.
            round_number: In which round.
            read: Makes an answer of a reply's content, which is not trusted, and the site's name.
            keep: Writes an answer down.
            deadline_s: How long to wait.
            group: Flower's group id: one question to one site.

        Raises:
            SiteRefused: One did, and that is to stop the study.
            JournalTaken, MachineError: It cannot be written down.
        """
        names = {self._roster.nodes[site]: site for site in contents}
        sent = {node: contents[site] for node, site in names.items()}
        contents.clear()
        replies = ask(self._grid, sent, stage, group, deadline_s)
        del sent
        for reply in replies:
            answer = self.answer(reply, names[reply.node_id], stage, round_number, read)
            del reply  # its arrays, once they lie in a file
            if answer is not None:
                keep(answer)

    def answer(
        self,
        reply: Reply,
        site: str,
        stage: Stage,
        round_number: int,
        read: Callable[[RecordDict, str], Answer],
    ) -> Answer | None:
        """What a reply says; None where it is no answer, and the journal has been told why.

        Args:
            reply: What came.
            site: Who sent it.
            stage, round_number, read: As for :meth:`put`.

        Raises:
            SiteRefused: The site did, and that is to stop the study.
            JournalTaken, MachineError: It cannot be written down.
        """
        if reply.refusal is not None or reply.content is None:
            self._journal.refuse(round_number, stage, site, str(reply.refusal))
            if self._strict and reply.refusal is not None and _stops(reply.refusal):
                raise SiteRefused(f"{site}: {reply.refusal}", hint=reply.refusal.hint)
            return None
        try:
            return read(reply.content, site)
        except ConsiliumError as error:
            self._not_let_in(round_number, stage, site, error)
            return None

    def _not_let_in(self, round_number: int, stage: Stage, site: str, error: ConsiliumError) -> None:
        self._journal.refuse(round_number, stage, site, f"{error.code}: {error.private}"[:500])
        if stage == "train":
            self._journal.refuse(round_number, "gate", site, error.private[:500])


def _stops(refusal: Refusal) -> bool:
    """Whether a strict run ends with this refusal."""
    return refusal.code not in {NO_REPLY, *HOSPITALS_RIGHT}
