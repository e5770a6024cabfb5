"""A study as real processes on this machine, on Flower's own deployment.

Invariants: the user's own Flower settings are neither read nor changed; nothing is reported or looked up
outside this machine; whatever way a run ends, no process, port or temporary file of it is left.

Flower's trust model holds: whoever can reach the SuperLink's port can start runs there. On the loopback
address that is every account of this machine, so this engine is not for a computer shared with people one
does not trust.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from common.errors import DiskFull, EngineFailed, PortTaken
from deploy.engines.processes import Processes
from deploy.engines.superlink.credentials import LOOPBACK
from deploy.engines.superlink.federation import BINARIES, FlowerFederation, SiteProcess, Value

__all__ = ["SiteProcess", "SuperLinkDeployment"]

# A port that was free when asked for can be gone when it is used; more than once is no coincidence.
_TRIES = 3

# Settings of Flower for other federations, proxies for what stays on this machine, colours in JSON.
_MISLEADING = re.compile(r"FLWR_|.*_proxy$|FORCE_COLOR$|CLICOLOR|TTY_", re.IGNORECASE)

_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    # Flower's default of one second would be added to every task; this costs a hundredth of a core per site.
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    # Many processes share this machine's cores.
    "OMP_NUM_THREADS": "1",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONUNBUFFERED": "1",
}


class SuperLinkDeployment:
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
            DiskFull: There was no space left for a process or its files.
        """
        with _interruptible(), _disk_full_named():
            for tries_left in reversed(range(_TRIES)):
                _refuse_taken(self._port)
                try:
                    return self._attempt(run_config, log_dir.absolute(), on_poll)
                except PortTaken:
                    if not tries_left:
                        raise
                except EngineFailed as error:
                    message = f"{error.private.rstrip()}\nAll logs are kept in {log_dir.absolute()}."
                    raise EngineFailed(message) from error

    def _attempt(self, run_config: Mapping[str, Value], log_dir: Path, on_poll: Callable[[], None]) -> None:
        with (
            TemporaryDirectory(prefix="consilium-superlink-", ignore_cleanup_errors=True) as folder,
            Processes(Path(folder), _environment(Path(folder)), keep_logs_in=log_dir) as processes,
        ):
            federation = FlowerFederation(Path(folder), self._sites, self._port, processes, on_poll)
            deadline = time.monotonic() + self._startup_timeout_s
            federation.start(deadline)
            federation.conduct(run_config, deadline)


def _environment(folder: Path) -> dict[str, str]:
    """Return the children's environment: the user's, without what would change how they work together."""
    kept = {name: value for name, value in os.environ.items() if not _MISLEADING.match(name)}
    # SuperExec looks for flwr-serverapp and flwr-clientapp there.
    path = os.pathsep.join([str(BINARIES), os.environ.get("PATH", os.defpath)])
    temporary = folder / "tmp"
    temporary.mkdir()
    return kept | _ENVIRONMENT | {"PATH": path, "TMPDIR": str(temporary)}


def _refuse_taken(port: int) -> None:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PortTaken(f"Port {port} cannot be opened: {reason}.") from error


@contextmanager
def _disk_full_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(str(error)) from error
        raise


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
