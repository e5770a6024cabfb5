"""The site's home: what is made, who may read it, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.cohorts.home import (
    KEY_FILE,
    POLICY_FILE,
    SITE_FILE,
    VARIABLE,
    Home,
    create_home,
    home_folder,
    open_home,
)
from client.cohorts.settings import Policy, SiteSettings
from common.audit import AuditLog
from common.errors import HomeBusy, HomeInvalid, HomeMissing, OutputExists, OutputUnwritable


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = create_home(tmp_path / "deep" / "home", "alder")
    finally:
        os.umask(before)
    folders = [home.folder, *(path for path in home.folder.rglob("*") if path.is_dir())]
    assert {path.name for path in folders} == {"home", "keys", "cohorts", "inbox"}
    assert {mode(path) for path in folders} == {0o700}
    assert mode(home.database) == mode(home.folder / "audit.jsonl") == 0o600
    assert mode(home.folder / KEY_FILE) == 0o400


def test_a_new_home_has_the_settings_that_its_files_show(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", "alder")
    assert open_home(tmp_path / "home").settings == SiteSettings(name="alder")
    assert home.policy == Policy()
    for name in Policy.model_fields:  # every one is there to be changed
        assert name in (home.folder / POLICY_FILE).read_text()
    (entry,) = AuditLog(home.folder / "audit.jsonl").entries()
    assert (entry.event, entry.facts) == ("site.created", {"site": "alder"})


def test_every_site_has_a_key_of_its_own(tmp_path: Path) -> None:
    one, other = (create_home(tmp_path / name, name) for name in ("one", "other"))
    assert one.key != other.key and len(one.key) == 32
    assert one.pseudonyms.patient("A") != other.pseudonyms.patient("A")


def test_what_holds_something_is_no_place_for_a_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(OutputExists):
            create_home(place, "alder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(OutputUnwritable):
        create_home(tmp_path / "file" / "home", "alder")


def test_an_empty_folder_becomes_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert mode(create_home(tmp_path, "alder").folder) == 0o700


def test_which_home_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert home_folder(None) == tmp_path / ".consilium"
    assert home_folder(Path("~/x")) == tmp_path / "x"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "named"))
    assert home_folder(None) == tmp_path / "named"
    assert home_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.chdir(tmp_path)
    assert home_folder(Path("relative")) == tmp_path / "relative"


def test_no_home(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(HomeMissing):
            open_home(place)


@pytest.mark.parametrize("content", [None, b"", b"zz" * 32, b"ab" * 31, b"\xff" * 64], ids=range(5))
def test_a_key_that_is_none(home: Home, content: bytes | None) -> None:
    path = home.folder / KEY_FILE
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HomeInvalid) as caught:
        _ = home.key
    assert KEY_FILE in caught.value.private and "ab" * 16 not in caught.value.private


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        (SITE_FILE, 'name = "a b"', "name"),
        (SITE_FILE, 'name = "a"\nnmae = "b"', "nmae"),
        (SITE_FILE, "name = ", "site.toml"),
        (SITE_FILE, b'name = "\xff"', "site.toml"),
        (POLICY_FILE, "quarantine_limit = 1.5", "quarantine_limit"),
        (POLICY_FILE, "quarantine_limit = nan", "quarantine_limit"),
        (POLICY_FILE, "file_memory_mib = 1", "file_memory_mib"),
        (POLICY_FILE, "file_time_s = inf", "file_time_s"),
        (POLICY_FILE, None, "policy.toml"),
    ],
)
def test_settings_that_are_not_allowed(home: Home, file: str, content: str | bytes | None, word: str) -> None:
    path = home.folder / file
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(HomeInvalid) as caught:
        _ = home.settings if file == SITE_FILE else home.policy
    assert word in caught.value.private


def test_one_at_a_time(home: Home) -> None:
    with home.changing("c"):
        with pytest.raises(HomeBusy), Home(home.folder).changing("c"):
            raise AssertionError
        with home.changing("other"):  # does not wait for it
            pass
        with pytest.raises(HomeBusy), home.changing("c"):  # the refused one has not let go of it
            raise AssertionError
    with pytest.raises(KeyError), home.changing("c"):
        raise KeyError
    with home.changing("c"):
        pass


@pytest.mark.parametrize("name", ["", ".", "..", "../c", "a/b", "/tmp/c", ".c", "a\0b", "a b", "ä", "c" * 65])
def test_a_name_does_not_lead_out_of_the_home(home: Home, name: str) -> None:
    before = sorted(home.folder.rglob("*"))
    with pytest.raises(ValueError, match="name"):
        home.cohort_folder(name)
    with pytest.raises(ValueError, match="name"), home.changing(name):
        raise AssertionError
    assert sorted(home.folder.rglob("*")) == before


def test_the_log_of_a_home_tells_in_order(home: Home) -> None:
    home.audit("a", cohort="c", files=3)
    home.audit("b")
    log = list(AuditLog(home.folder / "audit.jsonl").entries())
    assert [entry.event for entry in log][-2:] == ["a", "b"]
    assert log[-2].facts == {"cohort": "c", "files": 3}
