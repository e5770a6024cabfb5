"""Daemons as processes of their own, what they print, where they listen; and defects planted in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tests.attacks.federation import WAIT_S

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from deploy.cli import main; main()"]
LISTENS, UNCONNECTED = "0A", "07"
TABLES = {"tcp": LISTENS, "tcp6": LISTENS, "udp": UNCONNECTED, "udp6": UNCONNECTED}


@dataclass(frozen=True)
class Daemon:
    """A daemon that runs.

    Attributes:
        process: The process.
        console: The file with all that it printed.
    """

    process: subprocess.Popen[bytes]
    console: Path

    def printed(self) -> bytes:
        """All that it and its children printed."""
        return self.console.read_bytes()

    def listens(self) -> set[str]:
        """Where it and its children wait for somebody, as ``tcp 127.0.0.1:80``."""
        held = {inode for process in family(self.process.pid) for inode in sockets(process)}
        return {place for inode, place in waiting() if inode in held}


@contextmanager
def daemon(console: Path, *arguments: object, **variables: str) -> Iterator[Daemon]:
    """Run a command of ``consilium`` during the block; it ends well when it is told to."""
    path = os.pathsep.join(filter(None, [variables.pop("first", ""), str(ROOT)]))
    with console.open("wb") as printed:
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path, **variables},
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Daemon(process, console)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0, console.read_text()
    finally:
        process.kill()
        process.wait()


def family(process: int) -> Iterator[int]:
    """A process and all that it started, and they."""
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


def sockets(process: int) -> Iterator[str]:
    """The inodes of a process's sockets."""
    for handle in Path(f"/proc/{process}/fd").iterdir():
        try:
            target = str(handle.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def waiting() -> Iterator[tuple[str, str]]:
    """Inode and address of each socket of this machine that waits for somebody."""
    for table, state in TABLES.items():
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == state:
                host, port = columns[1].split(":")
                yield columns[9], f"{table.rstrip('6')} {_address(host)}:{int(port, 16)}"


def _address(digits: str) -> str:
    """An address as /proc has it: words of four bytes, each in the machine's order."""
    words = [bytes.fromhex(digits[at : at + 8]) for at in range(0, len(digits), 8)]
    ordered = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ip_address(ordered)
    return str(getattr(address, "ipv4_mapped", None) or address)
