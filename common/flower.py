"""The only module that touches names of flwr outside its public API.

Public are ``flwr.app``, ``flwr.clientapp``, ``flwr.serverapp`` (and ``flwr.simulation.run_simulation``).
``Message(...)`` of the public API raises until a task identity is set, which only Flower's own runtime
does; and the ``Run`` a Grid carries has no public name.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from typing import Any

from flwr.app import DEFAULT_TTL, Error, Message, Metadata, RecordDict

from common.errors import FlowerMoved


@dataclass(frozen=True, slots=True)
class PrivateName:
    """One private name of flwr that Consilium needs."""

    module: str
    name: str

    def resolve(self) -> Any:
        """The object behind the name.

        Raises:
            FlowerMoved: The installed flwr has no such name; the message says which.
        """
        try:
            return getattr(importlib.import_module(self.module), self.name)
        except (ImportError, AttributeError):
            raise FlowerMoved(f"flwr no longer has {self.module}.{self.name}") from None


TASK_IDENTITY = PrivateName("flwr.supercore.task_identity", "TaskIdentity")
RUN = PrivateName("flwr.supercore.run", "Run")
PRIVATE_NAMES = (TASK_IDENTITY, RUN)


def adopt_identity(run_id: int, node_id: int = 1) -> None:
    """Let this process create Messages, as Flower's runtime lets its own."""
    identity = TASK_IDENTITY.resolve()
    identity.task_id, identity.run_id, identity.node_id = 1, run_id, node_id


def empty_run(run_id: int) -> Any:
    """A ``Run`` that says nothing but its id."""
    return RUN.resolve().create_empty(run_id=run_id)


def with_message_id(message: Message, message_id: str) -> Message:
    """The same message under an id of its own, as a Flower server gives it on arrival."""
    old = message.metadata
    metadata = Metadata(
        run_id=old.run_id,
        message_id=message_id,
        src_node_id=old.src_node_id,
        dst_node_id=old.dst_node_id,
        reply_to_message_id=old.reply_to_message_id,
        group_id=old.group_id,
        created_at=old.created_at,
        ttl=old.ttl,
        message_type=old.message_type,
        src_task_id=old.src_task_id,
        dst_task_id=old.dst_task_id,
    )
    return _assembled(metadata, message.content)


def free_message(content: RecordDict, message_type: str, node_id: int = 0) -> Message:
    """A message that needs no identity and no Grid: what strategies and tests are handed."""
    metadata = Metadata(
        run_id=0,
        message_id="",
        src_node_id=node_id,
        dst_node_id=node_id,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=DEFAULT_TTL,
        message_type=message_type,
    )
    return _assembled(metadata, content)


def error_reply(message: Message, code: int, reason: str) -> Message:
    """What a Grid answers in the name of a node that cannot answer itself."""
    return Message(Error(code, reason), reply_to=message)


def _assembled(metadata: Metadata, content: RecordDict) -> Message:
    # `metadata` is accepted by the constructor and left out of its published overloads.
    return Message(metadata=metadata, content=content)  # type: ignore[call-overload, no-any-return]
