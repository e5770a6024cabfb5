"""A federation at a fixed time, and a forger who may sign whatever he likes with whatever key he has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from common.identity import Authority, Invitation, new_signing_key, new_tls_key, public_text, signed
from common.identity.keys import is_p256
from common.identity.names import Role
from common.identity.profile import common_name, leaf_extensions

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
FEDERATION = "0123456789ab"
INVITATION_ID = "00112233445566778899aabbccddeeff"

AnyPublic = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
Changed = tuple[tuple[x509.ExtensionType, bool], ...]
Forge = Callable[..., bytes]


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority.new(FEDERATION, NOW)


@pytest.fixture(scope="session")
def impostor() -> Authority:
    """Another authority that claims to be of the same federation."""
    return Authority.new(FEDERATION, NOW)


@pytest.fixture(scope="session")
def site_key() -> ec.EllipticCurvePrivateKey:
    return new_tls_key()


@pytest.fixture(scope="session")
def forger(site_key: ec.EllipticCurvePrivateKey) -> Callable[[Authority], Forge]:
    """``forger(authority)(role, name, ...)``: a leaf in PEM, in its one form but for what is said."""

    def of(authority: Authority) -> Forge:
        def forged(
            role: Role = "site",
            name: str = "alder",
            *,
            public: AnyPublic | None = None,
            subject: x509.Name | None = None,
            issuer: x509.Name | None = None,
            key: ec.EllipticCurvePrivateKey | None = None,
            changed: Changed = (),
            dropped: tuple[type[x509.ExtensionType], ...] = (),
            start: datetime = authority.certificate.not_valid_before_utc,
            end: datetime = authority.certificate.not_valid_before_utc + timedelta(days=1),
        ) -> bytes:
            own = public if is_p256(public) else site_key.public_key()
            profile = leaf_extensions(authority.federation, role, name, own, authority.key.public_key())
            others = {*dropped, *(type(value) for value, _ in changed)}
            builder = (
                x509.CertificateBuilder()
                .subject_name(common_name(name) if subject is None else subject)
                .issuer_name(issuer or authority.certificate.subject)
                .public_key(public or own)
                .serial_number(x509.random_serial_number())
                .not_valid_before(start)
                .not_valid_after(end)
            )
            for value, critical in (*(each for each in profile if type(each[0]) not in others), *changed):
                builder = builder.add_extension(value, critical)
            return builder.sign(key or authority.key, SHA256()).public_bytes(Encoding.PEM)

        return forged

    return of


@pytest.fixture(scope="session")
def forge(forger: Callable[[Authority], Forge], authority: Authority) -> Forge:
    """Leaves signed with the authority's own key, unless it is said otherwise."""
    return forger(authority)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder with mode 0700."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="session")
def coordinator_key() -> ed25519.Ed25519PrivateKey:
    return new_signing_key()


@pytest.fixture(scope="session")
def invitation(authority: Authority, coordinator_key: ed25519.Ed25519PrivateKey) -> Invitation:
    """One for ``alder`` that can be used for two days."""
    key, certificate = authority.bootstrap(INVITATION_ID, NOW, hours=48)
    unsigned = Invitation(
        id=INVITATION_ID,
        federation=FEDERATION,
        site="alder",
        address="coordinator.example:443",
        authority=authority.pem.decode(),
        coordinator_key=public_text(coordinator_key.public_key()),
        bootstrap_certificate=certificate.decode(),
        bootstrap_key=key.decode(),
        expires=(NOW + timedelta(hours=48)).isoformat(timespec="seconds"),
    )
    return signed(unsigned, coordinator_key)
