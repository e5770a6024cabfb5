"""Replies that are not what they claim to be: refused with a code, audited, and nobody else's harm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from common.link.blobs import Parts
from common.link.envelope import Sealed
from common.link.link_pb2 import Envelope
from tests.integration.link.hospital import Hospital, Line, envelope_of

Told = Callable[..., list[dict[str, Any]]]
Pulled = Callable[..., list[Message]]
ANSWER = RecordDict({"about": ConfigRecord({"site": "alder", "loss": 0.5})})


@dataclass
class Scene:
    """Two sites, each connected and asked something."""

    alder: Hospital
    birch: Hospital
    line: Line
    other: Line
    task: str
    other_task: str
    pulled: Pulled
    told: Told

    def refused(self, envelope: Envelope, code: str, **facts: Any) -> None:
        """Alder sends this, which is refused; what Birch was asked is answered as if nothing had been."""
        self.line.say(reply=envelope)
        assert self.line.expect("cancel").reason == code
        assert self.told("reply.refused", site="alder", code=code, **facts)
        sealed, _ = self.birch.reply(self.other_task, RecordDict())
        self.other.say(reply=envelope_of(sealed))
        assert self.birch.acknowledged(self.other.expect("ack"))[0] == self.other_task
        assert self.pulled(self.other_task)[0].has_content()

    def failed(self, code: str) -> None:
        """What Alder was asked has an error for an answer."""
        [reply] = self.pulled(self.task)
        assert reply.has_error() and reply.error.reason == code


@pytest.fixture
def scene(
    alder: Hospital,
    birch: Hospital,
    push: Callable[..., str],
    pulled: Pulled,
    told: Told,
    weights: Callable[..., RecordDict],
) -> Iterator[Scene]:
    with alder.session() as line, birch.session() as other:
        task, other_task = push(alder, weights(1)), push(birch, weights(1))
        line.expect("offer")
        other.expect("offer")
        yield Scene(alder, birch, line, other, task, other_task, pulled, told)


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": "birch"},
        {"recipient": "birch"},
        {"federation": "f" * 12},
        {"kind": "consent"},
        {"kind": "task"},
        {"contract": "d" * 64},
        {"contract": ""},
        {"content": {"records": None}},
        {"content": {"records": {"content": [{"kind": "arrays"}]}}},
        {"content": {"audit_head": "none"}},
        {"content": {"audit_head": 7}},
    ],
    ids=str,
)
def test_a_statement_that_does_not_fit(changes: dict[str, Any], scene: Scene) -> None:
    sealed, _ = scene.alder.reply(scene.task, ANSWER, **changes)
    scene.refused(envelope_of(sealed), "envelope-refused", task=scene.task)
    scene.failed("envelope-refused")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"about":"\\ud800"}', bytes(2**20 + 1)]
)
def test_garbage(body: bytes, scene: Scene) -> None:
    scene.refused(Envelope(body=body, signature=b"none"), "envelope-refused")


def test_for_a_task_that_nobody_was_given(scene: Scene) -> None:
    sealed, _ = scene.alder.reply("e" * 32, ANSWER)
    scene.refused(envelope_of(sealed), "envelope-refused")


def test_a_reply_that_speaks_for_another_site(scene: Scene) -> None:
    sealed, _ = scene.alder.reply(scene.task, RecordDict({"about": ConfigRecord({"site": "birch"})}))
    scene.line.say(reply=envelope_of(sealed))
    scene.line.expect("ack")
    scene.failed("envelope-refused")
    assert scene.told("reply.refused", site="alder", task=scene.task, code="envelope-refused")


def test_a_reply_whose_weights_have_not_come(
    scene: Scene, weights: Callable[..., RecordDict], pulled: Pulled
) -> None:
    """The session ends; with the weights the same reply is good."""
    sealed, parts = scene.alder.reply(scene.task, weights(2))
    scene.line.say(reply=envelope_of(sealed))
    assert scene.line.goodbye().code == "blob-refused"
    assert scene.told("link.disconnected", site="alder", code="blob-refused")
    assert pulled(scene.task, 0.1) == []
    _answered(scene, sealed, parts)


def test_a_reply_whose_weights_are_shorter_than_it_says(
    scene: Scene, weights: Callable[..., RecordDict]
) -> None:
    sealed, parts = scene.alder.reply(scene.task, weights(2))
    said = sealed.body.replace(b'"size":', b'"size":1')
    lying = scene.alder.said("reply", scene.task, _content(said))
    scene.alder.store(parts)
    scene.line.say(reply=envelope_of(lying))
    assert scene.line.goodbye().code == "blob-refused"
    _answered(scene, sealed, parts)


def test_weights_that_are_none_are_an_error_of_that_site_only(scene: Scene) -> None:
    """What the site signed is kept as it is; nothing of it is used."""
    data = b"\x05" + bytes(7) + b"[junk]"
    description = {
        "content": [{"kind": "arrays", "name": "arrays", "blob": _digest(data), "size": len(data)}]
    }
    scene.alder.store({_digest(data): [data]})
    sealed = scene.alder.said("reply", scene.task, {"records": description})
    scene.line.say(reply=envelope_of(sealed))
    scene.line.expect("ack")
    scene.failed("blob-refused")
    assert scene.told("reply.refused", site="alder", code="blob-refused", task=scene.task)


def _answered(scene: Scene, sealed: Sealed, parts: dict[str, Parts]) -> None:
    scene.alder.store(parts)
    with scene.alder.session(holding=[scene.task]) as line:
        line.say(reply=envelope_of(sealed))
        assert scene.alder.acknowledged(line.expect("ack")) == (scene.task, sealed.digest, "stored")
    assert scene.pulled(scene.task)[0].has_content()


def _content(body: bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(body)["content"]
    return content


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
