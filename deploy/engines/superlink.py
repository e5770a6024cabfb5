"""A study as real processes on this machine, on Flower's own deployment.

One SuperLink, one SuperNode per site, one SuperExec for each of them, and a Flower App Bundle that holds no
Python: it only names ``server.app:app`` and ``client.app:app``, which every process loads from the installed
Consilium. Invariants: everything listens on the loopback address alone; nothing is installed, reported or
looked up outside this machine; the user's own Flower settings are neither read nor changed; whatever way a run
ends, no process, port or temporary file of it is left.

Flower's trust model holds: whoever can reach the SuperLink's port can start runs there. On the loopback address
that is every account of this machine, so this engine is not for computers shared with people one does not trust.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import tomli_w

from common import __version__
from common.errors import EngineFailed, PortTaken
from deploy.engines import flower_commands
from deploy.engines.credentials import LOOPBACK, SiteKey, write_link_credentials, write_site_key
from deploy.engines.flower_commands import FlowerCommands
from deploy.engines.processes import Processes

Value = str | int | float | bool

_BINARIES = Path(sys.executable).parent
_TICK_S = 0.25
_STATUS_EVERY_S = 0.5
_CONNECTION = "consilium"

# A port that was free when asked for can be gone when it is used; more than once is no coincidence.
_TRIES = 3

_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    # Flower's default of one second is half the time that a task waits for nothing.
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
    # Many processes share this machine's cores.
    "OMP_NUM_THREADS": "1",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONUNBUFFERED": "1",
}


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


class SuperLinkEngine:
    """Runs Flower's SuperLink, SuperNodes and SuperExecs as child processes.

    Args:
        sites: The sites, each of which gets a SuperNode.
        port: The SuperLink's port; 0 takes a free one.
        startup_timeout_s: How long it may take until the ServerApp runs.
    """

    def __init__(
        self, sites: Sequence[SiteProcess], *, port: int = 0, startup_timeout_s: float = 60.0
    ) -> None:
        self._sites = tuple(sites)
        self._port = port
        self._startup_timeout_s = startup_timeout_s

    def run(
        self,
        run_config: Mapping[str, Value],
        *,
        log_dir: Path,
        on_poll: Callable[[], None] = lambda: None,
    ) -> None:
        """Run the study and return when it is complete.

        SIGTERM and SIGHUP are turned into KeyboardInterrupt meanwhile, unless the caller handles them.

        Args:
            run_config: What the ServerApp reads from ``context.run_config``. Paths must be absolute.
            log_dir: Where the logs of all processes are kept if the run does not complete.
            on_poll: Called about four times a second.

        Raises:
            EngineFailed: The run did not complete, or a process ended early.
            PortTaken: Another program uses the port asked for.
            DiskFull: A process had no space left.
        """
        with _interruptible():
            for tries_left in reversed(range(_TRIES)):
                _refuse_taken(self._port)
                try:
                    return self._attempt(run_config, log_dir.absolute(), on_poll)
                except PortTaken:
                    if not tries_left:
                        raise

    def _attempt(
        self, run_config: Mapping[str, Value], log_dir: Path, on_poll: Callable[[], None]
    ) -> None:
        with (
            TemporaryDirectory(prefix="consilium-", ignore_cleanup_errors=True) as folder,
            Processes(Path(folder), _environment(Path(folder)), keep_logs_in=log_dir) as processes,
        ):
            federation = _Federation(Path(folder), self._sites, self._port, processes, on_poll)
            deadline = time.monotonic() + self._startup_timeout_s
            federation.start(deadline)
            federation.conduct(run_config, deadline)


class _Federation:
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
        """Start the run and return when it is complete."""
        app = _write_app(self._folder / "app", run_config)
        answer = json.loads(self._flwr("run", str(app), _CONNECTION, "--format=json"))
        for node in self._nodes:
            self._start_superexec(node.label, f"{LOOPBACK}:{node.port}", "--insecure", home=node.home)
        run_id = str(answer["run-id"])
        while not (status := self._status(run_id))["status"].startswith("finished"):
            if status["status"] in ("pending", "starting") and time.monotonic() > deadline:
                raise EngineFailed(f"The ServerApp did not start in time (the run is {status['status']}).")
            self._pause(_STATUS_EVERY_S)
        if status["status"] != "finished:completed":
            raise EngineFailed(self._failure(run_id, status))

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
        home = _make_private(self._folder / "flwr")
        connection = {"address": self._address, "root-certificates": self._ca}
        (home / "config.toml").write_text(tomli_w.dumps({"superlink": {_CONNECTION: connection}}))
        process = self._processes.start(
            "flwr", flower_commands.COMMAND, environment={"FLWR_HOME": str(home)}, piped=True
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
            home=home or _make_private(self._folder / label),
        )

    def _start(self, name: str, program: str, *options: str, home: Path | None = None) -> None:
        environment = {"FLWR_HOME": str(home or self._folder / "flower")}
        self._processes.start(name, (str(_BINARIES / program), *options), environment=environment)

    def _await_superlink(self, deadline: float) -> None:
        while not _listens(self._address):
            if time.monotonic() > deadline:
                raise EngineFailed("The SuperLink did not answer in time.")
            self._pause(_TICK_S / 4)

    def _status(self, run_id: str) -> dict[str, str]:
        listing = json.loads(self._flwr("list", _CONNECTION, "--run-id", run_id, "--format=json"))
        run: dict[str, str] = listing["runs"][0]
        return run

    def _failure(self, run_id: str, status: Mapping[str, str]) -> str:
        log = self._flwr("log", run_id, _CONNECTION, "--show")
        return f"{status['status']}: {status['status-details']}\n{log}"

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
    label = f"site-{number}-" + re.sub(r"[^a-z0-9]+", "-", site.name.lower())[:40].strip("-")
    home = _make_private(folder / label)
    return _Node(site, label, home, write_site_key(home), port)


def _make_private(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def _write_app(folder: Path, run_config: Mapping[str, Value]) -> Path:
    """Return the folder of an app that points to the installed Consilium and holds no code."""
    _make_private(folder)
    app = {
        "publisher": "consilium",
        "components": {"serverapp": "server.app:app", "clientapp": "client.app:app"},
        "config": dict(run_config),
    }
    project = {"name": "consilium-study", "version": __version__}
    text = tomli_w.dumps({"project": project, "tool": {"flwr": {"app": app}}})
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def _environment(folder: Path) -> dict[str, str]:
    """Return the children's environment: the user's, without settings that would send them elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FLWR_") and not name.lower().endswith("_proxy")
    }
    path = os.pathsep.join([str(_BINARIES), os.environ.get("PATH", os.defpath)])
    return kept | _ENVIRONMENT | {"PATH": path, "TMPDIR": str(_make_private(folder / "tmp"))}


def _free_ports(count: int) -> list[int]:
    """Return different ports that were free a moment ago."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def _refuse_taken(port: int) -> None:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError as error:
        raise PortTaken(f"Port {port} cannot be opened: {error.strerror}.") from error


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the run as Ctrl-C does, so that it is torn down."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may decide about signals
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
