"""The coordinator's home: whole or not there, closed to others, and known by a certificate that is good."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from common.errors import (
    CertificateExpired,
    CertificateRefused,
    ConsiliumError,
    DiskFull,
    HomeInvalid,
    HomeMissing,
    IdentityExists,
    KeyUnreadable,
    KeyUnsafe,
)
from common.evidence.events import objection
from common.identity import Authority, identity_of, key_of, new_signing_key, new_tls_key, write_key
from server.link import home as module
from server.link.home import CoordinatorHome

Create = Callable[..., CoordinatorHome]
KEYS = ("authority/key.pem", "keys/tls.pem", "keys/signing.pem")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def renewals(home: CoordinatorHome) -> int:
    entries = list(home.audit.entries())
    assert [objection(entry.event, entry.facts) for entry in entries] == [None] * len(entries)
    return [entry.event for entry in entries].count("coordinator.renewed")


@pytest.fixture
def reopen(clock: Any) -> Any:
    """``reopen(folder)``: open a home at the time of the test's clock, and close it again."""

    def again(folder: Path, passphrase: bytes | None = None) -> bytes:
        with CoordinatorHome.open(folder, passphrase, now=clock) as home:
            return home.certificate()

    return again


def test_a_home_holds_what_a_coordinator_needs(home: CoordinatorHome, tmp_path: Path, clock: Any) -> None:
    names = {
        str(path.relative_to(home.folder)) for path in home.folder.rglob("*") if "link.db-" not in path.name
    }
    assert names == {
        *KEYS,
        *("authority", "keys", "blobs", "studies", "authority/certificate.pem"),
        *("certificate.pem", "coordinator.toml", "link.db", "audit.jsonl", "audit.head"),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["coordinator"]
    identity = identity_of(home.certificate(), home.authority.pem, clock())
    assert (identity.role, identity.federation) == ("coordinator", home.federation)
    assert (home.settings.name, home.settings.address, home.settings.listen) == (
        "Trial",
        "127.0.0.1:8443",
        "127.0.0.1:0",
    )
    assert key_of(home.tls_key_pem).public_key() == home.tls_key.public_key()
    assert [entry.event for entry in home.audit.entries()] == ["coordinator.created"]
    assert home.blobs.is_dir()
    assert home.studies.is_dir()


def test_nobody_else_can_read_it(home: CoordinatorHome) -> None:
    assert mode(home.folder) == 0o700
    for path in home.folder.rglob("*"):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


def test_an_open_home_is_the_one_that_was_made(home: CoordinatorHome, clock: Any) -> None:
    with CoordinatorHome.open(home.folder, now=clock) as other:
        assert other.federation == home.federation
        assert other.authority.fingerprint == home.authority.fingerprint
        assert other.certificate() == home.certificate()
        assert other.signing_key.public_key() == home.signing_key.public_key()
        assert other.settings == home.settings


def test_two_homes_are_two_federations(create: Create) -> None:
    one, other = create("one"), create("other")
    assert one.federation != other.federation
    assert one.signing_key.public_key() != other.signing_key.public_key()


def test_an_empty_folder_becomes_a_home(create: Create, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o755)
    assert mode(create("empty").folder) == 0o700


@pytest.mark.parametrize("there", ["home", "file", "folder", "link"])
def test_what_is_there_is_never_overwritten(create: Create, tmp_path: Path, there: str) -> None:
    place = tmp_path / "there"
    if there == "home":
        create("there")
    elif there == "file":
        place.write_bytes(b"")
    elif there == "folder":
        place.mkdir()
        (place / "something").touch()
    else:
        place.symlink_to(tmp_path / "nowhere")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(IdentityExists):
        create("there")
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_of_two_who_make_it_at_once_one_does(
    create: Create, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = module._fill

    def slowly(*given: Any) -> None:
        fill(*given)
        monkeypatch.setattr(module, "_fill", fill)
        create("coordinator")  # somebody else is faster

    monkeypatch.setattr(module, "_fill", slowly)
    with pytest.raises(IdentityExists):
        create("coordinator")
    assert [path.name for path in tmp_path.iterdir()] == ["coordinator"]


@pytest.mark.parametrize("step", ["write_key", "write_atomically", "LinkStore", "AuditLog", "sync_folder"])
def test_nothing_is_left_where_making_it_fails(
    create: Create, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*given: Any, **named: Any) -> None:
        raise DiskFull("no space")

    monkeypatch.setattr(module, step, full)
    with pytest.raises(DiskFull):
        create()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_the_folder_cannot_be_put_in_place(
    create: Create, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DiskFull):
        create()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:", ":443", "host:65536", "host:0", "https://host:443", "a b:1", "::1:443", "host:44३"],
)
def test_an_address_must_be_one(tmp_path: Path, address: str) -> None:
    with pytest.raises(HomeInvalid) as refused:
        CoordinatorHome.create(tmp_path / "home", address, "127.0.0.1:8443")
    assert "host:port" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["coordinator.example.org:443", "192.0.2.1:8443", "[2001:db8::1]:443"])
def test_an_address_goes_into_invitations(tmp_path: Path, address: str) -> None:
    with CoordinatorHome.create(tmp_path / "home", address, "0.0.0.0:8443") as home:
        assert home.enrolment.invite("north").address == address


def test_keys_may_have_a_passphrase(create: Create, reopen: Any) -> None:
    home = create(passphrase=b"correct horse")
    for key in KEYS:
        assert b"ENCRYPTED" in (home.folder / key).read_bytes()
    assert reopen(home.folder, b"correct horse") == home.certificate()
    for wrong in (None, b"battery staple"):
        with pytest.raises(KeyUnreadable):
            reopen(home.folder, wrong)


@pytest.mark.parametrize("which", KEYS)
def test_a_key_that_others_can_read_is_not_used(home: CoordinatorHome, reopen: Any, which: str) -> None:
    for path, loose in ((home.folder / which, 0o640), ((home.folder / which).parent, 0o755)):
        strict = mode(path)
        path.chmod(loose)
        with pytest.raises(KeyUnsafe):
            reopen(home.folder)
        path.chmod(strict)
    assert reopen(home.folder)


@pytest.mark.parametrize("which", KEYS)
def test_a_key_that_is_missing_is_said(home: CoordinatorHome, reopen: Any, which: str) -> None:
    (home.folder / which).unlink()
    with pytest.raises(KeyUnreadable):
        reopen(home.folder)


def test_keys_cannot_change_places(home: CoordinatorHome, reopen: Any) -> None:
    tls, signing = (home.folder / which for which in KEYS[1:])
    kept = tls.read_bytes()
    tls.write_bytes(signing.read_bytes())
    with pytest.raises(KeyUnreadable):
        reopen(home.folder)
    tls.write_bytes(kept)
    signing.write_bytes(kept)
    with pytest.raises(KeyUnreadable):
        reopen(home.folder)


def test_a_certificate_is_renewed_when_half_its_time_is_over(
    home: CoordinatorHome, reopen: Any, clock: Any
) -> None:
    first = home.certificate()
    clock.turn(days=44)
    assert reopen(home.folder) == first
    clock.turn(days=2)
    second = home.certificate()  # without being opened anew: a coordinator runs for months
    assert second != first
    assert reopen(home.folder) == second == (home.folder / "certificate.pem").read_bytes()
    identity = identity_of(second, home.authority.pem, clock())
    assert identity.public == home.tls_key.public_key()
    assert (identity.not_after - clock()).days == 90
    assert renewals(home) == 1
    assert mode(home.folder / "certificate.pem") == 0o600


def test_a_certificate_that_is_over_or_gone_is_renewed(
    home: CoordinatorHome, reopen: Any, clock: Any
) -> None:
    first = home.certificate()
    clock.turn(days=200)
    second = reopen(home.folder)
    (home.folder / "certificate.pem").unlink()
    third = reopen(home.folder)
    assert len({first, second, third}) == 3
    assert identity_of(third, home.authority.pem, clock()).role == "coordinator"


def test_threads_renew_a_certificate_once(home: CoordinatorHome, clock: Any) -> None:
    clock.turn(days=50)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: home.certificate(), range(8)))
    assert len(found) == 1
    assert renewals(home) == 1


def test_a_certificate_from_the_future_is_not_used(home: CoordinatorHome, reopen: Any, clock: Any) -> None:
    clock.turn(hours=-1)
    with pytest.raises(CertificateExpired):
        reopen(home.folder)
    assert renewals(home) == 0


def test_no_certificate_outlives_the_authority(home: CoordinatorHome, reopen: Any, clock: Any) -> None:
    clock.turn(days=365 * 10 + 1)
    with pytest.raises(CertificateExpired):
        reopen(home.folder)


@pytest.mark.parametrize("whose", ["another authority", "another key", "a site", "nobody"])
def test_a_certificate_of_somebody_else_is_not_used(
    home: CoordinatorHome, create: Create, reopen: Any, clock: Any, desk: Any, whose: str
) -> None:
    strange: dict[str, Callable[[], bytes]] = {
        "another authority": lambda: create("other").certificate(),
        "another key": lambda: home.authority.coordinator_certificate(new_tls_key().public_key(), clock()),
        "a site": lambda: home.authority.site_certificate(
            desk.request("north", home.tls_key), "north", clock()
        ),
        "nobody": lambda: b"no certificate",
    }
    path = home.folder / "certificate.pem"
    path.write_bytes(strange[whose]())
    with pytest.raises(CertificateRefused):
        reopen(home.folder)
    path.unlink()
    assert reopen(home.folder)


def test_a_home_that_cannot_be_opened_lets_go_of_its_database(
    home: CoordinatorHome, reopen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[CoordinatorHome] = []
    monkeypatch.setattr(CoordinatorHome, "close", lambda home: closed.append(home))
    (home.folder / "certificate.pem").write_bytes(b"no certificate")
    with pytest.raises(CertificateRefused):
        reopen(home.folder)
    (left,) = closed
    left.store.close()


def test_an_authority_cannot_be_exchanged(home: CoordinatorHome, reopen: Any, clock: Any) -> None:
    shutil.rmtree(home.folder / "authority")
    (home.folder / "authority").mkdir(mode=0o700)
    Authority.new(home.federation, clock()).write(home.folder / "authority")
    with pytest.raises(CertificateRefused):
        reopen(home.folder)


def test_a_folder_without_settings_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(HomeMissing) as refused:
        CoordinatorHome.open(tmp_path)
    assert "coordinator init" in refused.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "name = ", 'name = "x"\naddress = "a:1"\nlisten = "a:1"\nmore = 1\n', b"\xff".decode("latin1")],
)
def test_settings_that_are_none_are_refused(home: CoordinatorHome, reopen: Any, text: str) -> None:
    (home.folder / "coordinator.toml").write_text(text, encoding="latin1")
    with pytest.raises(HomeInvalid):
        reopen(home.folder)


def test_a_broken_database_leaves_nothing_open(home: CoordinatorHome, reopen: Any) -> None:
    home.close()
    for file in home.folder.glob("link.db*"):
        file.write_bytes(b"no database " * 500)
    with pytest.raises(HomeInvalid):
        reopen(home.folder)


def test_no_error_shows_a_key(home: CoordinatorHome, reopen: Any) -> None:
    secret = (home.folder / "keys/signing.pem").read_text().splitlines()[1]
    (home.folder / "keys/signing.pem").unlink()
    write_key(home.folder / "keys/signing.pem", new_signing_key(), b"another")
    with pytest.raises(ConsiliumError) as refused:
        reopen(home.folder)
    assert secret not in str(refused.value) + repr(home.authority)
