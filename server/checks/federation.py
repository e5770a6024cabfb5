"""How the federation stands: its sites' certificates, and the contracts that soon hold no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from common.checks import Advice, Finding
from common.contract import Contract
from common.errors import HomeInvalid
from server.link.home import DATABASE_FILE
from server.link.members import InvitationRow, SiteRow
from server.link.store import LinkStore
from server.proposals import Proposals
from server.record import read_run

SOON = timedelta(days=7)
"""Sites renew their certificate when 15 days are left: one with fewer than these has not been here long."""
ENDING = timedelta(days=14)
"""Contracts that end within this are named."""

_RECONNECT = "Ask the site to start its daemon: connected, it renews by itself. Once over, invite it again."
_REPLACE = (
    "Propose the study again with a later date (`consilium study propose --days N`); sites approve anew."
)


def members(home: Path) -> tuple[list[SiteRow], list[InvitationRow]]:
    """The sites, and all invitations ever given.

    Raises:
        HomeInvalid: The database is missing, or not one.
    """
    path = home / DATABASE_FILE
    if not path.is_file():
        raise HomeInvalid(f"{path} is missing", hint="Put it back from a copy; without it no site is let in.")
    with closing(LinkStore(path)) as store:
        return store.members.sites(), store.members.invitations()


def sites(known: Sequence[SiteRow], invited: Sequence[InvitationRow], now: datetime) -> Iterator[Finding]:
    """How many sites there are, and which of them will soon not be let in any more."""
    good = [site for site in known if site.revoked_at is None]
    waiting = [each for each in invited if not (each.used_at or each.void_at) and _time(each.expires) > now]
    revoked = f", {len(known) - len(good)} revoked" if len(good) < len(known) else ""
    yield Finding("sites", f"{len(good)} enrolled, {len(waiting)} invited{revoked}")
    for site in good:
        end = _time(site.expires)
        if end - now < SOON:
            said = f"its certificate {'is over since' if end < now else 'ends on'} {end:%Y-%m-%d}"
            yield Finding(f"site {site.name}", said, advice=Advice("site-expiring", _RECONNECT))


def studies(proposals: Proposals, now: datetime) -> Iterator[Finding]:
    """The studies that have not ended, and which of their contracts soon hold no more.

    Raises:
        ContractInvalid: One is not as it was written.
    """
    open_ones = [each for each in contracts(proposals, now) if not _is_over(proposals, each)]
    yield Finding("studies", f"{len(open_ones)} proposed or running")
    for contract in open_ones:
        if _time(contract.expires) - now < ENDING:
            said = f"its contract {contract.digest[:12]} holds until {contract.expires[:10]}"
            yield Finding(f"study {contract.name}", said, advice=Advice("contract-expiring", _REPLACE))


def contracts(proposals: Proposals, now: datetime) -> tuple[Contract, ...]:
    """The contracts that still hold.

    Raises:
        ContractInvalid: One is not as it was written.
    """
    found = (proposals.contract(digest) for digest in proposals.digests())
    return tuple(contract for contract in found if not contract.expired(now))


def _is_over(proposals: Proposals, contract: Contract) -> bool:
    run = read_run(proposals.run_folder(contract.digest))
    return run is not None and run["status"] != "running"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
