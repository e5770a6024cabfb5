"""Consilium's own link as an engine: the coordinator in this process, a daemon and its child a site."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from client.site import Site
from common.errors import MachineError, PortTaken
from common.files import unwritable, write_atomically
from deploy.engines.engine import EVIDENCE
from deploy.engines.link.founding import COORDINATOR, SITES, Federation, founded, require_names
from deploy.engines.processes import Processes
from server.conduct import conduct
from server.coordinator import JOURNAL
from server.journal import Journal
from server.link.grid import LinkGrid
from server.study_run import RunPlan

_WATCH_S = 0.25
_TRIES = 3


class LinkEngine:
    """Real processes over mutual TLS on loopback, under certificates and a contract made for this one run."""

    name = "link"

    def __init__(self, port: int = 0) -> None:
        self._port = port

    def run(self, plan: RunPlan, sites: Sequence[Site], loads: Sequence[int]) -> None:
        """See :class:`deploy.engines.engine.Engine`."""
        require_names(sites)
        for tries_left in reversed(range(_TRIES)):
            with TemporaryDirectory(prefix="consilium-link-", ignore_cleanup_errors=True) as folder:
                try:
                    return self._attempt(plan, sites, Path(folder))
                except PortTaken:
                    # A free one may be lost before it is used; one that was asked for is another's.
                    if self._port or not tries_left:
                        raise

    def _attempt(self, plan: RunPlan, sites: Sequence[Site], folder: Path) -> None:
        with (
            founded(folder, plan.study, plan.seed, len(sites), self._port) as federation,
            Processes(folder, _environment(len(sites)), keep_logs_in=plan.out / "logs") as processes,
        ):
            try:
                for site in sites:
                    _start(processes, federation, folder / SITES / site.name, site)
                grid = federation.server.grid(federation.contract.digest)
                with _watched(processes, grid), Journal(plan.out / JOURNAL) as journal:
                    run = journal.run(federation.contract.digest, plan.study, plan.seed, plan.out)
                    conduct(grid, federation.home.audit, federation.contract, plan, run)
            finally:  # once nobody writes to the logs any more, and before the folder goes with the processes
                processes.stop()
                federation.server.stop()
                _keep_evidence(folder, plan.out / EVIDENCE)


def _start(processes: Processes, federation: Federation, folder: Path, site: Site) -> None:
    home = federation.admit(folder, site)
    config = folder.with_suffix(".json")
    write_atomically(config, json.dumps(site.node_config()), 0o600)
    module = "deploy.engines.link.hospital"
    processes.start(site.name, (sys.executable, "-P", "-m", module, str(home.folder), str(config)))


@contextmanager
def _watched(processes: Processes, grid: LinkGrid) -> Iterator[None]:
    """End the study during the block as soon as a site's process has ended: it will not answer."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_WATCH_S):
            try:
                processes.check()
            except MachineError as error:
                grid.stop(error)
                return

    watcher = threading.Thread(target=watch, name="sites", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _environment(sites: int) -> Mapping[str, str]:
    """The user's, where all sites share this machine's cores."""
    threads = str(max(1, (os.cpu_count() or 1) // sites))
    return {"OMP_NUM_THREADS": threads, **os.environ}


def _keep_evidence(folder: Path, kept: Path) -> None:
    """Copy the audit logs of all sides, with the heads that close them, out of a folder that will be gone."""
    homes = [folder / COORDINATOR, *sorted(path for path in (folder / SITES).glob("*") if path.is_dir())]
    try:
        for home in homes:
            for file in home.glob("audit*"):
                (kept / home.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, kept / home.name / file.name)
    except OSError as error:
        raise unwritable(kept, error) from None
