"""What the entries of a ledger say, each kind with its facts.

Every entry also carries the number of this schema and the Consilium that wrote it. An entry of a newer schema
is not guessed at: whoever reads it stops.
"""

from __future__ import annotations

import re
import secrets
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from client.ledger.task import Purpose, Reservation, Task, Unit
from common import __version__
from common.chain import Entry, Facts
from common.errors import LedgerBroken
from common.private.event import Event

SCHEMA = 1
_OF_ALL = ("schema", "consilium")

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
HEAD = re.compile(r"^(0|[1-9][0-9]{0,17}):[0-9a-f]{64}$")
"""An entry in short, as ``number:digest``."""

Head = Annotated[str, StringConstraints(pattern=HEAD)]
Origin = Literal["ledger", "changed line", "audit log", "person"]


class Record(BaseModel):
    """What an entry says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    kind: ClassVar[str]


class Reserved(Record):
    """A task may begin; from now on its event counts whole."""

    kind: ClassVar[str] = "reserved"
    id: Id
    study: str
    study_digest: str
    round: int = Field(ge=0)
    base_digest: str
    cohort: str
    fingerprint: str
    purpose: Purpose
    unit: Unit
    noise_multiplier: float = Field(gt=0.0)
    sample_rate: float = Field(gt=0.0, le=1.0)
    steps: int = Field(ge=0)
    delta: float = Field(gt=0.0, lt=1.0)

    @classmethod
    def of(cls, task: Task, event: Event, delta: float) -> Reserved:
        """A new reservation.

        Raises:
            ValueError: No such event, or no such delta, can be.
        """
        return cls(
            id=secrets.token_hex(16),
            study=task.study,
            study_digest=task.study_digest,
            round=int(task.round),
            base_digest=task.base_digest,
            cohort=task.cohort,
            fingerprint=task.fingerprint,
            purpose=task.purpose,
            unit=task.unit,
            noise_multiplier=float(event.noise_multiplier),
            sample_rate=float(event.sample_rate),
            steps=int(event.steps),
            delta=float(delta),
        )

    @property
    def task(self) -> Task:
        """What for."""
        return Task(
            study=self.study,
            study_digest=self.study_digest,
            round=self.round,
            base_digest=self.base_digest,
            cohort=self.cohort,
            fingerprint=self.fingerprint,
            purpose=self.purpose,
            unit=self.unit,
        )

    @property
    def event(self) -> Event:
        """All that was reserved."""
        return Event(self.noise_multiplier, self.sample_rate, self.steps)

    def reservation(self, resumed: bool) -> Reservation:
        """The right to spend it."""
        return Reservation(self.id, self.task, self.event, self.delta, resumed)


class Settled(Record):
    """A reservation was used for so many steps and cannot be used again; only now may something be sent."""

    kind: ClassVar[str] = "settled"
    id: Id
    steps: int = Field(ge=0)
    clip_norm: float | None = Field(None, gt=0.0)


class Stopped(Record):
    """The coordinator remembers a head that this ledger does not know: nothing is reserved any more."""

    kind: ClassVar[str] = "stopped"
    head: Head


class Accepted(Record):
    """A person decided how to go on, and why; ``aside`` names the files that were kept."""

    kind: ClassVar[str] = "accepted"
    by: str
    reason: str
    aside: str
    lost: int = Field(ge=0)


class Carried(Reserved):
    """Spending taken over from a ledger that was set aside, or added by a person; it counts whole."""

    kind: ClassVar[str] = "carried"
    origin: Origin
    reserved_at: str = ""
    clip_norm: float | None = Field(None, gt=0.0)


class Former(Record):
    """A head of a ledger that was set aside: the audit log and coordinators may still name it."""

    kind: ClassVar[str] = "former"
    head: Head


_KINDS: dict[str, type[Record]] = {
    kind.kind: kind for kind in (Reserved, Settled, Stopped, Accepted, Carried, Former)
}


def facts_of(record: Record) -> Facts:
    """A record as an entry's facts."""
    return {"schema": SCHEMA, "consilium": __version__, **record.model_dump()}


def record_of(kind: str, facts: Facts, where: str) -> Record:
    """The record that an entry holds.

    Args:
        kind: What the entry is.
        facts: What it says.
        where: What to call it in an error.

    Raises:
        LedgerBroken: It is none, or one of a newer schema.
    """
    require_known_schema(facts, where)
    said = {name: value for name, value in facts.items() if name not in _OF_ALL}
    if facts.get("schema") != SCHEMA or kind not in _KINDS:
        raise LedgerBroken(f"{where} is none that a ledger has")
    try:
        return _KINDS[kind].model_validate(said)
    except ValidationError as invalid:
        fields = ", ".join(".".join(map(str, error["loc"])) for error in invalid.errors(include_url=False))
        raise LedgerBroken(f"{where} is not allowed in a ledger: {fields}") from None


def require_known_schema(facts: Facts, where: str) -> None:
    """Let entries pass that this Consilium can read.

    Raises:
        LedgerBroken: A newer one wrote it; its hint says what to do.
    """
    schema = facts.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        hint = "Install that release or a newer one here; leave the ledger as it is."
        raise LedgerBroken(
            f"{where} was written by Consilium {facts.get('consilium')}, a newer one", hint=hint
        )


def record_in(entry: Entry, ledger: str) -> Record:
    """The record that a ledger's entry holds; raises as :func:`record_of`."""
    return record_of(entry.event, entry.facts, f"{ledger}: entry {entry.number}")


def version_of(entry: Entry) -> str:
    """The Consilium that wrote an entry."""
    return str(entry.facts.get("consilium", ""))
