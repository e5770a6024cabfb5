"""Asking sites and collecting what they answer, over any Flower Grid.

Only ``push_messages`` and ``pull_messages`` are used, with an own interval: Flower's
``send_and_receive`` sleeps 3 s between looks and has no deadline of ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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


def ask(
    grid: Grid, contents: Mapping[int, RecordDict], message_type: str, group: str, deadline_s: float
) -> Iterator[Reply]:
    """Send each node its content and yield replies as they come, one a node.

    A node that has not answered at the deadline yields a refusal with code ``no-reply``.
    """
    messages = [
        Message(content, node_id, message_type, ttl=deadline_s, group_id=group)
        for node_id, content in contents.items()
    ]
    ids = list(grid.push_messages(messages))
    waiting = {message_id: node for message_id, node in zip(ids, contents, strict=False) if message_id}
    yield from (
        _missing(node, "the message was not accepted") for node in set(contents) - set(waiting.values())
    )
    began = time.monotonic()
    while waiting:
        arrived = list(grid.pull_messages(list(waiting)))
        for message in arrived:
            node_id = waiting.pop(message.metadata.reply_to_message_id, None)
            if node_id is not None:
                yield _reply(node_id, message)
        elapsed = time.monotonic() - began
        if elapsed > deadline_s:
            yield from (_missing(node, f"no reply within {deadline_s:g} s") for node in waiting.values())
            return
        if waiting and not arrived:
            # In step with how long answers take here: quick in memory, sparing over a network.
            time.sleep(min(LONGEST_PAUSE_S, elapsed / 50))


def _reply(node_id: int, message: Message) -> Reply:
    if message.has_error():
        return _missing(node_id, f"the site's process failed (Flower error {message.error.code})")
    refusal = read_refusal(message.content)
    return Reply(node_id, message.content, refusal)


def _missing(node_id: int, reason: str) -> Reply:
    hint = "See that the site's process is running; its own log says more."
    return Reply(node_id, None, Refusal(NO_REPLY, reason, hint))
