"""The stubs are those of ``link.proto``, and what was released keeps its numbers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.message import Message

from common.link import PROTOCOL, link_pb2

ROOT = Path(__file__).parents[3]
PROTO = Path("common/link/link.proto")
HELLO = "0a1e 0801 1205302e312e30 1a0163 220173 2807 32080a03677075120131 3a0174"
STUBS = ("link_pb2.py", "link_pb2.pyi", "link_pb2_grpc.py")


@pytest.fixture
def _compiler() -> None:
    if importlib.util.find_spec("grpc_tools") is None:
        if os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
            pytest.fail("grpcio-tools is not installed")
        pytest.skip("needs grpcio-tools, of the extra `dev`")


@pytest.mark.usefixtures("_compiler")
def test_stubs_are_those_of_the_proto(tmp_path: Path) -> None:
    """As `make proto` makes them, byte by byte."""
    options = ("-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"--grpc_python_out={tmp_path}")
    command = [sys.executable, "-m", "grpc_tools.protoc", *options, str(PROTO)]
    subprocess.run(command, cwd=ROOT, check=True)
    made = {path.name: path.read_bytes() for path in (tmp_path / PROTO.parent).iterdir()}
    assert made == {name: (ROOT / PROTO.parent / name).read_bytes() for name in STUBS}


def test_wire_format() -> None:
    """Fields keep their numbers: these bytes are what the first release sends."""
    hello = link_pb2.Hello(
        protocol=PROTOCOL,
        version="0.1.0",
        code_digest="c",
        session_id="s",
        time_ms=7,
        capabilities={"gpu": "1"},
        holding=["t"],
    )
    envelope = link_pb2.Envelope(body=b"b", signature=b"s")
    progress = link_pb2.Progress(task="t", done=0.5, what="w")
    known: list[tuple[Message, str]] = [
        (link_pb2.FromSite(hello=hello), HELLO),
        (link_pb2.FromSite(reply=envelope), "1a06 0a0162 120173"),
        (link_pb2.FromSite(progress=progress), "220f 0a0174 11000000000000e03f 1a0177"),
        (link_pb2.FromCoordinator(ack=envelope), "2206 0a0162 120173"),
        (link_pb2.BlobChunk(digest="d", offset=1, size=300, data=b"x"), "0a0164 1001 18ac02 220178"),
        (link_pb2.BlobStatus(offset=300, complete=True), "08ac02 1001"),
    ]
    for message, spelled in known:
        assert message.SerializeToString(deterministic=True) == bytes.fromhex(spelled)


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        (link_pb2.FromSite, "hello heartbeat reply progress status consent taken"),
        (link_pb2.FromCoordinator, "welcome offer cancel ack heartbeat contract goodbye"),
        (link_pb2.EnrolRequest, "csr version invitation_id"),
        (link_pb2.EnrolReply, "certificate authority federation coordinator_key"),
        (link_pb2.Welcome, "protocol time_ms version audit_head"),
        (link_pb2.Goodbye, "code public hint"),
    ],
)
def test_numbers(message: type[Message], numbers: str) -> None:
    """In the order of their numbers, from 1."""
    fields = message.DESCRIPTOR.fields_by_name.items()
    assert {name: field.number for name, field in fields} == {
        name: number for number, name in enumerate(numbers.split(), start=1)
    }
