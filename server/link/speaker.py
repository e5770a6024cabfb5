"""What the coordinator says to sites: signed statements, and the errors that it ends a session with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from common.errors import ConsiliumError
from common.identity.keys import PrivateKey
from common.link.envelope import COORDINATOR, Kind, Sealed, Statement, seal
from common.link.link_pb2 import Envelope, Goodbye


@dataclass(frozen=True, slots=True)
class Speaker:
    """Signs in the coordinator's name.

    Attributes:
        federation: Whose coordinator it is.
        key: What it signs with.
        now_ms: Milliseconds since 1970.
    """

    federation: str
    key: PrivateKey
    now_ms: Callable[[], int]

    def task(self, site: str, task: str, contract: str, content: Mapping[str, Any]) -> Sealed:
        """A task for a site; its id is also the statement's, so that a site knows a task that comes again."""
        return self._sealed("task", site, task, task, contract, content)

    def acknowledgement(self, site: str, task: str, contract: str, digest: str, outcome: str) -> Sealed:
        """That a site's reply has arrived.

        Args:
            site: Whose reply it is.
            task: What it answers.
            contract: The contract both belong to.
            digest: Of the reply's body.
            outcome: What became of it: ``stored``, or ``late`` where nobody waited for it any more.
        """
        content = {"digest": digest, "outcome": outcome}
        return self._sealed("acknowledgement", site, uuid4().hex, task, contract, content)

    def _sealed(
        self, kind: Kind, site: str, name: str, about: str, contract: str, content: Mapping[str, Any]
    ) -> Sealed:
        issued = self.now_ms()
        statement = Statement(
            kind, self.federation, COORDINATOR, site, name, about, issued, contract, content
        )
        return seal(statement, self.key)


def goodbye(error: ConsiliumError) -> Goodbye:
    """What a site is told when its session ends for an error."""
    refusal = error.refusal()
    return Goodbye(code=refusal.code, public=refusal.public, hint=refusal.hint)


def enveloped(sealed: Sealed) -> Envelope:
    """A sealed statement as a message's part."""
    return Envelope(body=sealed.body, signature=sealed.signature)


def sealed_in(envelope: Envelope) -> Sealed:
    """The sealed statement in a message's part."""
    return Sealed(envelope.body, envelope.signature)
