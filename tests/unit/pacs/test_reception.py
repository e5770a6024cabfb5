"""What arrives over an association, message by message; the peer is not trusted with our memory."""

from __future__ import annotations

import logging
import time
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.pdu_primitives import P_DATA

from client.pacs.inbox import Inbox
from client.pacs.reception import Reception, silence
from client.pacs.settings import Receiver


class Events:
    """Collects what the state machine would be told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def put(self, event: str) -> None:
        self.told.append(event)


def reception(inbox: Inbox | None = None, *, acceptor: bool = False, patience_s: float = 5.0) -> Reception:
    association: Any = SimpleNamespace(
        is_acceptor=acceptor,
        is_requestor=not acceptor,
        accepted_contexts=[],
        dimse_timeout=None,
        dul=SimpleNamespace(event_queue=Events()),
        get_handlers=lambda event: [],
    )
    return Reception(cast(Association, association), inbox, patience_s)


def events(of: Reception) -> list[str]:
    return cast(Events, of.dul.event_queue).told


def part(control: int, data: bytes) -> P_DATA:
    """A fragment (PS3.8 E.2): 1 command, 3 its last, 0 data set, 2 its last."""
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((1, bytes([control]) + data))
    return primitive


def test_an_answer_is_left_to_the_one_who_asked() -> None:
    for acceptor in (False, True):
        one = reception(acceptor=acceptor)
        answer = C_FIND()
        one.msg_queue.put((1, answer))
        taken = one.get_msg(block=False)
        assert taken == ((1, answer) if acceptor else (None, None))
        if not acceptor:
            assert one.get_msg(block=True) == (1, answer)


def test_silence_is_borne_only_so_long(tmp_path: Path) -> None:
    began_s = time.monotonic()
    assert reception(patience_s=0.1).get_msg(block=True) == (None, None)
    with Inbox(tmp_path, Receiver(min_free_bytes=0)) as inbox:
        inbox._account.last_activity_s = began_s + 0.6  # something came over another association
        assert reception(inbox, patience_s=0.1).get_msg(block=True) == (None, None)
    assert 0.7 <= time.monotonic() - began_s < 5.0


@pytest.mark.parametrize("data", [b"no command", b"\0" * 30, b""], ids=["garbage", "zeros", "empty"])
def test_a_message_that_is_none_ends_the_association(data: bytes) -> None:
    one = reception()
    one.receive_primitive(part(3, data))
    assert events(one) == ["Evt19"]


def test_an_endless_command_ends_the_association() -> None:
    one = reception()
    for _ in range(10):
        if not events(one):
            one.receive_primitive(part(1, bytes(10_000)))
    assert events(one) == ["Evt19"]
    assert one.message is not None and one.message.encoded_command_set.tell() <= 80_000


def test_an_endless_answer_ends_the_association() -> None:
    one = reception()
    for _ in range(20):
        if not events(one):
            one.receive_primitive(part(0, bytes(2**20)))
    assert events(one) == ["Evt19"]
    assert one.message is not None
    assert len(cast(BytesIO, one.message.data_set).getvalue()) <= 2**24


def test_libraries_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    silence()
    for name in ("pynetdicom.acse", "urllib3.connectionpool", "pydicom"):
        logging.getLogger(name).critical("Mueller^Anna")
    assert not caplog.records
