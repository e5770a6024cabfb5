"""The coordinator's home: one folder that holds everything a federation's coordinator keeps.

    coordinator.toml   who it is, where it is found
    authority/         key.pem and certificate.pem of the authority that issues all certificates
    keys/              tls.pem, which it is known by, and signing.pem, which signs contracts and envelopes
    certificate.pem    its own certificate
    link.db            sites, invitations, tasks
    journal.db         runs, rounds, contributions
    blobs/             weights on their way
    audit.jsonl        what was done, chained by hashes (audit.head: its last digest)
    studies/           one folder for each study

Only its owner can read it (folders 0700, files 0600). It appears whole or not at all.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.audit import AuditLog
from common.chain import Clock, sync_folder, utc_now
from common.errors import (
    CertificateExpired,
    CertificateRefused,
    HomeMissing,
    IdentityExists,
    KeyUnreadable,
)
from common.files import unwritable, write_atomically
from common.identity import (
    Authority,
    Identity,
    identity_of,
    key_pem,
    new_federation,
    new_signing_key,
    new_tls_key,
    read_key,
    write_key,
)
from server.link.enrolment import TRIES_EACH, Enrolment
from server.link.settings import CoordinatorSettings, read_settings, settings_of
from server.link.store import LinkStore

SETTINGS_FILE, CERTIFICATE_FILE, DATABASE_FILE, AUDIT_FILE = (
    "coordinator.toml",
    "certificate.pem",
    "link.db",
    "audit.jsonl",
)
AUTHORITY, KEYS, BLOBS, STUDIES = "authority", "keys", "blobs", "studies"
TLS_KEY, SIGNING_KEY = f"{KEYS}/tls.pem", f"{KEYS}/signing.pem"
NAME = "coordinator"


class CoordinatorHome:
    """An open home: its keys are in memory. :meth:`create` and :meth:`open` give one.

    Attributes:
        folder: Where it lies.
        settings: ``coordinator.toml``.
        authority: Issues the federation's certificates.
        tls_key: The key of the coordinator's own certificate.
        signing_key: Signs contracts, envelopes, invitations.
        store: ``link.db``.
        audit: ``audit.jsonl``.
        enrolment: Who may become a site, and stay one.
    """

    def __init__(
        self,
        folder: Path,
        settings: CoordinatorSettings,
        authority: Authority,
        tls_key: ec.EllipticCurvePrivateKey,
        signing_key: Ed25519PrivateKey,
        now: Clock,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.authority = authority
        self.tls_key = tls_key
        self.signing_key = signing_key
        self.audit = AuditLog(folder / AUDIT_FILE, now)
        self.store = LinkStore(folder / DATABASE_FILE)
        self.enrolment = Enrolment(
            authority,
            signing_key,
            settings.address,
            self.store.members,
            self.audit,
            now,
            tries_each=settings.enrolments_a_minute,
        )
        self._now = now
        self._renewing = threading.Lock()

    @classmethod
    def create(
        cls,
        folder: Path,
        address: str,
        listen: str,
        passphrase: bytes | None = None,
        *,
        name: str = NAME,
        enrolments_a_minute: int = TRIES_EACH,
        now: Clock = utc_now,
    ) -> CoordinatorHome:
        """A new federation's coordinator.

        Args:
            folder: Where; it does not exist, or is empty.
            address: Where sites reach it, as ``host:port``.
            listen: Where it waits for them, likewise.
            passphrase: What its keys are encrypted under; None for not at all.
            name: What people call it.
            enrolments_a_minute: Attempts of one address to enrol.
            now: The clock.

        Raises:
            IdentityExists: There is something in the folder; nothing was changed.
            HomeInvalid: That is no address.
            KeyUnreadable: The passphrase is empty or too long.
            DiskFull, OutputUnwritable: It cannot be written; nothing of it is left.
        """
        folder = folder.absolute()
        settings = settings_of(name, address, listen, enrolments_a_minute)
        try:
            _require_free(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
            try:
                _fill(partial, settings, passphrase, now)
                _move(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise unwritable(folder, error) from None
        return cls.open(folder, passphrase, now=now)

    @classmethod
    def open(cls, folder: Path, passphrase: bytes | None = None, *, now: Clock = utc_now) -> CoordinatorHome:
        """The coordinator whose home this is; its certificate is renewed where half its time is over.

        Args:
            folder: Its home.
            passphrase: Of its keys; None where they have none.
            now: The clock.

        Raises:
            HomeMissing: There is none.
            HomeInvalid: Settings or database cannot be used.
            KeyUnsafe: Others can get at a key.
            KeyUnreadable: A key is missing, or the passphrase is not its own.
            CertificateRefused: The coordinator's certificate is not of this authority, or for another key.
            CertificateExpired: The authority's own is over, or the coordinator's begins in the future.
        """
        folder = folder.absolute()
        if not (folder / SETTINGS_FILE).is_file():
            raise HomeMissing(f"{folder} holds no {SETTINGS_FILE}")
        settings = read_settings(folder / SETTINGS_FILE)
        authority = Authority.read(folder / AUTHORITY, passphrase)
        tls_key, signing_key = (read_key(folder / which, passphrase) for which in (TLS_KEY, SIGNING_KEY))
        if not isinstance(tls_key, ec.EllipticCurvePrivateKey):
            raise KeyUnreadable(f"{folder / TLS_KEY} is no key for TLS")
        if not isinstance(signing_key, Ed25519PrivateKey):
            raise KeyUnreadable(f"{folder / SIGNING_KEY} is no Ed25519 key")
        home = cls(folder, settings, authority, tls_key, signing_key, now)
        try:
            home.certificate()
        except BaseException:  # whatever it was, the database must not stay open; it is raised again
            home.close()
            raise
        return home

    @property
    def federation(self) -> str:
        """The federation's id."""
        return self.authority.federation

    @property
    def blobs(self) -> Path:
        """The folder of weights on their way."""
        return self.folder / BLOBS

    @property
    def studies(self) -> Path:
        """The folder of studies."""
        return self.folder / STUDIES

    @property
    def tls_key_pem(self) -> bytes:
        """The key of the certificate as gRPC takes it: without a passphrase, so for memory only."""
        return key_pem(self.tls_key)

    def certificate(self) -> bytes:
        """The coordinator's certificate, in PEM; a new one where less than half of its time is left.

        A server asks again now and then: certificates change under it while it runs.

        Raises:
            CertificateRefused: It is not of this authority, or for another key.
            CertificateExpired: The authority's own is over, or the coordinator's begins in the future.
            AuditBroken, DiskFull, OutputUnwritable: A new one cannot be recorded or written.
        """
        path, now = self.folder / CERTIFICATE_FILE, self._now()
        with self._renewing:
            if path.exists():
                pem = path.read_bytes()
                if not self._is_ageing(pem, now):
                    return pem
            pem = self.authority.coordinator_certificate(self.tls_key.public_key(), now)
            issued = identity_of(pem, self.authority.pem, now)
            self.audit.append("coordinator.renewed", serial=issued.serial, fingerprint=issued.fingerprint)
            write_atomically(path, pem, 0o600)
            return pem

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()

    def __enter__(self) -> CoordinatorHome:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_ageing(self, pem: bytes, now: datetime) -> bool:
        identity = _whenever(pem, self.authority)
        if (identity.role, identity.public) != ("coordinator", self.tls_key.public_key()):
            raise CertificateRefused(f"{CERTIFICATE_FILE} is not for the key {TLS_KEY}", hint=_ANEW)
        if now < identity.not_before:
            raise CertificateExpired(f"{CERTIFICATE_FILE} begins at {identity.not_before:%Y-%m-%d %H:%M} UTC")
        return identity.not_after - now < (identity.not_after - identity.not_before) / 2


_ANEW = f"Move {CERTIFICATE_FILE} away, and the next start makes one for the key that is there."


def _require_free(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise IdentityExists(f"{folder} already holds something")


def _fill(folder: Path, settings: CoordinatorSettings, passphrase: bytes | None, now: Clock) -> None:
    """Write everything into a folder that nobody knows of yet."""
    for inner in (AUTHORITY, KEYS, BLOBS, STUDIES):
        (folder / inner).mkdir(mode=0o700)
    time = now()
    authority, tls_key = Authority.new(new_federation(), time), new_tls_key()
    authority.write(folder / AUTHORITY, passphrase)
    write_key(folder / TLS_KEY, tls_key, passphrase)
    write_key(folder / SIGNING_KEY, new_signing_key(), passphrase)
    certificate = authority.coordinator_certificate(tls_key.public_key(), time)
    write_atomically(folder / CERTIFICATE_FILE, certificate, 0o600)
    LinkStore(folder / DATABASE_FILE).close()
    AuditLog(folder / AUDIT_FILE, now).append(
        "coordinator.created", federation=authority.federation, authority=authority.fingerprint
    )
    write_atomically(folder / SETTINGS_FILE, settings.to_toml(), 0o600)


def _move(partial: Path, folder: Path) -> None:
    """Put the folder in its place in one step, unless somebody was faster."""
    sync_folder(partial)
    try:
        partial.rename(folder)
    except OSError:
        _require_free(folder)
        raise
    sync_folder(folder.parent)


def _whenever(pem: bytes, authority: Authority) -> Identity:
    """Who a certificate names, whether or not it is valid now."""
    try:
        end = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        raise CertificateRefused(f"{CERTIFICATE_FILE} cannot be read", hint=_ANEW) from None
    return identity_of(pem, authority.pem, end - timedelta(seconds=1))
