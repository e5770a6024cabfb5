"""DCMTK sends to the site's receiver."""

from __future__ import annotations

import itertools
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from client.pacs.association import association
from client.pacs.inbox import Inbox
from client.pacs.receiver import Listener
from client.pacs.settings import MIB, Archive, ClientTls, Receiver, ServerTls
from client.pacs.tally import Tally
from common.errors import HomeInvalid, PacsUnreachable, PortTaken
from tests.e2e.pacs.conftest import (
    OUR_TITLE,
    SECRET,
    Certificates,
    Pictures,
    assert_same,
    program,
    slice_of,
    stored,
)

WAIT_S = 5.0


@contextmanager
def listening(folder: Path, **settings: Any) -> Iterator[tuple[Listener, Inbox]]:
    """A receiver that DCMTK's default title may send to."""
    given = {"port": 0, "allowed_ae_titles": ("STORESCU", "ECHOSCU"), "min_free_bytes": 0, **settings}
    receiver = Receiver(**given)
    with Inbox(folder, receiver) as inbox, Listener(receiver, inbox) as listener:
        yield listener, inbox


def dcmtk(tool: str, port: int, *options: str | Path, title: str = OUR_TITLE, files: str = "") -> int:
    """Exit status of a DCMTK program that asks the receiver for something."""
    command = [program(tool), *map(str, options), "-aec", title, "127.0.0.1", str(port)]
    command += [files] if files else []
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


def echo(port: int, *options: str | Path, title: str = OUR_TITLE) -> int:
    """Ask whether it is there."""
    return dcmtk("echoscu", port, *options, title=title)


def send(port: int, what: Path, *options: str | Path, title: str = OUR_TITLE) -> int:
    """Send a folder or a file; native and RLE-compressed objects as they are."""
    recurse = ["+sd", "+r"] if what.is_dir() else []
    return dcmtk("storescu", port, "-xr", "-R", *recurse, *options, title=title, files=str(what))


def wait_until_idle(listener: Listener) -> None:
    """Return when no association runs any more."""
    last_s = time.monotonic() + WAIT_S
    while listener.active and time.monotonic() < last_s:
        time.sleep(0.01)
    assert not listener.active


def folder_of(pictures: Pictures) -> Path:
    return next(iter(pictures.files.values())).parents[2]


def test_what_is_sent_is_kept_as_it_is(inbox: Path, pictures: Pictures) -> None:
    with listening(inbox) as (listener, box):
        assert echo(listener.port) == 0
        assert send(listener.port, folder_of(pictures)) == 0
        assert box.tally.new == len(pictures.files) and not box.tally.refused
        assert send(listener.port, folder_of(pictures)) == 0
        assert box.tally.already == len(pictures.files)
    assert_same(inbox, pictures.files)
    assert inbox.stat().st_mode & 0o777 == 0o700
    assert not any(SECRET in str(path) for path in inbox.rglob("*"))


@pytest.mark.parametrize(
    ("settings", "arguments", "title"),
    [
        ({}, ["-aet", "STRANGER"], OUR_TITLE),
        ({}, [], "SOMEBODY"),
        ({"allowed_ae_titles": ()}, [], OUR_TITLE),
    ],
    ids=["unknown sender", "another called title", "nobody is allowed"],
)
def test_who_is_not_allowed_is_rejected(
    inbox: Path, pictures: Pictures, settings: dict[str, Any], arguments: list[str], title: str
) -> None:
    with listening(inbox, **settings) as (listener, box):
        assert send(listener.port, folder_of(pictures), *arguments, title=title) != 0
        assert echo(listener.port, *arguments, title=title) != 0
    assert box.tally == Tally() and not stored(inbox)


def test_tls_keeps_out_who_has_no_certificate(
    inbox: Path, pictures: Pictures, certificates: Certificates
) -> None:
    c = certificates
    tls = ServerTls(certificate=c.certificate, key=c.key, ca=c.ca)
    folder = folder_of(pictures)
    with listening(inbox, tls=tls) as (listener, box):
        assert send(listener.port, folder) != 0
        assert send(listener.port, folder, "+tla", "+cf", c.ca) != 0
        assert send(listener.port, folder, "+tls", c.stranger_key, c.stranger, "+cf", c.ca) != 0
        assert box.tally == Tally()
        assert send(listener.port, folder, "+tls", c.key, c.certificate, "+cf", c.ca) == 0
    assert_same(inbox, pictures.files)


def test_this_site_asks_over_tls_whom_it_can_verify(inbox: Path, certificates: Certificates) -> None:
    c = certificates
    known = ClientTls(ca=c.ca, certificate=c.certificate, key=c.key)
    with listening(inbox, tls=ServerTls(certificate=c.certificate, key=c.key, ca=c.ca)) as (listener, _):

        def ask(tls: ClientTls | None) -> bool:
            archive = Archive(
                host="127.0.0.1",
                port=listener.port,
                ae_title=OUR_TITLE,
                calling_ae_title="ECHOSCU",
                tls=tls,
                network_timeout_s=WAIT_S,
            )
            with association(archive, [build_context(Verification)]) as asked:
                return bool(asked.send_c_echo().Status == 0)

        assert ask(known)
        changes: list[dict[str, Any]] = [{"ca": c.stranger}, {"server_name": "elsewhere.example.org"}]
        for tls in (None, *(known.model_copy(update=change) for change in changes)):
            with pytest.raises(PacsUnreachable):
                ask(tls)


def test_a_silent_tls_client_keeps_nobody_waiting(inbox: Path, certificates: Certificates) -> None:
    c = certificates
    tls = ServerTls(certificate=c.certificate, key=c.key)
    with (
        listening(inbox, tls=tls, network_timeout_s=3.0) as (listener, _),
        socket.create_connection(("127.0.0.1", listener.port)) as silent,
    ):
        assert echo(listener.port, "+tla", "+cf", c.ca) == 0
        silent.settimeout(0.1)
        with pytest.raises(TimeoutError):  # it is still being waited for
            silent.recv(1)
        silent.settimeout(WAIT_S)
        assert silent.recv(1) == b""  # turned away when the time was over


def test_a_large_object_is_refused_and_the_next_one_is_kept(inbox: Path, tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    for number, edge in enumerate((1024, 32)):
        one = slice_of(study, series, number, np.random.default_rng(number), edge)
        (tmp_path / "sent").mkdir(exist_ok=True)
        one.save_as(tmp_path / "sent" / f"{number}.dcm", enforce_file_format=True)
    with listening(inbox, max_object_bytes=MIB) as (listener, box):
        send(listener.port, tmp_path / "sent", "-nh")  # not halted by a refusal
        assert (box.tally.new, box.tally.too_large) == (1, 1)
    assert [dcmread(path).Rows for path in stored(inbox).values()] == [32]


@pytest.mark.parametrize("limit", [{"min_free_bytes": 2**60}, {"max_total_bytes": MIB}])
def test_a_full_disk_refuses_and_keeps_what_is_there(
    inbox: Path, pictures: Pictures, limit: dict[str, int]
) -> None:
    inbox.mkdir()
    (inbox / "earlier.dcm").write_bytes(bytes(2 * MIB))
    with listening(inbox, **limit) as (listener, box):
        assert send(listener.port, folder_of(pictures)) != 0
        assert box.tally.no_space and not box.tally.new
    assert [path.name for path in inbox.rglob("*") if path.is_file()] == ["earlier.dcm"]


def test_another_object_under_the_same_uid_is_kept_beside_the_first(
    inbox: Path, tmp_path: Path, pictures: Pictures
) -> None:
    original = next(iter(pictures.files.values()))
    changed = dcmread(original)
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(tmp_path / "changed.dcm")
    with listening(inbox) as (listener, box):
        for path in (original, tmp_path / "changed.dcm", original, tmp_path / "changed.dcm"):
            assert send(listener.port, path) == 0
        assert (box.tally.new, box.tally.already) == (2, 2)
    assert len({path.read_bytes() for path in inbox.rglob("*.dcm")}) == 2


def test_a_broken_transfer_leaves_nothing(inbox: Path) -> None:
    with listening(inbox) as (listener, box):
        entity = AE(ae_title="STORESCU")
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        sender = entity.associate("127.0.0.1", listener.port, ae_title=OUR_TITLE)
        assert sender.is_established
        one = slice_of(generate_uid(), generate_uid(), 1, np.random.default_rng(0), 512)
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        request.DataSet = BytesIO(encode(one, False, True) or b"")
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        for part in itertools.islice(message.encode_msg(1, 16384), 5):
            sender.dul.send_pdu(part)
        last_s = time.monotonic() + WAIT_S
        while not list(inbox.glob(".*")) and time.monotonic() < last_s:
            time.sleep(0.01)
        assert list(inbox.glob(".*.partial"))
        sender.abort()
        wait_until_idle(listener)
        assert not list(inbox.rglob("*"))
    assert box.tally == Tally()


def test_a_boundless_length_is_not_believed(inbox: Path) -> None:
    with (
        listening(inbox) as (listener, _),
        socket.create_connection(("127.0.0.1", listener.port)) as hostile,
    ):
        hostile.settimeout(WAIT_S)
        hostile.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(100))
        while hostile.recv(100):  # an answer, and then the end of the connection, not a time-out
            pass
        assert echo(listener.port) == 0


def test_a_taken_port_is_a_coded_error(inbox: Path, certificates: Certificates) -> None:
    with listening(inbox) as (listener, _):
        with pytest.raises(PortTaken), listening(inbox, port=listener.port):
            pass
        tls = ServerTls(certificate=certificates.ca, key=certificates.stranger_key)
        with pytest.raises(HomeInvalid), listening(inbox, tls=tls):
            pass
