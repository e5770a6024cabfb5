"""Two federations of one site each: every certificate that an honest or a dishonest party could hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.identity import Authority, key_pem, new_federation, new_invitation_id, new_tls_key, site_request


@dataclass(frozen=True, slots=True)
class Federation:
    """A federation's name, and its files in PEM: each ``HOLDER`` has its key as ``HOLDER-key``.

    Attributes:
        name: Twelve hexadecimal digits.
        pem: Of ``authority``, ``coordinator``, ``site``, ``invitation``, and of a site whose certificate has
            ``expired``.
    """

    name: str
    pem: Mapping[str, bytes]

    def write(self, folder: Path) -> Path:
        """The folder, with a file for each."""
        for name, content in self.pem.items():
            (folder / f"{name}.pem").write_bytes(content)
        return folder

    def credentials(self, holder: str) -> tuple[bytes, bytes, bytes]:
        """Key, certificate and authority, as the link's functions take them."""
        return self.pem[f"{holder}-key"], self.pem[holder], self.pem["authority"]


def new_one() -> Federation:
    now, name = datetime.now(UTC), new_federation()
    past = now - timedelta(days=60)
    authority = Authority.new(name, past)
    pem = {"authority": authority.pem}
    for holder, issued in (("site", now), ("expired", past)):
        key = new_tls_key()
        request = site_request(key, name, "north")
        pem |= {f"{holder}-key": key_pem(key), holder: authority.site_certificate(request, "north", issued)}
    key = new_tls_key()
    pem |= {"coordinator-key": key_pem(key)}
    pem |= {"coordinator": authority.coordinator_certificate(key.public_key(), now)}
    invitation = authority.bootstrap(new_invitation_id(), now, 1)
    return Federation(name, {**pem, **dict(zip(("invitation-key", "invitation"), invitation, strict=True))})


@pytest.fixture(scope="session")
def federation() -> Federation:
    """The federation that the coordinator of a test belongs to."""
    return new_one()


@pytest.fixture(scope="session")
def stranger() -> Federation:
    """Another, whose certificates look the same and are worth nothing here."""
    return new_one()
