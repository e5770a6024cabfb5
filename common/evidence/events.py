"""The table of everything an audit log tells: each event with the facts that belong to it.

Facts are counts, codes, digests, and names of cohorts, studies, sites and people who decide; never a value
out of patient data, never a path, never an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from common.evidence.entry import Facts
from common.evidence.event import Event, Kind

CONTINUED, REPAIRED = "audit.continued", "audit.repaired"
PEER_HEAD, PEER_ROLLED_BACK = "peer.head", "peer.rolled-back"
SITE_CREATED, SITE_ENROLLED, COORDINATOR_CREATED = "site.created", "site.enrolled", "coordinator.created"
STUDY_ENDED, RELEASE_SENT = "study.ended", "release.sent"

_TEXT, _COUNT, _NUMBER, _FLAG, _DIGEST, _HEAD = Kind

_SITE = {"site": _TEXT}
_CODE = {"code": _TEXT}
_COHORT = {"cohort": _TEXT}
_CERTIFICATE = {"serial": _TEXT, "fingerprint": _DIGEST}
_TASK = {"task": _TEXT, "contract": _DIGEST}
_CONTRACT = {"contract": _DIGEST}
_CONTENT = {"digest": _DIGEST, "bytes": _COUNT}
_WHERE = {"study": _TEXT, "message_type": _TEXT, "round": _COUNT}
_LEDGER = {"ledger": _TEXT, "number": _COUNT, "digest": _DIGEST, "schema": _COUNT, "consilium": _TEXT}
_RESERVED = {
    **_LEDGER, "id": _TEXT, "study": _TEXT, "study_digest": _TEXT, "round": _COUNT, "base_digest": _TEXT,
    "cohort": _TEXT, "fingerprint": _TEXT, "purpose": _TEXT, "unit": _TEXT, "noise_multiplier": _NUMBER,
    "sample_rate": _NUMBER, "steps": _COUNT, "delta": _NUMBER,
}  # fmt: skip

_LISTENING = {"port": _COUNT, "code_digest": _DIGEST}
_SESSION = {"session": _TEXT, "version": _TEXT, "code_digest": _DIGEST}
_TERMS = {
    "study": _TEXT,
    "rounds": _COUNT,
    "expires": _TEXT,
    "statement": _DIGEST,
    "replaces": _DIGEST,
    "decision": _HEAD,
}
_DECISION = {"study": _TEXT, "cohort": _TEXT, "reason": _TEXT, "decision": _HEAD}

_LOG = {
    CONTINUED: Event(
        "The file before was closed at its limit; the log goes on here.",
        {"file": _TEXT, "head": _HEAD, "sha256": _DIGEST},
    ),
    REPAIRED: Event(
        "A crash had left a line without its end, which nobody was ever told was written; it was taken away.",
        {"bytes": _COUNT, "sha256": _DIGEST},
    ),
    PEER_HEAD: Event(
        "The other side's log ended so when it last sent something.",
        {"peer": _TEXT, "head": _HEAD},
        {"statement": _DIGEST, "issued": _COUNT},
    ),
    PEER_ROLLED_BACK: Event(
        "The other side named a head that cannot follow the one it named before.",
        {"peer": _TEXT, "head": _TEXT, "before": _HEAD},
        {"statement": _DIGEST, "issued": _COUNT},
    ),
}
_HOSPITAL = {
    SITE_CREATED: Event("The site's home was made.", _SITE),
    "cohort.intake-begun": Event(
        "An intake of pictures began.",
        {**_COHORT, "files": _COUNT, "labels": _FLAG, "allow_burned_in": _FLAG},
    ),
    "cohort.intake-ended": Event(
        "An intake ended; files by what became of them.", {**_COHORT, "intake": _COUNT}, others=_COUNT
    ),
    "cohort.records-begun": Event("A table of records is taken in.", {**_COHORT, "cases": _COUNT}),
    "cohort.records-registered": Event(
        "A table of records is a cohort now.", {**_COHORT, "intake": _COUNT, "cases": _COUNT}
    ),
    "cohort.removed": Event(
        "A cohort was let go of.", {**_COHORT, "cases": _COUNT, "fingerprint": _TEXT}
    ),
    "dicom.deidentifying": Event(
        "De-identified copies are written.", {"seen": _COUNT, "allow_burned_in": _FLAG}
    ),
    "dicom.deidentified": Event(
        "De-identified copies were written.", {"seen": _COUNT, "done": _COUNT, "written": _COUNT}
    ),
    "pacs.received": Event(
        "Pictures that archives sent.", {"new": _COUNT, "already": _COUNT, "refused": _COUNT}
    ),
    "pacs.queried": Event("An archive was asked.", {"archive": _TEXT, "found": _COUNT}),
    "pacs.retrieved": Event(
        "Pictures were fetched from an archive.",
        {"archive": _TEXT, "method": _TEXT, "expected": _COUNT, "new": _COUNT, "already": _COUNT},
        others=_COUNT,
    ),
    "pacs.interrupted": Event(
        "Fetching from an archive failed.", {"archive": _TEXT, "method": _TEXT, **_CODE}
    ),
    "certificate.issued": Event(
        "A privacy certificate was written.", {**_COHORT, "head": _TEXT, "sha256": _DIGEST}
    ),
}  # fmt: skip
_SPENDING = {
    "ledger.reserved": Event("Privacy was reserved for a task.", _RESERVED),
    "ledger.settled": Event(
        "A reservation was used; only now may something be sent.",
        {**_LEDGER, "id": _TEXT, "steps": _COUNT},
        {"clip_norm": _NUMBER},
    ),
    "ledger.stopped": Event(
        "The coordinator remembers a head that the ledger lacks.", {**_LEDGER, "head": _HEAD}
    ),
    "ledger.accepted": Event(
        "A person let a ledger go on that was not what was written.",
        {**_LEDGER, "by": _TEXT, "reason": _TEXT, "aside": _TEXT, "lost": _COUNT},
    ),
    "ledger.carried": Event(
        "Spending was taken over from a ledger that was set aside.",
        {**_RESERVED, "origin": _TEXT, "reserved_at": _TEXT},
        {"clip_norm": _NUMBER},
    ),
    "ledger.former": Event("A head of a ledger that was set aside.", {**_LEDGER, "head": _HEAD}),
}
_MEMBERS = {
    COORDINATOR_CREATED: Event(
        "The coordinator's home and certificate authority were made.",
        {"federation": _TEXT, "authority": _DIGEST},
    ),
    "coordinator.started": Event("The coordinator's daemon started.", {"version": _TEXT}, _LISTENING),
    "coordinator.stopped": Event("The coordinator's daemon stopped.", optional=_CODE),
    "coordinator.renewed": Event("The coordinator's certificate was made anew.", _CERTIFICATE),
    "site.invited": Event("A site was invited.", {**_SITE, "invitation": _TEXT, "expires": _TEXT}),
    SITE_ENROLLED: Event(
        "A site has a certificate now.",
        {**_SITE, **_CERTIFICATE},
        {"invitation": _TEXT, "node": _COUNT, "federation": _TEXT, "authority": _DIGEST},
    ),
    "enrolment.refused": Event(
        "Somebody was not let in.", _CODE, {"role": _TEXT, "name": _TEXT, **_SITE, "invitation": _TEXT}
    ),
    "site.renewed": Event("A site's certificate was made anew.", {**_SITE, **_CERTIFICATE}),
    "site.revoked": Event("A site takes part no more.", _SITE, {"by": _TEXT, "reason": _TEXT}),
    "site.started": Event("The site's daemon started.", {"version": _TEXT}, {"code_digest": _DIGEST}),
    "site.stopped": Event("The site's daemon stopped.", optional=_CODE),
    "link.connected": Event("A site is connected.", optional={**_SITE, **_SESSION}),
    "link.disconnected": Event("A site is connected no more.", optional={**_SITE, **_CODE, "session": _TEXT}),
    "link.refused": Event(
        "A connection or call was refused.", _CODE, {**_SITE, "role": _TEXT, "name": _TEXT, "call": _TEXT}
    ),
    "settings.changed": Event(
        "A file of settings is another than before.", {"file": _TEXT, "sha256": _DIGEST}
    ),
}
_STUDIES = {
    "study.proposed": Event("The coordinator signed a contract.", {"study": _TEXT, **_CONTRACT}, _TERMS),
    "study.received": Event("A contract was proposed here.", {"study": _TEXT, **_CONTRACT}, _TERMS),
    "study.approved": Event(
        "A person of the hospital approved a contract.", {**_CONTRACT, "approver": _TEXT}, _DECISION
    ),
    "study.rejected": Event(
        "A person of the hospital rejected it.", {**_CONTRACT, "approver": _TEXT}, _DECISION
    ),
    "study.withdrawn": Event(
        "A person of the hospital withdrew it, at once.", {**_CONTRACT, "approver": _TEXT}, _DECISION
    ),
    "study.refused": Event("A contract or a decision on it was refused.", _CODE, {**_TERMS, **_CONTRACT}),
    "consent.received": Event(
        "A site told what it decided.", {**_SITE, **_CONTRACT, "decision": _TEXT}, {"statement": _DIGEST}
    ),
    "study.started": Event(
        "A study runs.", {"study": _TEXT}, {**_CONTRACT, "rounds": _COUNT, "sites": _COUNT}
    ),
    "study.stopped": Event("A person had a study stop.", {"study": _TEXT, **_CONTRACT, "by": _TEXT}),
    "site.readmitted": Event(
        "A person let a suspended site back into a study.", {**_SITE, **_CONTRACT, "by": _TEXT}
    ),
    STUDY_ENDED: Event(
        "A study runs no more; digest is of its model's weights, sha256 of the model's file.",
        {"study": _TEXT},
        {**_CONTRACT, **_CODE, "rounds": _COUNT, "digest": _DIGEST, "sha256": _DIGEST},
    ),
}
_TASKS = {
    "task.sent": Event("A task was given to a site.", {**_TASK, **_SITE}, {**_WHERE, **_CONTENT}),
    "task.received": Event("A task came.", _TASK, {**_WHERE, **_CONTENT}),
    "task.refused": Event("A task was not run.", {**_TASK, **_CODE}, {**_WHERE, **_SITE}),
    "task.cancelled": Event(
        "A task was called off.", {"task": _TEXT}, {**_CONTRACT, "reason": _TEXT, **_SITE}
    ),
    "task.failed": Event("A task ended in an error.", {**_TASK, **_CODE}, {**_WHERE, **_SITE}),
    RELEASE_SENT: Event(
        "This left the hospital; model is the digest of the weights that were trained on or tested.",
        {**_TASK, **_CONTENT},
        {**_WHERE, "acknowledged": _FLAG, "model": _DIGEST},
    ),
    "release.acknowledged": Event("The coordinator has what was sent.", {"task": _TEXT, "digest": _DIGEST}),
    "reply.received": Event("A site's reply was stored.", {**_TASK, **_SITE, **_CONTENT}, _WHERE),
    "reply.refused": Event("A site's reply was not used.", {**_SITE, **_CODE}, {**_TASK, **_WHERE}),
    "message.refused": Event(
        "A message was not what it claimed to be.", _CODE, {**_SITE, **_TASK, "kind": _TEXT, "name": _TEXT}
    ),
    "executor.died": Event("The process that trains died and was started anew.", {"task": _TEXT}, _CODE),
}

EVENTS: Mapping[str, Event] = MappingProxyType(
    {**_LOG, **_HOSPITAL, **_SPENDING, **_MEMBERS, **_STUDIES, **_TASKS}
)


def objection(event: str, facts: Facts) -> str | None:
    """What is wrong with an event and its facts; None if the table has them so."""
    row = EVENTS.get(event)
    wrong = "is not in the table" if row is None else row.objection(facts)
    return f"event {event} {wrong}" if wrong else None
