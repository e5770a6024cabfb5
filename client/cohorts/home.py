"""The site's home: one folder that holds everything Consilium keeps at a hospital.

    site.toml     who the site is, which archives it talks to
    policy.toml   what the hospital allows
    site.db       what was taken in, and the cases made of it
    audit.jsonl   what was done, chained by hashes (audit.head: its last digest)
    keys/         the key of the pseudonyms; a copy of it belongs in the hospital's safe
    cohorts/      the pixels of each cohort
    ledgers/      what private training has spent of each cohort; they outlive the cohorts
    studies/      contracts that were proposed, and what was decided about each, chained by hashes
    link/         key and certificate, the coordinator's address, what is owed to it, how the link stands
    inbox/        what an archive sent, until it has been taken in

``ledgers``, ``studies`` and ``link`` come with the first private round, proposal and enrolment.

Only its owner can read it (mode 0700).
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from client.cohorts.catalogue import Catalogue
from client.cohorts.settings import POLICY_TEMPLATE, SITE_TEMPLATE, Policy, SiteSettings, read_settings
from client.dicom.pseudonyms import KEY_BYTES, Pseudonyms
from client.ledger import HEAD_SUFFIX, SUFFIX, Ledger
from client.ledger.witness import ledgers_told
from common.audit import AuditLog, Fact
from common.errors import HomeBusy, HomeInvalid, HomeMissing, OutputExists
from common.files import unwritable, write_atomically

VARIABLE = "CONSILIUM_HOME"
COHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SITE_FILE, POLICY_FILE, KEY_FILE = "site.toml", "policy.toml", "keys/pseudonyms.key"


@dataclass(frozen=True)
class Home:
    """The home of one site."""

    folder: Path

    @cached_property
    def settings(self) -> SiteSettings:
        """``site.toml``."""
        return read_settings(self.folder / SITE_FILE, SiteSettings)

    @cached_property
    def policy(self) -> Policy:
        """``policy.toml``."""
        return read_settings(self.folder / POLICY_FILE, Policy)

    @cached_property
    def key(self) -> bytes:
        """The key of the site's pseudonyms.

        Raises:
            HomeInvalid: It is missing or not one.
        """
        path = self.folder / KEY_FILE
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            raise HomeInvalid(f"{path} cannot be read; without it no picture can be taken in") from None
        if len(key) != KEY_BYTES:
            raise HomeInvalid(f"{path} does not hold {KEY_BYTES} bytes in hexadecimal")
        return key

    @property
    def pseudonyms(self) -> Pseudonyms:
        """The site's pseudonyms."""
        return Pseudonyms(self.key)

    @property
    def database(self) -> Path:
        """``site.db``."""
        return self.folder / "site.db"

    @property
    def inbox(self) -> Path:
        """Where archives' files arrive unless a command says otherwise."""
        return self.folder / "inbox"

    def cohort_folder(self, name: str) -> Path:
        """Where the pixels of a cohort lie.

        Raises:
            ValueError: That is no name of a cohort; it could lead out of the home.
        """
        if not COHORT_NAME.fullmatch(name):
            raise ValueError("not a cohort's name")
        return self.folder / "cohorts" / name

    def ledger(self, cohort: str) -> Ledger:
        """What private training has spent of a cohort, against the hospital's budget for it.

        Raises:
            ValueError: That is no name of a cohort; it could lead out of the home.
        """
        if not COHORT_NAME.fullmatch(cohort):
            raise ValueError("not a cohort's name")
        path = self.folder / "ledgers" / f"{cohort}{SUFFIX}"
        return Ledger(path, self.policy.privacy.budget(cohort), self.audit_log)

    def ledgers(self) -> tuple[str, ...]:
        """Names of the cohorts that ever spent something, as the ledgers' files and the audit log know them.

        Raises:
            AuditBroken: The log is not the one that was written.
        """
        kept = (path for path in (self.folder / "ledgers").glob("*") if path.suffix in (SUFFIX, HEAD_SUFFIX))
        return tuple(sorted({path.stem for path in kept} | ledgers_told(self.audit_log)))

    def audit(self, event: str, **facts: Fact) -> None:
        """Add a line to the audit log.

        Raises:
            AuditBroken: The log is not the one that was written.
        """
        self.audit_log.append(event, **facts)

    @cached_property
    def audit_log(self) -> AuditLog:
        """``audit.jsonl``."""
        return AuditLog(self.folder / "audit.jsonl")

    @contextmanager
    def changing(self, cohort: str) -> Iterator[None]:
        """Nobody else changes the cohort during the block.

        Raises:
            HomeBusy: Another process does so already.
        """
        path = self.cohort_folder(cohort).with_name(f".{cohort}.lock")
        try:
            path.parent.mkdir(exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unwritable(path, error) from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeBusy(f"cohort {cohort!r} is being changed") from None
            yield
        finally:
            os.close(handle)


def home_folder(given: Path | None) -> Path:
    """The folder that is meant: the one given, ``CONSILIUM_HOME``, or ``~/.consilium``."""
    named = os.environ.get(VARIABLE)
    return (given or (Path(named) if named else Path.home() / ".consilium")).expanduser().absolute()


def open_home(given: Path | None) -> Home:
    """The site's home.

    Raises:
        HomeMissing: There is none.
    """
    folder = home_folder(given)
    if not (folder / SITE_FILE).is_file():
        raise HomeMissing(f"{folder} holds no {SITE_FILE}")
    return Home(folder)


def create_home(given: Path | None, name: str) -> Home:
    """A new site with default settings and a key of its own.

    Raises:
        OutputExists: There is something already.
        DiskFull, OutputUnwritable: It cannot be written.
    """
    folder = home_folder(given)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExists(f"{folder} already holds something", hint="Choose another --home.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for inner in ("keys", "cohorts", "inbox"):
            (folder / inner).mkdir(mode=0o700)
    except OSError as error:
        raise unwritable(folder, error) from None
    write_atomically(folder / KEY_FILE, secrets.token_bytes(KEY_BYTES).hex() + "\n", 0o400)
    write_atomically(folder / POLICY_FILE, POLICY_TEMPLATE)
    # Last, because a folder with a site.toml is a site.
    write_atomically(folder / SITE_FILE, SITE_TEMPLATE.format(name=name))
    home = Home(folder)
    Catalogue(home.database).close()
    home.audit("site.created", site=home.settings.name)
    return home
