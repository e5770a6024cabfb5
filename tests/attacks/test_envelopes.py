"""What was signed by somebody else, for somebody else, or has counted already, counts for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from client.link.identity import CERTIFICATE, KEY
from common.identity import key_of, new_signing_key
from common.link.envelope import Sealed
from common.link.link_pb2 import Envelope, FromCoordinator
from server.link.grid import LinkGrid
from server.link.speaker import Speaker, enveloped
from tests.attacks.federation import ALDER, BIRCH, COORDINATOR, Federation, Ward, at, told, until
from tests.integration.link.hospital import Hospital, Line, envelope_of
from tests.unit.contract.drafts import task_of

ANSWER = RecordDict({"about": ConfigRecord({"loss": 0.5})})


class Asked:
    """A site in an attacker's hands that was asked something, and waits with its answer."""

    def __init__(self, federation: Federation, site: Hospital, line: Line) -> None:
        self.site, self.line, self.contract = site, line, federation.usual.digest
        self.grid: LinkGrid = federation.server.grid(self.contract)
        message = Message(task_of(federation.usual, "query"), site.node_id, "query", ttl=60.0, group_id="g")
        [self.task] = self.grid.push_messages([message])
        told(line, "offer")

    def reply(self, task: str = "", **changes: object) -> Sealed:
        sealed, _ = self.site.reply(task or self.task, ANSWER, **{"contract": self.contract, **changes})
        return sealed

    def say(self, sealed: Sealed) -> str:
        """The code with which the coordinator turns a reply away."""
        self.line.say(reply=envelope_of(sealed))
        return str(told(self.line, "cancel").reason)

    def outcome(self) -> Message:
        """What the study has of it."""
        found: list[Message] = []
        until(lambda: found or found.extend(self.grid.pull_messages([self.task])) or found)
        return found[0]


NUMBERS = count(1)


@pytest.fixture
def asked(federation: Federation) -> Iterator[Asked]:
    site = federation.guest(f"cedar-{next(NUMBERS)}")
    with site.session() as line:
        yield Asked(federation, site, line)


@pytest.fixture
def copied(alder: Ward, federation: Federation) -> Hospital:
    """Alder's key in an attacker's hands."""
    pem, certificate = ((alder.home.folder / "link" / name).read_bytes() for name in (KEY, CERTIFICATE))
    return Hospital(ALDER, federation.node(ALDER), key_of(pem), certificate, federation.home, federation.port)


@pytest.fixture
def speaker(federation: Federation) -> Speaker:
    """Signs as the coordinator does."""
    home = federation.home
    return Speaker(home.federation, home.signing_key, lambda: at(federation.clock()))


# Replies, at the coordinator


def test_one_sites_reply_under_anothers_certificate(
    asked: Asked, copied: Hospital, federation: Federation
) -> None:
    sealed, _ = copied.reply(asked.task, ANSWER, contract=asked.contract)
    with federation.refusing(COORDINATOR, "reply.refused", "envelope-refused", site=asked.site.name):
        assert asked.say(sealed) == "envelope-refused"
    assert asked.outcome().error.reason == "envelope-refused"


def test_a_reply_signed_with_anothers_key(asked: Asked, copied: Hospital, federation: Federation) -> None:
    with federation.refusing(COORDINATOR, "reply.refused", "envelope-refused", task=asked.task):
        assert asked.say(asked.reply(key=copied.key)) == "envelope-refused"


def test_a_reply_in_anothers_name(asked: Asked, federation: Federation) -> None:
    with federation.refusing(COORDINATOR, "reply.refused", "envelope-refused", task=asked.task):
        assert asked.say(asked.reply(sender=ALDER)) == "envelope-refused"


@pytest.mark.parametrize("where", [0, 40, -1], ids=["first", "inside", "last"])
def test_a_reply_with_one_byte_changed(where: int, asked: Asked, federation: Federation) -> None:
    sealed = asked.reply()
    body = bytearray(sealed.body)
    body[where] ^= 1
    with federation.refusing(COORDINATOR, "reply.refused", "envelope-refused", site=asked.site.name):
        assert asked.say(Sealed(bytes(body), sealed.signature)) == "envelope-refused"


def test_a_reply_under_another_contract(asked: Asked, federation: Federation) -> None:
    with federation.refusing(COORDINATOR, "reply.refused", "envelope-refused", task=asked.task):
        assert asked.say(asked.reply(contract="d" * 64)) == "envelope-refused"


def test_a_reply_to_another_sites_task(asked: Asked, federation: Federation) -> None:
    grid = federation.server.grid(asked.contract)
    content = task_of(federation.usual, "query")
    [task] = grid.push_messages([Message(content, federation.node(BIRCH), "query", ttl=60.0, group_id="g")])
    with federation.refusing(COORDINATOR, "reply.refused", "envelope-refused", site=asked.site.name):
        assert asked.say(asked.reply(task)) == "envelope-refused"
    until(lambda: any(answer.has_content() for answer in grid.pull_messages([task])), "birch's own answer")


def test_a_reply_replayed(asked: Asked, federation: Federation) -> None:
    """The same one again is acknowledged, so that it is sent no more, and counts once; another is refused."""
    first = asked.reply()
    for _ in range(2):
        asked.line.say(reply=envelope_of(first))
        acknowledged = asked.site.acknowledged(told(asked.line, "ack"))
        assert acknowledged == (asked.task, first.digest, "stored")
    assert len([e for e in federation.entries(COORDINATOR) if e.facts.get("digest") == first.digest]) == 1
    with federation.refusing(COORDINATOR, "reply.refused", "envelope-replayed", task=asked.task):
        assert asked.say(asked.reply()) == "envelope-replayed"
    assert asked.outcome().has_content()


def test_a_decision_replayed(asked: Asked, federation: Federation) -> None:
    consent = asked.site.said("consent", asked.contract, {"decision": "approved"}, contract=asked.contract)
    with federation.refusing(COORDINATOR, "message.refused", "envelope-replayed", kind="consent"):
        for _ in range(2):
            asked.line.say(consent=envelope_of(consent))


def test_a_decision_in_anothers_name(asked: Asked, copied: Hospital, federation: Federation) -> None:
    contract = federation.propose(approved=[ALDER])
    digest, decisions = contract.digest, federation.coordinator.proposals.decisions
    forged = asked.site.said("consent", digest, {"decision": "withdrawn"}, contract=digest, sender=ALDER)
    until(lambda: decisions(digest).get(ALDER) == "approved", "the arrival of a decision")
    with federation.refusing(
        COORDINATOR, "message.refused", "envelope-refused", site=asked.site.name, kind="consent"
    ):
        asked.line.say(consent=envelope_of(forged))
    assert decisions(digest)[ALDER] == "approved"


# Tasks and acknowledgements, at a site


def received(federation: Federation) -> list[str]:
    """Tasks that alder worked at."""
    return [str(e.facts["task"]) for e in federation.entries(ALDER) if e.event == "task.received"]


@pytest.mark.parametrize("reconnected", [False, True], ids=["in the session", "in a later one"])
def test_a_task_replayed(reconnected: bool, federation: Federation) -> None:
    federation.ask([ALDER], message_type="train", content=task_of(federation.usual, "train"))
    replayed, tasks = federation.offers[ALDER], received(federation)
    if reconnected:
        federation.drop(ALDER)
        federation.goes_on(ALDER)
    with federation.refusing(ALDER, "message.refused", "envelope-replayed", kind="task"):
        federation.say(ALDER, replayed)
    assert received(federation).count(tasks[-1]) == 1


def test_a_task_of_another_site(federation: Federation) -> None:
    federation.ask([BIRCH])
    with federation.refusing(ALDER, "message.refused", "envelope-refused", kind="task"):
        federation.say(ALDER, federation.offers[BIRCH])


def test_a_task_with_one_byte_changed(federation: Federation) -> None:
    federation.ask([ALDER])
    envelope = federation.offers[ALDER].offer
    changed = Envelope(body=envelope.body.replace(b'"query"', b'"querz"'), signature=envelope.signature)
    with federation.refusing(ALDER, "message.refused", "envelope-refused", kind="task"):
        federation.say(ALDER, FromCoordinator(offer=changed))


def test_a_task_that_is_not_signed(federation: Federation) -> None:
    federation.ask([ALDER])
    unsigned = Envelope(body=federation.offers[ALDER].offer.body)
    with federation.refusing(ALDER, "message.refused", "envelope-refused", kind="task"):
        federation.say(ALDER, FromCoordinator(offer=unsigned))


def test_an_acknowledgement_replayed(speaker: Speaker, federation: Federation) -> None:
    sealed = speaker.acknowledgement(ALDER, "a" * 32, federation.usual.digest, "0" * 64, "stored")
    federation.say(ALDER, FromCoordinator(ack=enveloped(sealed)))
    with federation.refusing(ALDER, "message.refused", "envelope-replayed", kind="acknowledgement"):
        federation.say(ALDER, FromCoordinator(ack=enveloped(sealed)))


def test_an_acknowledgement_of_another_site(speaker: Speaker, federation: Federation) -> None:
    sealed = speaker.acknowledgement(BIRCH, "a" * 32, federation.usual.digest, "0" * 64, "stored")
    with federation.refusing(ALDER, "message.refused", "envelope-refused", kind="acknowledgement"):
        federation.say(ALDER, FromCoordinator(ack=enveloped(sealed)))


def test_an_acknowledgement_that_somebody_else_signed(federation: Federation) -> None:
    other = Speaker(federation.home.federation, new_signing_key(), lambda: at(federation.clock()))
    sealed = other.acknowledgement(ALDER, "a" * 32, federation.usual.digest, "0" * 64, "stored")
    with federation.refusing(ALDER, "message.refused", "envelope-refused", kind="acknowledgement"):
        federation.say(ALDER, FromCoordinator(ack=enveloped(sealed)))
