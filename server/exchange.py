"""Asking sites and collecting what they answer, over any Flower Grid.

Only ``push_messages`` and ``pull_messages`` are used, with an own interval: Flower's
``send_and_receive`` sleeps 3 s between looks and has no deadline of ours.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    """What a site answered to a message of a group; with a refusal, content at most names the site."""

    node_id: int
    group: str
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


@runtime_checkable
class RecallingGrid(Protocol):
    """A Grid that can tell nodes that a message is not to be answered any more."""

    def give_up(self, message_ids: Sequence[str], reason: str) -> None:
        """Take messages back; answers that came all the same are let go of. ``reason`` is a code."""
        ...


class Exchange:
    """Messages that are under way over one Grid, by group and node.

    Over a :class:`RememberingGrid` those that an earlier process sent are found again; over another Grid they
    are known as long as this object is.

    Args:
        grid: Carries them.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._sent: dict[str, dict[str, int]] = {}  # by group: the node of each message's id

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of which a message is under way, as far as is known here."""
        return tuple(self._sent)

    def send(
        self, contents: Mapping[int, RecordDict], message_type: str, group: str, ttl_s: float
    ) -> list[Reply]:
        """Send each node its content; refusals of nodes whose message was not accepted are returned.

        Args:
            contents: What to send, by node; not held on to.
            message_type: Flower's.
            group: Flower's group id.
            ttl_s: How long an answer is of use.
        """
        nodes = list(contents)
        messages = [Message(contents[node], node, message_type, ttl=ttl_s, group_id=group) for node in nodes]
        ids = list(self._grid.push_messages(messages)) if messages else []
        accepted = {each: node for each, node in zip(ids, nodes, strict=False) if each}
        self._note(group, {**self._sent.get(group, {}), **accepted})
        refused = set(nodes) - set(accepted.values())
        return [missing(node, group, "the message was not accepted") for node in nodes if node in refused]

    def recall(self, group: str) -> frozenset[int]:
        """The nodes of all messages of a group that are not used, an earlier process's included."""
        if isinstance(self._grid, RememberingGrid):
            self._note(group, dict(self._grid.sent_before(group)))
        return self.waiting(group)

    def waiting(self, group: str) -> frozenset[int]:
        """The nodes of the messages of a group that are not used, as far as is known here."""
        return frozenset(self._sent.get(group, {}).values())

    def look(self, groups: Sequence[str], nodes: Collection[int]) -> Iterator[Reply]:
        """Replies that are there by now, those to the first group first.

        One that is looked at counts as used once the next is asked for: whoever asks has written down by then
        what it says.

        Args:
            groups: To which messages.
            nodes: From whom.
        """
        place = {group: number for number, group in enumerate(groups)}
        asked = {
            each: (place[group], group, node)
            for group in groups
            for each, node in self._sent.get(group, {}).items()
            if node in nodes
        }
        pulled = self._grid.pull_messages(list(asked)) if asked else []
        arrived = {message.metadata.reply_to_message_id: message for message in pulled}
        del pulled
        known = (each for each in arrived if each in asked)  # whatever else a Grid may hand out
        for message_id in sorted(known, key=lambda each: asked[each][0]):
            _, group, node = asked[message_id]
            yield _reply(node, group, arrived.pop(message_id))
            self._let_go(group, [message_id])

    def drop(self, group: str, nodes: Collection[int]) -> None:
        """Let go of messages to these nodes: what was answered is written down."""
        self._let_go(group, self._ids(group, nodes))

    def give_up(self, group: str, nodes: Collection[int], reason: str) -> bool:
        """Whether these nodes could be told that nobody waits for their answers any more, and why (a code).

        Where they cannot, their answers may still come, and are still looked for.
        """
        if not isinstance(self._grid, RecallingGrid):
            return False
        ids = self._ids(group, nodes)
        self._grid.give_up(ids, reason)
        self._note(group, {i: node for i, node in self._sent.get(group, {}).items() if i not in ids})
        return True

    def forget(self, group: str) -> None:
        """Look for answers to a group's messages no more."""
        self._sent.pop(group, None)

    def _ids(self, group: str, nodes: Collection[int]) -> list[str]:
        return [each for each, node in self._sent.get(group, {}).items() if node in nodes]

    def _let_go(self, group: str, ids: Sequence[str]) -> None:
        if isinstance(self._grid, RememberingGrid):
            self._grid.used(ids)
        self._note(group, {i: node for i, node in self._sent.get(group, {}).items() if i not in ids})

    def _note(self, group: str, sent: dict[str, int]) -> None:
        self._sent[group] = sent
        if not sent:
            del self._sent[group]


class Pace:
    """A time to wait for; pauses are in step with how long answers take: quick in memory, else sparing.

    Args:
        wait_s: How long.
    """

    def __init__(self, wait_s: float) -> None:
        self._began, self._wait_s = time.monotonic(), wait_s

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() - self._began > self._wait_s

    def pause(self) -> None:
        """Wait a moment."""
        time.sleep(min(LONGEST_PAUSE_S, (time.monotonic() - self._began) / 50))


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
    exchange, nodes = Exchange(grid), frozenset(contents)
    before = exchange.recall(group)
    new = {node: content for node, content in contents.items() if node not in before}
    del contents  # they hold a model that nobody needs any more
    not_accepted = exchange.send(new, message_type, group, deadline_s)
    del new
    yield from not_accepted
    pace = Pace(deadline_s)
    while exchange.waiting(group) & nodes:
        idle = True
        for reply in exchange.look((group,), nodes):
            idle = False
            yield reply
        waiting = exchange.waiting(group) & nodes
        if pace.over:
            yield from (no_reply(node, group, deadline_s) for node in waiting)
            return
        if waiting and idle:
            pace.pause()


def no_reply(node_id: int, group: str, deadline_s: float) -> Reply:
    """What stands for the reply of a node that did not answer in time."""
    return missing(node_id, group, f"no reply within {deadline_s:g} s")


def missing(node_id: int, group: str, reason: str) -> Reply:
    """What stands for a reply that is none."""
    hint = "See that the site's process is running; its own log says more."
    return Reply(node_id, group, None, Refusal(NO_REPLY, reason, hint))


def _reply(node_id: int, group: str, message: Message) -> Reply:
    if message.has_error():
        return missing(node_id, group, f"the site's process failed (Flower error {message.error.code})")
    return Reply(node_id, group, message.content, read_refusal(message.content))
