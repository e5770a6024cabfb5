"""A hospital with a cohort, its register of studies, and one contract that waits there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from client.cohorts.catalogue import Catalogue
from client.cohorts.home import POLICY_FILE, Home
from client.cohorts.rules import Rules
from client.consent import Consents, Standing
from common.contract import Contract
from tests.unit.cohorts.archives import new_home
from tests.unit.contract.drafts import CODE, FEDERATION, KEY, NOW, contract_with, sealed


@dataclass
class Hospital:
    """A hospital, and what people there do."""

    home: Home
    consents: Consents

    def policy(self, text: str) -> None:
        """Write ``policy.toml``."""
        (self.home.folder / POLICY_FILE).write_text(text, encoding="utf-8")

    def receive(self, contract: Contract) -> str:
        """The digest of a contract that has arrived."""
        return self.consents.receive(sealed(contract), KEY.public_key(), FEDERATION, NOW).digest

    def approve(self, digest: str, approver: str = "Ada", cohort: str = "chest") -> Standing:
        """How a contract stands once somebody approved it."""
        return self.consents.approve(digest, cohort, approver, NOW)

    def status(self, digest: str, now: datetime = NOW) -> str:
        """How another process sees the contract."""
        return Consents(self.home).state(digest, now).status


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut in these tests; that data is synced, and in order, the chain's own tests show."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def _code_of_the_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code installed here is that which the drafts name."""
    for name in ("code_digest", "installed_digest"):
        monkeypatch.setattr(f"client.consent.check.{name}", lambda: CODE)


@pytest.fixture(autouse=True)
def _any_cohort_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """These cohorts have no case at all."""
    monkeypatch.setattr("client.consent.check.require_suitable", lambda site, study: None)


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """A hospital with the cohorts ``chest`` and ``knee``."""
    home = new_home(tmp_path / "home")
    with closing(Catalogue(home.database)) as catalogue:
        for name in ("chest", "knee"):
            catalogue.create(name, Rules())
    return Hospital(home, Consents(home, lambda: NOW))


@pytest.fixture
def draft() -> Callable[..., Contract]:
    """See :func:`tests.unit.contract.drafts.contract_with`."""
    return contract_with


@pytest.fixture
def proposed(hospital: Hospital) -> str:
    """The digest of a contract that nobody decided on yet."""
    return hospital.receive(contract_with())
