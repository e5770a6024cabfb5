"""Private names of flwr: all there in the installed version, and named if one is not."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

import client
import common
import deploy
import server
from common.errors import FlowerMoved
from common.flower import (
    PRIVATE_NAMES,
    TASK_IDENTITY,
    PrivateName,
    adopt_identity,
    empty_run,
    error_reply,
    free_message,
    with_message_id,
)

PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.simulation"}
CONTENT = RecordDict({"about": ConfigRecord({"round": 3})})


@dataclass(frozen=True, slots=True)
class Identity:
    """What this process says it is."""

    run_id: int
    node_id: int


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Identity:
    """An identity for one test; the process's own comes back after it."""
    known = TASK_IDENTITY.resolve()
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(known, name, None)
    adopt_identity(run_id=7, node_id=11)
    return Identity(7, 11)


@pytest.mark.parametrize("name", PRIVATE_NAMES, ids=lambda name: name.name)
def test_private_name_is_in_the_installed_flower(name: PrivateName) -> None:
    assert name.resolve() is not None


@pytest.mark.parametrize(
    "name",
    [PrivateName("flwr.supercore.task_identity", "Nope"), PrivateName("flwr.nowhere", "TaskIdentity")],
    ids=["name", "module"],
)
def test_missing_name_is_named(name: PrivateName) -> None:
    with pytest.raises(FlowerMoved, match=f"{name.module}.{name.name}"):
        name.resolve()


def modules_of_flower(source: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {module for module in found if module.partition(".")[0] == "flwr"}


def test_product_imports_only_public_names_of_flower() -> None:
    sources = [
        s for package in (client, common, deploy, server) for s in Path(package.__path__[0]).rglob("*.py")
    ]
    private = {
        f"{source}: {module}"
        for source in sources
        for module in modules_of_flower(source)
        if ".".join(module.split(".")[:2]) not in PUBLIC
    }
    assert len(sources) > 50 and private == set()


def test_adopted_identity_lets_messages_be_made(identity: Identity) -> None:
    message = Message(CONTENT, 5, "train")
    assert (message.metadata.run_id, message.metadata.src_node_id) == (identity.run_id, identity.node_id)


def test_message_needs_an_identity(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TASK_IDENTITY.resolve(), "_run_id", None)
    with pytest.raises(RuntimeError, match="run_id"):
        Message(CONTENT, 5, "train")


def test_free_message_needs_none(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TASK_IDENTITY.resolve(), "_run_id", None)
    message = free_message(CONTENT, "evaluate", node_id=4)
    assert message.content is CONTENT
    assert (message.metadata.message_type, message.metadata.src_node_id) == ("evaluate", 4)


def test_message_under_another_id_is_otherwise_the_same(identity: Identity) -> None:
    message = Message(CONTENT, 5, "query.describe", ttl=12.5, group_id="train-3", dst_task_id=9)
    known = with_message_id(message, "id-1")
    assert known.content is message.content
    before, after = dict(vars(message.metadata)), dict(vars(known.metadata))
    assert (before.pop("_message_id"), after.pop("_message_id")) == ("", "id-1")
    assert after == before


def test_reply_under_another_id_still_answers_the_same_message(identity: Identity) -> None:
    asked = with_message_id(Message(CONTENT, 5, "train"), "id-1")
    reply = with_message_id(Message(CONTENT, reply_to=asked), "id-2")
    assert (reply.metadata.reply_to_message_id, reply.metadata.src_node_id) == ("id-1", 5)


def test_error_reply_answers_in_the_name_of_the_node(identity: Identity) -> None:
    asked = with_message_id(Message(CONTENT, 5, "train"), "id-1")
    reply = error_reply(asked, 3, "worker died")
    assert reply.has_error() and not reply.has_content()
    assert (reply.error.code, reply.error.reason) == (3, "worker died")
    assert (reply.metadata.reply_to_message_id, reply.metadata.src_node_id) == ("id-1", 5)


def test_empty_run_says_its_id() -> None:
    assert empty_run(42).run_id == 42
