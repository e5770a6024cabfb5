"""A site's identity on the disk: read only if it is whole, its owner's, and this federation's."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.link.identity import AUTHORITY, CERTIFICATE, COORDINATOR, KEY, SiteIdentity
from common.errors import CertificateExpired, CertificateRefused, KeyUnsafe, NotEnrolled
from common.identity import (
    Authority,
    new_federation,
    new_invitation_id,
    new_signing_key,
    new_tls_key,
    public_text,
    site_request,
    write_key,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def authority() -> Authority:
    return Authority.new(new_federation(), NOW - DAY)


@pytest.fixture
def folder(authority: Authority, tmp_path: Path) -> Path:
    """The identity of site alder, good for 30 days from now."""
    folder, key = tmp_path / "link", new_tls_key()
    folder.mkdir(mode=0o700)
    write_key(folder / KEY, key)
    request = site_request(key, authority.federation, "alder")
    (folder / CERTIFICATE).write_bytes(authority.site_certificate(request, "alder", NOW, 30))
    (folder / AUTHORITY).write_bytes(authority.pem)
    public = public_text(new_signing_key().public_key())
    place = {"address": "coordinator.example:443", "key": public, "proxy": "http://alder:s3cret@proxy:3128"}
    (folder / COORDINATOR).write_text(json.dumps(place))
    return folder


def test_it_is_read(folder: Path, authority: Authority) -> None:
    site = SiteIdentity.read(folder, NOW)
    assert (site.name, site.federation) == ("alder", authority.federation)
    assert (site.address, site.proxy) == ("coordinator.example:443", "http://alder:s3cret@proxy:3128")
    assert b"PRIVATE KEY" in site.key_pem
    assert "s3cret" not in repr(site)


@pytest.mark.parametrize("name", [CERTIFICATE, AUTHORITY, COORDINATOR])
def test_a_part_that_is_missing(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(NotEnrolled):
        SiteIdentity.read(folder, NOW)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"address": "a:1", "key": "k", "proxy": null}'])
def test_a_place_that_is_none(text: str, folder: Path) -> None:
    (folder / COORDINATOR).write_text(text)
    with pytest.raises(NotEnrolled):
        SiteIdentity.read(folder, NOW)


def test_a_key_that_others_can_read(folder: Path) -> None:
    (folder / KEY).chmod(0o640)
    with pytest.raises(KeyUnsafe):
        SiteIdentity.read(folder, NOW)


def test_a_certificate_of_another_authority(folder: Path, authority: Authority) -> None:
    (folder / AUTHORITY).write_bytes(Authority.new(authority.federation, NOW - DAY).pem)
    with pytest.raises(CertificateRefused):
        SiteIdentity.read(folder, NOW)


def test_a_certificate_for_another_key(folder: Path, authority: Authority) -> None:
    request = site_request(new_tls_key(), authority.federation, "alder")
    (folder / CERTIFICATE).write_bytes(authority.site_certificate(request, "alder", NOW))
    with pytest.raises(CertificateRefused, match="another key"):
        SiteIdentity.read(folder, NOW)


def test_a_certificate_for_another_purpose(folder: Path, authority: Authority) -> None:
    _, certificate = authority.bootstrap(new_invitation_id(), NOW, 1)
    (folder / CERTIFICATE).write_bytes(certificate)
    with pytest.raises(CertificateRefused, match="invitation"):
        SiteIdentity.read(folder, NOW)


@pytest.mark.parametrize("days", [-1, 31])
def test_a_certificate_of_another_time(days: int, folder: Path) -> None:
    with pytest.raises(CertificateExpired):
        SiteIdentity.read(folder, NOW + days * DAY)


def test_it_is_due_when_less_than_half_is_left(folder: Path) -> None:
    site = SiteIdentity.read(folder, NOW)
    assert [site.is_due(NOW + days * DAY) for days in (0, 14, 16, 29)] == [False, False, True, True]


def test_it_is_renewed_under_the_same_key(folder: Path, authority: Authority) -> None:
    site, later = SiteIdentity.read(folder, NOW), NOW + 16 * DAY
    renewed = site.renewed(authority.site_certificate(site.request(), "alder", later), later)
    assert renewed.identity.serial != site.identity.serial
    assert renewed.identity.public == site.identity.public
    assert SiteIdentity.read(folder, later).identity == renewed.identity
    assert not renewed.is_due(later)


def test_a_renewal_for_another_site_is_not_kept(folder: Path, authority: Authority) -> None:
    site = SiteIdentity.read(folder, NOW)
    request = site_request(site.key, site.federation, "birch")
    with pytest.raises(CertificateRefused, match="another site"):
        site.renewed(authority.site_certificate(request, "birch", NOW), NOW)
    assert SiteIdentity.read(folder, NOW).identity == site.identity
