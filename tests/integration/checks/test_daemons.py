"""A site's daemon as a service manager sees it: ready, alive, stopping, gone; and a check beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from client.checks import SiteCheck
from client.daemon import SiteStatus
from deploy.cli.standing import unready
from server.coordinator import Coordinator
from tests.integration.checks.conftest import Federation

WAIT_S = 60.0


@dataclass
class Service:
    """A daemon, and what it says to its service manager."""

    process: subprocess.Popen[bytes]
    listener: socket.socket
    heard: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        """Wait until it says a line."""
        while line not in self.heard:
            self.heard.append(self.listener.recv(4096).decode())

    def stop(self) -> int:
        """Its exit status, once it was told to stop."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)


@contextmanager
def service(folder: Path, *command: str) -> Iterator[Service]:
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(WAIT_S)
        watched = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "60000000"}
        process = subprocess.Popen(
            [sys.executable, "-c", "from deploy.cli import main; main()", *command],
            env={**os.environ, **watched},
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Service(process, listener)
        finally:
            process.kill()
            process.wait()


def connections(coordinator: Coordinator) -> list[str]:
    entries = coordinator.home.audit.entries()
    return [entry.event for entry in entries if entry.event in ("link.connected", "link.disconnected")]


def test_a_site_is_ready_checked_beside_and_stopped(federation: Federation, tmp_path: Path) -> None:
    home = federation.site.folder
    with (
        federation.running() as coordinator,
        service(tmp_path, "site", "start", "--home", str(home), "--device", "cpu") as daemon,
    ):
        daemon.hear("READY=1")
        daemon.hear("STATUS=connected; no task")
        daemon.hear("WATCHDOG=1")
        assert unready(SiteStatus.read(home)) is None
        before = connections(coordinator)

        findings = [f for section in SiteCheck(home).sections() for f in section.findings]
        assert all(finding.ok for finding in findings)
        (session,) = (finding for finding in findings if finding.step == "session")
        assert "the daemon is connected since" in session.said
        assert connections(coordinator) == before  # it was left alone

        assert daemon.stop() == 0
        daemon.hear("STOPPING=1")
        assert daemon.heard.count("READY=1") == 1
        found = unready(SiteStatus.read(home))
        assert found is not None and found.code == "daemon-stopped"


def test_a_site_is_started_although_the_coordinator_is_away(federation: Federation, tmp_path: Path) -> None:
    home = federation.site.folder
    with service(tmp_path, "site", "start", "--home", str(home), "--device", "cpu") as daemon:
        daemon.hear("READY=1")
        found = unready(SiteStatus.read(home))
        assert found is not None and (found.code, found.exit_code) == ("coordinator-unreachable", 7)
        (said,) = (
            finding
            for section in SiteCheck(home).sections()
            for finding in section.findings
            if finding.step == "session"
        )
        assert said.code == "coordinator-unreachable" and "the daemon says" in said.said
        daemon.process.kill()
        daemon.process.wait()
        died = unready(SiteStatus.read(home))
        assert died is not None and died.code == "daemon-died"


def test_a_coordinator_is_ready_when_it_listens_and_ends_cleanly(
    federation: Federation, tmp_path: Path
) -> None:
    folder = federation.coordinator.folder
    with service(tmp_path, "coordinator", "start", "--home", str(folder)) as daemon:
        daemon.hear("READY=1")
        place = federation.coordinator.settings.listen.rpartition(":")
        with socket.create_connection((place[0], int(place[2])), 5.0):
            pass
        assert daemon.stop() == 0
        daemon.hear("STOPPING=1")
