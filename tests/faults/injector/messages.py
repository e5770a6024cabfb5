"""Answers that come several times, in any order, or late; statements that are said again, or out of turn."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from flwr.app import Context, Message, RecordDict

from client.link.connection import Connection
from client.site import Site
from common.link.link_pb2 import FromCoordinator, FromSite
from common.link.records import described
from server.link.sessions import Session
from tests.unit.conftest import FaultyGrid

SAID = {"offer", "ack", "cancel", "contract", "reply", "taken", "consent"}
"""What has a meaning, beside the first and the last words of a session; all others tell how a side is."""

FIRST_AND_LAST = {"hello", "welcome", "goodbye"}

Said = FromCoordinator | FromSite
Delivery = Callable[[Said, list[Said], Callable[[Said], None]], None]


class Post(FaultyGrid):
    """Delivers the answers to each question one by one, in the order that it is told.

    Args:
        sites: The hospitals.
        order: Their names, each as often as its answer is to come. Before the first answer to a question come
            all those to the question before it, once more.
    """

    def __init__(self, sites: Sequence[Site], order: Sequence[str]) -> None:
        super().__init__(sites)
        self.order = order
        self.delivered = 0
        self._to_come: deque[Message] = deque()
        self._before: list[Message] = []
        self._now: list[Message] = []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Ask, and put the answers into their order."""
        ids = list(super().push_messages(messages))
        answers = {self.sites[each.metadata.src_node_id].name: each for _, each in self._inbox.values()}
        self._inbox.clear()
        self._before, self._now = self._now, list(answers.values())
        self._to_come = deque([*self._before, *(answers[name] for name in self.order if name in answers)])
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The next one, whatever was asked for."""
        if not self._to_come:
            return []
        self.delivered += 1
        return [self._to_come.popleft()]


def again_and_again(names: Sequence[str]) -> list[str]:
    """The names in their order, and after each one all that came before it again."""
    return [each for number in range(len(names)) for each in names[: number + 1][::-1]]


def remembered(
    answer: Callable[[Message, Context], Message],
) -> Callable[[Message, Context], Message]:
    """The same hospitals, which work at the same question once: what a case is about is how answers come."""
    known: dict[str, RecordDict] = {}

    def answered(request: Message, context: Context) -> Message:
        site = str(sorted(context.node_config.items()))
        about = json.dumps(described(request.content)[0], sort_keys=True, default=str)
        key = f"{site} {request.metadata.message_type} {about}"
        if key not in known:
            known[key] = answer(request, context).content
        return Message(known[key], reply_to=request)

    return answered


def repeated(message: Said, before: list[Said], say: Callable[[Said], None]) -> None:
    """Say all that was said in a session again after each new word; what is itself said again comes once."""
    say(message)
    if message.WhichOneof("content") in SAID and message not in before:
        for each in before:
            say(each)
        before.append(message)


def out_of_turn(message: Said, before: list[Said], say: Callable[[Said], None]) -> None:
    """Say a message after the one that comes next; two in a row are not held back."""
    if before:
        say(message)
        say(before.pop())
    else:
        before.append(message)


@contextmanager
def delivering(delivery: Delivery) -> Iterator[None]:
    """Have what both sides of all links say come as ``delivery`` does it, during the block.

    Args:
        delivery: Called with a message, what it kept of those before in the same session, and what says one;
            the first and the last words of a session are said as they are.
    """
    send, put = Session.send, Connection.say
    kept = WeakKeyDictionary[Any, list[Said]]()

    def deliver(session: Any, message: Said, say: Callable[[Said], None]) -> None:
        if message.WhichOneof("content") in FIRST_AND_LAST:
            say(message)
        else:
            delivery(message, kept.setdefault(session, []), say)

    def sent(session: Session, message: FromCoordinator) -> None:
        deliver(session, message, lambda each: send(session, each))

    def said(connection: Connection, **content: Any) -> None:
        deliver(connection, FromSite(**content), lambda each: put(connection, **_content(each)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "send", sent)
        patch.setattr(Connection, "say", said)
        yield


def _content(message: Said) -> dict[str, Any]:
    kind = message.WhichOneof("content")
    return {kind: getattr(message, kind)}
