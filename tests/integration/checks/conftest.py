"""A coordinator that listens on this machine, and a site that has enrolled with it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.cohorts.home import Home
from client.link import enrol
from common.chain import utc_now
from server.coordinator import Coordinator
from server.link.home import CoordinatorHome
from server.status import CoordinatorStatus
from tests.unit.cohorts.archives import new_home


@dataclass(frozen=True)
class Federation:
    """A coordinator's home, and the home of its one site, alder."""

    coordinator: CoordinatorHome
    site: Home

    @contextmanager
    def running(self) -> Iterator[Coordinator]:
        """The coordinator's daemon, in a thread."""
        stop, daemon = threading.Event(), Coordinator(self.coordinator)
        thread = threading.Thread(target=daemon.run, args=(stop,))
        thread.start()
        try:
            while not CoordinatorStatus.read(self.coordinator.folder).up:
                assert thread.is_alive()
                stop.wait(0.05)
            yield daemon
        finally:
            stop.set()
            thread.join(20)
            assert not thread.is_alive()


Running = Callable[[], AbstractContextManager[Coordinator]]


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    with CoordinatorHome.create(tmp_path / "coordinator", place, place) as coordinator:
        made = Federation(coordinator, new_home(tmp_path / "alder"))
        with made.running():
            enrol(made.site.folder / "link", coordinator.enrolment.invite("alder"), utc_now())
        yield made
