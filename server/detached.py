"""A Flower Grid without Flower's runtime: what every one of them does alike."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import count
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from common.flower import adopt_identity, empty_run, with_message_id

RUN_ID = 1


class DetachedGrid(Grid):
    """Identity, run and messages; who is there and how messages reach them, a subclass says."""

    def __init__(self) -> None:
        adopt_identity(RUN_ID)
        self._run = empty_run(RUN_ID)
        self._ids = count(1)

    def set_run(self, run: Any) -> None:
        """Work for another run."""
        self._run = run

    @property
    def run(self) -> Any:
        """The run the Grid works for."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for their replies, at most ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        waiting, replies = set(self.push_messages(messages)), []
        while waiting and (end is None or time.monotonic() < end):
            arrived = list(self.pull_messages(waiting))
            waiting -= {message.metadata.reply_to_message_id for message in arrived}
            replies += arrived
        return replies

    def numbered(self, message: Message) -> Message:
        """The message with the next free id, as it arrives."""
        return with_message_id(message, str(next(self._ids)))
