"""The contracts that a site received, and what was decided about each.

    studies/DIGEST.json     a contract: the bytes whose SHA-256 the file is called by
    studies/DIGEST.sealed   the envelope that it came in, for whoever wants to see the signature
    studies/decisions.jsonl every proposal and decision, chained by hashes

Invariants:

- A contract that was not decided on is proposed, and nothing runs under it.
- Each question reads the files anew: a decision of another process counts from then on.
- Each decision is told to the audit log. Where the log knows one that the chain does not hold, the chain was
  put back from an older copy, perhaps to undo a withdrawal, and everything stops.
- To reject or to withdraw, a contract need not be readable any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from client.cohorts.home import POLICY_FILE, Home
from client.cohorts.settings import ConsentPolicy, Policy, read_settings
from client.consent.shelf import ContractShelf
from client.consent.standing import (
    APPROVED,
    RECEIVED,
    REJECTED,
    WITHDRAWN,
    Standing,
    require_approver,
    standing_of,
    written_name,
)
from client.consent.witness import FINGERPRINT, Witness
from common.audit import AuditLog
from common.chain import Chain, Clock, Entry, Fact, OpenChain, utc_now
from common.contract import Contract, read_contract
from common.errors import AuditBroken, ContractExpired, ContractInvalid, StudyUnknown
from common.identity.keys import PublicKey
from common.link.envelope import Sealed

FOLDER, DECISIONS = "studies", "decisions.jsonl"
MOST_UNDECIDED = 100
"""Contracts that may wait for a decision: a coordinator cannot fill the disk with proposals."""

_LEAST_DIGITS = 8


class Consents:
    """The register of one site.

    Args:
        home: The site's home.
        now: The clock of its entries.
        fingerprint: What a cohort is at the moment, by its name; it is written down with an approval.
    """

    def __init__(
        self, home: Home, now: Clock = utc_now, fingerprint: Callable[[str], str] | None = None
    ) -> None:
        self.home = home
        self._fingerprint = fingerprint or self._registered
        self._shelf = ContractShelf(home.folder / FOLDER)
        self._chain = Chain(home.folder / FOLDER / DECISIONS, AuditBroken, now)
        self._witness = Witness(AuditLog(home.folder / "audit.jsonl", now))

    # What is there

    def known(self) -> dict[str, str]:
        """Digest and study's name of every contract that was received, the first one first.

        Raises:
            AuditBroken: The register is not what was written.
        """
        return _known(self._entries())

    def find(self, study: str) -> tuple[str, ...]:
        """Digests of the contracts that a person means by a study's name or the beginning of a digest.

        Raises:
            StudyUnknown: There is none.
            AuditBroken: The register is not what was written.
        """
        known = self.known()
        found = tuple(digest for digest, name in known.items() if name == study)
        if not found and len(study) >= _LEAST_DIGITS:
            found = tuple(digest for digest in known if digest.startswith(study))
        if not found:
            raise StudyUnknown(f"{study!r} is no study that was proposed")
        return found

    def find_open(self, study: str, now: datetime) -> str:
        """Digest of the one contract among those that waits for approval.

        Raises:
            StudyUnknown: There are several: nobody shall approve an amendment that came after they had read.
            AuditBroken, HomeInvalid: As :meth:`state`.
        """
        found = self.find(study)
        waiting = tuple(digest for digest in found if self.state(digest, now).status == "proposed") or found
        if len(waiting) > 1:
            named = "".join(f"\n  {digest[:12]}" for digest in waiting)
            hint = "Give the beginning of a digest instead; `consilium site studies` shows what each asks."
            raise StudyUnknown(f"several contracts are meant by {study!r}:{named}", hint=hint)
        return waiting[0]

    def contract(self, digest: str) -> Contract:
        """A contract that was received.

        Raises:
            StudyUnknown: There is none of that digest.
            AuditBroken: The register is not what was written.
            ContractInvalid: The contract is not what was received, or this release cannot read it.
        """
        self._require_known(digest, self._entries())
        return self._shelf.read(digest)

    def state(self, digest: str, now: datetime) -> Standing:
        """How a contract stands now, under the policy of now.

        Raises:
            StudyUnknown: There is none of that digest.
            AuditBroken: The register is not what was written.
            HomeInvalid: The policy cannot be read.
        """
        entries = self._entries()
        self._require_known(digest, entries)
        return self._standing(digest, entries, now)

    def approved_before(self, contract: Contract) -> Contract | None:
        """The contract of the same study that was approved last: what an amendment is compared with.

        Raises:
            AuditBroken, ContractInvalid: As :meth:`contract`.
        """
        approved = [e.facts for e in self._entries() if e.event == APPROVED]
        others = (str(f["contract"]) for f in reversed(approved) if f["study"] == contract.name)
        other = next((digest for digest in others if digest != contract.digest), None)
        return None if other is None else self._shelf.read(other)

    def policy(self) -> Policy:
        """``policy.toml`` as it is now.

        Raises:
            HomeInvalid: It cannot be read.
        """
        return read_settings(self.home.folder / POLICY_FILE, Policy)

    # What changes it

    def receive(self, sealed: Sealed, coordinator_key: PublicKey, federation: str, now: datetime) -> Contract:
        """The contract that arrived, kept; one that is known already changes nothing.

        Raises:
            ContractInvalid: It is not signed by the coordinator, says something of its study that the study
                does not, or too many wait already.
            ContractExpired: It holds no more.
            AuditBroken, DiskFull, OutputUnwritable: It cannot be kept.
        """
        contract = read_contract(sealed, coordinator_key, federation, now)
        self._shelf.make()
        with self._chain.opened() as chain:
            self._witness.compare(chain.entries)
            if contract.digest in _known(chain.entries):
                return contract
            _require_room(chain.entries)
            self._shelf.keep(contract, sealed)
            terms: dict[str, Fact] = {"rounds": contract.rounds, "expires": contract.expires}
            self._enter(chain, RECEIVED, contract.digest, contract.name, **terms)
        return contract

    def approve(self, digest: str, cohort: str, approver: str, now: datetime) -> Standing:
        """How the contract stands after one more person has approved it, for one cohort.

        Raises:
            ApproverRefused: The policy asks for somebody else.
            ContractExpired: It holds no more.
            CohortUnknown: There is no such cohort.
            StudyUnknown, AuditBroken, ContractInvalid, HomeInvalid: As :meth:`contract` and :meth:`state`.
        """
        contract, policy = self.contract(digest), self._consent()
        if contract.expired(now):
            raise ContractExpired(f"the contract of {contract.name} expired on {contract.expires}")
        fingerprint = self._fingerprint(cohort)
        with self._chain.opened() as chain:
            self._witness.compare(chain.entries)
            name = require_approver(policy, approver, self._standing(digest, chain.entries, now), cohort)
            facts: dict[str, Fact] = {"cohort": cohort, FINGERPRINT: fingerprint, "approver": name}
            self._enter(chain, APPROVED, digest, contract.name, **facts)
            return self._standing(digest, chain.entries, now)

    def reject(self, digest: str, by: str, now: datetime) -> Standing:
        """How the contract stands after somebody has rejected it: approvals given are void.

        Raises:
            ApproverRefused: That is no name.
            StudyUnknown, AuditBroken, HomeInvalid: As :meth:`state`.
        """
        return self._end(REJECTED, digest, by, now)

    def withdraw(self, digest: str, by: str, now: datetime) -> Standing:
        """How the contract stands after consent was withdrawn; whoever asks after this is refused.

        Raises:
            ApproverRefused: That is no name.
            StudyUnknown, AuditBroken, HomeInvalid: As :meth:`state`.
        """
        return self._end(WITHDRAWN, digest, by, now)

    def _end(self, event: str, digest: str, by: str, now: datetime) -> Standing:
        name = written_name(by)
        self._require_known(digest, self._entries())  # before a register is begun
        with self._chain.opened() as chain:
            self._witness.compare(chain.entries)
            self._require_known(digest, chain.entries)
            self._enter(chain, event, digest, _known(chain.entries)[digest], approver=name)
            return self._standing(digest, chain.entries, now)

    def _registered(self, cohort: str) -> str:
        from client.cohorts.cohort import find_cohort

        return find_cohort(self.home, cohort).fingerprint

    def _enter(self, chain: OpenChain, event: str, digest: str, study: str, **facts: Fact) -> None:
        # A process that ended between the two left a decision untold.
        self._witness.tell_last(chain.entries)
        chain.append(event, {"contract": digest, "study": study, **facts})
        self._witness.tell_last(chain.entries)

    def _entries(self) -> tuple[Entry, ...]:
        with self._chain.reading() as entries:
            try:
                self._witness.compare(entries)
                return entries
            except AuditBroken:
                if entries:
                    raise
        # There was no file to lock, and another process has begun it since; or it was taken away.
        with self._chain.reading() as entries:
            self._witness.compare(entries)
            return entries

    def _standing(self, digest: str, entries: Sequence[Entry], now: datetime) -> Standing:
        ends = next(e.facts["expires"] for e in entries if _receives(e) and e.facts["contract"] == digest)
        expired = now >= datetime.fromisoformat(str(ends))
        return standing_of(digest, entries, self._consent(), expired=expired)

    def _consent(self) -> ConsentPolicy:
        return self.policy().consent

    @staticmethod
    def _require_known(digest: str, entries: Sequence[Entry]) -> None:
        if digest not in _known(entries):
            raise StudyUnknown(f"no contract {digest[:64]!r} was received")


def _receives(entry: Entry) -> bool:
    return entry.event == RECEIVED


def _known(entries: Sequence[Entry]) -> dict[str, str]:
    """Digest and study's name of each contract that was received, the first one first."""
    return {str(e.facts["contract"]): str(e.facts["study"]) for e in entries if _receives(e)}


def _require_room(entries: Sequence[Entry]) -> None:
    decided = {e.facts["contract"] for e in entries if not _receives(e)}
    if len(_known(entries).keys() - decided) >= MOST_UNDECIDED:
        raise ContractInvalid(
            f"{MOST_UNDECIDED} contracts wait for a decision already",
            hint="At the hospital, `consilium site reject` those that nobody wants; then propose it again.",
        )
