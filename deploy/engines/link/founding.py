"""Founding a federation on this machine: a coordinator that listens, and sites that enrolled and approved.

Whoever runs a federation on their own machine speaks for all of its hospitals, and approves the study for
each of them, whatever its task. Everything else is as between hospitals: a cohort is still judged by the
policy of its own home.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from getpass import getuser
from pathlib import Path
from typing import get_args

from client.cohorts.home import POLICY_FILE, Home, create_home
from client.consent import Consents
from client.daemon.joining import join
from client.site import Site
from common.chain import utc_now
from common.contract import Contract, seal_contract
from common.contract.drafting import draw_up
from common.errors import InvalidValue
from common.files import write_atomically
from common.identity import is_site_name
from common.link.envelope import Sealed
from common.study import Study
from common.study.head import Task
from server.link.home import CoordinatorHome
from server.link.server import MOST_SITES, LinkServer

LOOPBACK = "127.0.0.1"
COORDINATOR, SITES = "coordinator", "sites"
HOLDS = timedelta(days=30)
"""How long the contract of a run on this machine holds: longer than any such run takes."""

_MANIFEST = "manifest"
_POLICY = f"[studies]\ntasks = {json.dumps(get_args(Task))}\n"


@dataclass(frozen=True, slots=True)
class Federation:
    """A coordinator that listens.

    Attributes:
        home: Its home.
        server: Its server.
        contract: What the sites approve.
        sealed: The same, signed.
    """

    home: CoordinatorHome
    server: LinkServer
    contract: Contract
    sealed: Sealed

    def admit(self, folder: Path, site: Site) -> Home:
        """The home of a site that has enrolled over the link and approved the contract.

        Args:
            folder: Where to make it.
            site: Who it is, and where its cases are.
        """
        now, home = utc_now(), create_home(folder, site.name)
        write_atomically(home.folder / POLICY_FILE, _POLICY)
        identity = join(home, self.home.enrolment.invite(site.name), now)
        consents = Consents(home, fingerprint=lambda _: _fingerprint(site))
        consents.receive(self.sealed, identity.coordinator, identity.federation, now)
        consents.approve(self.contract.digest, site.cohort or _MANIFEST, getuser(), now)
        return home


def require_names(sites: Sequence[Site]) -> None:
    """Let sites pass whose names a certificate can carry.

    Raises:
        InvalidValue: One has another name.
    """
    for site in sites:
        if not is_site_name(site.name):
            raise InvalidValue(
                f"a site called {site.name!r} cannot have a certificate: 1 to 40 of a-z, 0-9 and - can",
                hint="Give it another name in the manifest or with --cohort; or add --engine superlink.",
            )


@contextmanager
def founded(folder: Path, study: Study, seed: int, sites: int, port: int) -> Iterator[Federation]:
    """A federation during the block.

    Args:
        folder: Where the coordinator's home is made.
        study: What its sites will be asked to approve.
        seed: What the study will run with.
        sites: How many there will be.
        port: Where the coordinator listens; 0 for a port that is free.

    Raises:
        PortTaken: Another program has the port.
        DiskFull, OutputUnwritable: The home cannot be made.
    """
    address = f"{LOOPBACK}:{port or _free_port()}"
    with CoordinatorHome.create(
        folder / COORDINATOR, address, address, enrolments_a_minute=max(5, sites)
    ) as home:
        now = utc_now()
        contract = draw_up(study, federation=home.federation, seed=seed, issued=now, expires=now + HOLDS)
        sealed = seal_contract(contract, home.signing_key, now)
        home.audit.append("study.proposed", study=contract.name, contract=contract.digest)
        with LinkServer(home, contracts=lambda: (sealed,), most_sites=max(MOST_SITES, sites)) as server:
            yield Federation(home, server, contract, sealed)


def _fingerprint(site: Site) -> str:
    """Which state of its cases a site has approved the study for."""
    return site.fingerprint or hashlib.sha256(Path(site.manifest).read_bytes()).hexdigest()


def _free_port() -> int:
    """One that was free a moment ago."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])
