"""The Flower processes of one run: which there are, with which options, in which order.

One SuperLink, one SuperNode per site, one SuperExec for each of them, and a Flower App Bundle that holds no
Python: it only names ``server.app:app`` and ``client.app:app``, which the processes load from the installed
Consilium. Invariants: everything listens on the loopback address alone, nothing is installed at run time, and
each process has a Flower home of its own (two that unpack a bundle into the same one at once can fail).
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from common import __version__
from common.errors import EngineFailed
from deploy.engines.processes import Processes, tail
from deploy.engines.superlink import commands
from deploy.engines.superlink.commands import CommandFailed, FlowerCommands
from deploy.engines.superlink.credentials import LOOPBACK, SiteKey, write_link_credentials, write_site_key

Value = str | int | float | bool
"""What Flower takes in a run's or a node's configuration."""

BINARIES = Path(sys.executable).parent
"""Where Flower's commands are: beside the interpreter of the same environment."""

_TICK_S = 0.25
_STATUS_EVERY_S = 1.0
_STATUS_TRIES = 5
_CONNECTION = "consilium"


@dataclass(frozen=True, slots=True)
class SiteProcess:
    """One site's node.

    Args:
        name: The site's name.
        node_config: What its ClientApp reads from ``context.node_config``.
    """

    name: str
    node_config: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class _Node:
    """A site's files and its place on this machine."""

    site: SiteProcess
    label: str
    home: Path
    key: SiteKey
    port: int


class FlowerFederation:
    """The processes of one run, in the order in which they can start."""

    def __init__(
        self,
        folder: Path,
        sites: Sequence[SiteProcess],
        port: int,
        processes: Processes,
        on_poll: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._processes = processes
        self._on_poll = on_poll
        self._credentials = write_link_credentials(folder)
        ports = _free_ports(len(sites) + 1)
        self._address = f"{LOOPBACK}:{port or ports[0]}"
        self._nodes = [
            _prepare_node(folder, number, site, site_port)
            for number, (site, site_port) in enumerate(zip(sites, ports[1:], strict=True), start=1)
        ]

    def start(self, deadline: float) -> None:
        """Start everything but the run; what can start at the same time does."""
        self._start_superlink()
        self._flwr = self._start_flwr()
        self._start_superexec("superlink", self._address, "--root-certificates", self._ca)
        self._await_superlink(deadline)
        for node in self._nodes:
            # A SuperNode that starts before it is known here gives up for good.
            self._flwr("supernode", "register", str(node.key.public), _CONNECTION, f"--name={node.label}")
            self._start_supernode(node)

    def conduct(self, run_config: Mapping[str, Value], deadline: float) -> None:
        """Start the run and return when it is complete.

        Raises:
            EngineFailed: It did not start before the deadline, or failed.
        """
        app = _write_app(self._folder / "app", run_config)
        run_id: str = self._flwr.json("run", str(app), _CONNECTION)["run-id"]
        for node in self._nodes:
            self._start_superexec(node.label, f"{LOOPBACK}:{node.port}", "--insecure", home=node.home)
        while (status := self._status(run_id))["status"] in ("pending", "starting"):
            if time.monotonic() > deadline:
                raise EngineFailed(f"The ServerApp did not start in time; its run is {status['status']}.")
            self._pause(_TICK_S)
        while not (status := self._status(run_id))["status"].startswith("finished"):
            self._pause(_STATUS_EVERY_S)
        if status["status"] != "finished:completed":
            raise EngineFailed(self._story(run_id, status))

    def _start_superlink(self) -> None:
        credentials = self._credentials
        self._start(
            "superlink",
            "flower-superlink",
            *("--host", LOOPBACK, "--port", self._address.rpartition(":")[2]),
            *("--ssl-ca-certfile", str(credentials.ca_certificate)),
            *("--ssl-certfile", str(credentials.certificate), "--ssl-keyfile", str(credentials.key)),
            *("--database", str(self._folder / "superlink.db"), "--enable-supernode-auth"),
            "--disable-runtime-dependency-installation",
            *self._isolation,
        )

    def _start_flwr(self) -> FlowerCommands:
        home = _new_folder(self._folder / "flwr")
        connection = {"address": self._address, "root-certificates": self._ca}
        (home / "config.toml").write_text(tomli_w.dumps({"superlink": {_CONNECTION: connection}}))
        process = self._processes.start(
            "flwr", commands.COMMAND, environment={"FLWR_HOME": str(home)}, piped=True
        )
        return FlowerCommands(process, self._tick)

    def _start_supernode(self, node: _Node) -> None:
        # A file, because Flower's parser for values on the command line does not know every character.
        config = node.home / "node.toml"
        config.write_text(tomli_w.dumps(dict(node.site.node_config)), encoding="utf-8")
        self._start(
            f"{node.label}-supernode",
            "flower-supernode",
            *("--superlink", self._address, "--root-certificates", self._ca),
            *("--auth-supernode-private-key", str(node.key.private)),
            *("--host", LOOPBACK, "--port", str(node.port), "--node-config", str(config)),
            *self._isolation,
            home=node.home,
        )

    def _start_superexec(self, label: str, address: str, *options: str, home: Path | None = None) -> None:
        self._start(
            f"{label}-superexec",
            "flower-superexec",
            *("--runtime-api-address", address, *options, "--parent-pid", str(os.getpid())),
            *("--superexec-auth-secret-file", str(self._credentials.secret)),
            home=home or _new_folder(self._folder / label),
        )

    def _start(self, name: str, program: str, *options: str, home: Path | None = None) -> None:
        environment = {"FLWR_HOME": str(home or self._folder / "flower")}
        self._processes.start(name, (str(BINARIES / program), *options), environment=environment)

    def _await_superlink(self, deadline: float) -> None:
        while not _listens(self._address):
            if time.monotonic() > deadline:
                raise EngineFailed("The SuperLink did not answer in time.")
            self._pause(_TICK_S / 4)

    def _status(self, run_id: str) -> dict[str, str]:
        failures = 0
        while True:
            try:
                run: dict[str, str] = self._flwr.json("list", _CONNECTION, "--run-id", run_id)["runs"][0]
            except CommandFailed:
                failures += 1
                # A training that keeps all cores busy may let a request time out; the next may not.
                if failures == _STATUS_TRIES:
                    raise
                self._pause(_STATUS_EVERY_S)
            else:
                return run

    def _story(self, run_id: str, status: Mapping[str, str]) -> str:
        """Return why a run failed, as the ServerApp told it."""
        log = self._processes.logs / "serverapp.log"
        with suppress(CommandFailed):
            log.write_text(self._flwr("log", run_id, _CONNECTION, "--show"), encoding="utf-8")
        details = status["status-details"]
        if "heartbeat" in details:
            details += ". Its process was killed, perhaps for want of memory."
        return f"The run is {status['status']}. {details}\n{tail(log)}"

    def _tick(self) -> None:
        self._processes.check()
        self._on_poll()

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._tick()
            time.sleep(min(_TICK_S, left))

    @property
    def _ca(self) -> str:
        return str(self._credentials.ca_certificate)

    @property
    def _isolation(self) -> tuple[str, ...]:
        return ("--isolation", "process", "--superexec-auth-secret-file", str(self._credentials.secret))


def _prepare_node(folder: Path, number: int, site: SiteProcess, port: int) -> _Node:
    # Safe as a file name whatever the site is called, and unique by its number.
    plain = unicodedata.normalize("NFKD", site.name).encode("ascii", "ignore").decode().lower()
    label = f"site-{number}-{re.sub(r'[^a-z0-9]+', '-', plain)[:40]}".strip("-")
    home = _new_folder(folder / label)
    return _Node(site, label, home, write_site_key(home), port)


def _new_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _write_app(folder: Path, run_config: Mapping[str, Value]) -> Path:
    """Return the folder of an app that points to the installed Consilium and holds no code."""
    _new_folder(folder)
    app = {
        "publisher": "consilium",
        "components": {"serverapp": "server.app:app", "clientapp": "client.app:app"},
        "config": dict(run_config),
    }
    project = {"name": "consilium-study", "version": __version__}
    text = tomli_w.dumps({"project": project, "tool": {"flwr": {"app": app}}})
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def _free_ports(count: int) -> list[int]:
    """Return different ports that were free a moment ago."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
