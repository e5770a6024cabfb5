"""What the decisions about a contract come to, under the policy of today.

Nothing is approved but by enough different people who may, for one cohort, since the last time that anybody
rejected or withdrew it. Whoever loses the right to approve, loses the approvals given.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from client.cohorts.settings import ConsentPolicy
from common.chain import Entry
from common.errors import ApproverRefused

Status = Literal["proposed", "approved", "rejected", "withdrawn", "expired"]
RECEIVED, APPROVED, REJECTED, WITHDRAWN = (
    "study.received",
    "study.approved",
    "study.rejected",
    "study.withdrawn",
)
_ENDED: dict[str, Status] = {REJECTED: "rejected", WITHDRAWN: "withdrawn"}
_MOST_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Standing:
    """How a contract stands.

    Attributes:
        status: ``approved`` lets tasks run, and nothing else does.
        cohort: What it is approved for; where more must approve, what the last one did for.
        approvers: Who approved it for that cohort, as they gave their names.
        needed: How many different people must.
    """

    status: Status
    cohort: str
    approvers: tuple[str, ...]
    needed: int


def standing_of(
    digest: str, entries: Iterable[Entry], policy: ConsentPolicy, *, expired: bool = False
) -> Standing:
    """The standing of a contract after some decisions.

    Args:
        digest: The contract's.
        entries: All decisions, about whatever contract, in their order.
        policy: Whose word counts.
        expired: Whether the contract holds no more.
    """
    status: Status = "proposed"
    approved, last = "", ""
    given: dict[str, dict[str, str]] = {}  # cohort -> person -> name as given
    for entry in entries:
        if entry.facts.get("contract") != digest:
            continue
        if entry.event in _ENDED:
            status, approved, last, given = _ENDED[entry.event], "", "", {}
        elif entry.event == APPROVED:
            last, name = str(entry.facts["cohort"]), str(entry.facts["approver"])
            if _may(policy, name):
                given.setdefault(last, {}).setdefault(person(name), name)
            enough = len(given.get(last, {})) >= policy.approvers
            approved = last if enough else approved
            status = "approved" if approved else "proposed"
    cohort = approved or last
    if expired and status in ("proposed", "approved"):
        status = "expired"
    return Standing(status, cohort, tuple(given.get(cohort, {}).values()), policy.approvers)


def require_approver(policy: ConsentPolicy, name: str, before: Standing, cohort: str) -> str:
    """The approver's name as it is written down.

    Args:
        policy: Who may approve.
        name: As given.
        before: How the contract stands.
        cohort: What it is approved for.

    Raises:
        ApproverRefused: It is no name, the policy does not name it, or that person has approved already.
    """
    written = written_name(name)
    if not _may(policy, written):
        raise ApproverRefused(f"{written!r} is not among those whom policy.toml allows to approve")
    if before.cohort == cohort and person(written) in map(person, before.approvers):
        left = before.needed - len(before.approvers)
        why = f"; {left} other must approve" if left > 0 else ", and no more is needed"
        raise ApproverRefused(f"{written!r} has approved already{why}")
    return written


def written_name(name: str) -> str:
    """A person's name as it is written down: on one line, with single blanks.

    Raises:
        ApproverRefused: It is none.
    """
    written = " ".join(name.split())
    if not 0 < len(written) <= _MOST_CHARACTERS or not written.isprintable() or not person(written):
        raise ApproverRefused(
            "whoever decides has a name, of 100 printable characters at most",
            hint="Give the name of the person who decides; it is written to the audit log.",
        )
    return written


def person(name: str) -> str:
    """Who is meant by a name: case, blanks, and how letters are encoded make nobody another."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def _may(policy: ConsentPolicy, name: str) -> bool:
    return not policy.allowed or person(name) in map(person, policy.allowed)
