"""A process with one side of the link, as a test starts it: what was imported first is the first argument.

``serving.py IMPORTS FOLDER`` serves with the PEM files of the folder: says its port, then for each call who
called or why they were refused; ends with its input. ``serving.py IMPORTS FOLDER FEDERATION PORT...`` calls
each port, and says how that went.
"""

from __future__ import annotations

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

for _name in sys.argv[1].split(","):
    importlib.import_module(_name)

import grpc  # noqa: E402

from common.errors import ConsiliumError  # noqa: E402
from common.link import tls13, transport  # noqa: E402
from common.link.link_pb2 import RenewReply, RenewRequest  # noqa: E402
from common.link.link_pb2_grpc import (  # noqa: E402
    LinkServicer,
    LinkStub,
    add_LinkServicer_to_server,
)

FOLDER = Path(sys.argv[2])


def pem(name: str) -> bytes:
    return (FOLDER / f"{name}.pem").read_bytes()


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201


class Service(LinkServicer):
    """Says who calls."""

    def Renew(self, request: RenewRequest, context: grpc.ServicerContext) -> RenewReply:
        try:
            caller = transport.peer(context, pem("authority"), datetime.now(UTC))
        except ConsiliumError as error:
            say("refused", error.code, error.private)
            context.abort(grpc.StatusCode.UNAUTHENTICATED, error.code)
        say("called", caller.role, caller.name)
        return RenewReply(certificate=caller.name.encode())


def serve() -> None:
    server = grpc.server(ThreadPoolExecutor(4), options=transport.SERVER_OPTIONS)
    add_LinkServicer_to_server(Service(), server)
    names = ("coordinator-key", "coordinator", "authority")
    port = server.add_secure_port("127.0.0.1:0", transport.server_credentials(*map(pem, names)))
    server.start()
    say("serving", port, tls13.IN_FORCE)
    sys.stdin.read()
    server.stop(None).wait()


def call(federation: str, port: str) -> None:
    key, certificate, authority = pem("site-key"), pem("site"), pem("authority")
    with transport.channel(f"127.0.0.1:{port}", federation, key, certificate, authority) as channel:
        try:
            reply = LinkStub(channel).Renew(RenewRequest(), timeout=5)
        except grpc.RpcError as error:
            say("failed", error.code().name, error.details())
        else:
            say("answered", reply.certificate.decode())


if len(sys.argv) > 3:
    for _port in sys.argv[4:]:
        call(sys.argv[3], _port)
else:
    serve()
