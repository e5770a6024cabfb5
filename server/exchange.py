"""Asking sites and collecting what they answer, over any Flower Grid.

Only ``push_messages`` and ``pull_messages`` are used, with an own interval: Flower's
``send_and_receive`` sleeps 3 s between looks and has no deadline of ours.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from common.errors import Refusal
from common.tasks import read_refusal

LONGEST_PAUSE_S = 0.25
NO_REPLY = "no-reply"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a site answered; with a refusal, content at most names the site."""

    node_id: int
    content: RecordDict | None
    refusal: Refusal | None


@runtime_checkable
class RememberingGrid(Protocol):
    """A Grid whose messages outlive the process that sent them."""

    def sent_before(self, group: str) -> Mapping[str, int]:
        """Ids of the group's messages that were sent and not used, with the node of each."""
        ...

    def used(self, message_ids: Sequence[str]) -> None:
        """Let go of replies: whoever asked has written down what they say."""
        ...


def ask(
    grid: Grid, contents: Mapping[int, RecordDict], message_type: str, group: str, deadline_s: float
) -> Iterator[Reply]:
    """Send each node its content and yield replies as they come, one a node.

    A node that has not answered at the deadline yields a refusal with code ``no-reply``. A node that was sent
    a message of this group by an earlier process, over a Grid that remembers, is not sent another. A reply
    counts as used once the next one is asked for.

    Args:
        grid: Carries the messages.
        contents: What to send, by node; not held on to.
        message_type: Flower's.
        group: Flower's group id: one question to one node.
        deadline_s: How long to wait.
    """
    waiting = _sent(grid, contents, message_type, group, deadline_s)
    yield from (
        _missing(node, "the message was not accepted") for node in set(contents) - set(waiting.values())
    )
    del contents  # they hold a model that nobody needs any more
    began = time.monotonic()
    while waiting:
        arrived = deque(grid.pull_messages(list(waiting)))
        idle = not arrived
        while arrived:
            message = arrived.popleft()
            node_id = waiting.pop(message.metadata.reply_to_message_id, None)
            if node_id is not None:
                yield _reply(node_id, message)
            if isinstance(grid, RememberingGrid):
                grid.used([message.metadata.reply_to_message_id])
            del message
        elapsed = time.monotonic() - began
        if elapsed > deadline_s:
            yield from (_missing(node, f"no reply within {deadline_s:g} s") for node in waiting.values())
            return
        if waiting and idle:
            # In step with how long answers take here: quick in memory, sparing over a network.
            time.sleep(min(LONGEST_PAUSE_S, elapsed / 50))


def _sent(
    grid: Grid, contents: Mapping[int, RecordDict], message_type: str, group: str, deadline_s: float
) -> dict[str, int]:
    """Ids of the messages that are under way, with the node of each."""
    waiting: dict[str, int] = {}
    if isinstance(grid, RememberingGrid):
        waiting = {each: node for each, node in grid.sent_before(group).items() if node in contents}
    new = [node for node in contents if node not in waiting.values()]
    messages = [Message(contents[node], node, message_type, ttl=deadline_s, group_id=group) for node in new]
    ids = list(grid.push_messages(messages)) if messages else []
    return {**waiting, **{each: node for each, node in zip(ids, new, strict=False) if each}}


def _reply(node_id: int, message: Message) -> Reply:
    if message.has_error():
        return _missing(node_id, f"the site's process failed (Flower error {message.error.code})")
    refusal = read_refusal(message.content)
    return Reply(node_id, message.content, refusal)


def _missing(node_id: int, reason: str) -> Reply:
    hint = "See that the site's process is running; its own log says more."
    return Reply(node_id, None, Refusal(NO_REPLY, reason, hint))
