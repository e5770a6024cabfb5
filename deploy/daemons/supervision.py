"""What a service manager is told of a daemon: systemd's notification protocol (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from deploy.daemons.pulse import Pulse

LOOK_S = 0.25


class Standing(Protocol):
    """How a daemon stands."""

    @property
    def up(self) -> bool:
        """Whether it does its work."""

    @property
    def words(self) -> str:
        """The same in one line."""


@dataclass(frozen=True, slots=True)
class Manager:
    """A service manager that listens.

    Attributes:
        address: Of its socket; ``@`` at the beginning stands for the abstract name space.
        watchdog_s: After which silence it takes the daemon for hung; 0 for never.
    """

    address: str
    watchdog_s: float = 0.0

    @classmethod
    def of(cls, environment: Mapping[str, str], process: int) -> Manager | None:
        """The one that the environment names; None for none."""
        address = environment.get("NOTIFY_SOCKET", "")
        if not address:
            return None
        meant = environment.get("WATCHDOG_PID", str(process)) == str(process)
        microseconds = environment.get("WATCHDOG_USEC", "") if meant else ""
        return cls(address, int(microseconds) / 1e6 if microseconds.isdecimal() else 0.0)

    def say(self, line: str) -> None:
        """Tell it something; whoever does not listen any more is no reason to end."""
        name = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
            stream.sendto(line.encode(), name)


@contextmanager
def supervised(pulse: Pulse, standing: Callable[[], Standing]) -> Iterator[None]:
    """Keep the service manager informed during the block, if there is one.

    Args:
        pulse: Tells that the daemon ends, and whether its loops turn.
        standing: How it stands.
    """
    manager = Manager.of(os.environ, os.getpid())
    if manager is None:
        yield
        return
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(manager, pulse, standing, over), name="notify", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _tell(manager: Manager, pulse: Pulse, standing: Callable[[], Standing], over: threading.Event) -> None:
    """Say READY=1 and STOPPING=1 once each, STATUS= as it changes, WATCHDOG=1 while the loops turn."""
    said: set[str] = set()
    words = ""

    def once(line: str) -> None:
        if line not in said:
            said.add(line)
            manager.say(line)

    while not over.wait(LOOK_S):
        now = standing()
        if pulse.ended():
            once("STOPPING=1")
        elif now.up:
            once("READY=1")
        if now.words != words:
            words = now.words
            manager.say(f"STATUS={words}")
        if manager.watchdog_s and pulse.is_alive(manager.watchdog_s / 2):
            manager.say("WATCHDOG=1")
    once("STOPPING=1")
