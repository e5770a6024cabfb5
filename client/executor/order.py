"""What the daemon hands to the process that trains, and what that hands back: JSON, never pickle.

Weights are not in it. They lie in blob stores that both can read, under the digests that the records name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Order:
    """One task, as far as the process that trains must know it.

    Attributes:
        task: Its id.
        message_type: Flower's: ``query``, ``train`` or ``evaluate``.
        site: The site as Flower's node config (:meth:`client.site.Site.node_config`).
        records: What was sent, as :func:`common.link.records.described` describes it.
    """

    task: str
    message_type: str
    site: Mapping[str, Scalar]
    records: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The order as it goes through the pipe."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def of_bytes(data: bytes) -> Order:
        """The order that ``to_bytes`` wrote."""
        return Order(**json.loads(data))


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an order.

    Attributes:
        task: Its id.
        records: The reply's records; its weights are in the blob store.
        last: The process cannot be relied on any more, and does not wait for another order.
    """

    task: str
    records: Mapping[str, Any]
    last: bool = False

    def to_bytes(self) -> bytes:
        """The answer as it goes through the pipe."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, slots=True)
class Underway:
    """How far an order is, as a share between 0 and 1."""

    done: float

    def to_bytes(self) -> bytes:
        """The share as it goes through the pipe."""
        return json.dumps(asdict(self)).encode()


def said_in(data: bytes) -> Done | Underway:
    """What the process that trains says: how far it is, or at last what became of the order."""
    document = json.loads(data)
    return Done(**document) if "task" in document else Underway(**document)
