"""Each thing that can be wrong at a site or a coordinator is found by its check, with what to do about it."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.checks import SiteCheck
from client.consent import Consents
from common.chain import utc_now
from common.checks import Finding, Section
from deploy.cli.app import app
from server.checks import CoordinatorCheck
from tests.integration.checks.conftest import Federation
from tests.unit.contract.drafts import FEDERATION, KEY, NOW, contract_with, sealed


def steps(sections: list[Section]) -> dict[str, Finding]:
    return {finding.step: finding for section in sections for finding in section.findings}


def site(federation: Federation, **how: object) -> dict[str, Finding]:
    return steps(list(SiteCheck(federation.site.folder, **how).sections()))  # type: ignore[arg-type]


def coordinator(federation: Federation, **how: object) -> dict[str, Finding]:
    return steps(list(CoordinatorCheck(federation.coordinator.folder, **how).sections()))  # type: ignore[arg-type]


def wrong(found: dict[str, Finding]) -> dict[str, str]:
    """Codes of what failed, by step; each has a remedy, and so has what is advised."""
    assert all(each.remedy for each in found.values() if each.level in ("WARN", "FAIL"))
    return {step: each.code for step, each in found.items() if not each.ok}


def test_nothing_is_wrong(federation: Federation) -> None:
    with federation.running():
        found, at_coordinator = site(federation), coordinator(federation)
    assert wrong(found) == {} and wrong(at_coordinator) == {}
    assert "lets us in" in found["clock"].said
    assert found["cohort"].code == "no-cohort"  # nothing was taken in
    assert "TLSv1.3" in at_coordinator["tls"].said
    assert "1 enrolled" in at_coordinator["sites"].said
    assert all(each.looked for each in (*found.values(), *at_coordinator.values()))


def test_a_coordinator_that_is_down(federation: Federation) -> None:
    found, at_coordinator = site(federation), coordinator(federation)
    assert wrong(found) == {"port": "coordinator-unreachable"}
    assert not found["session"].looked
    assert wrong(at_coordinator) == {}
    assert "free to listen on" in at_coordinator["port"].said
    assert not at_coordinator["tls"].looked


def test_clocks_that_are_apart(federation: Federation) -> None:
    with federation.running():
        found = site(federation, now=lambda: utc_now() + timedelta(minutes=10))
    assert wrong(found) == {"clock": "clock-skewed"}
    assert "NTP" in found["clock"].remedy


@pytest.mark.parametrize(("days", "code"), [(14, ""), (25, "renewal-late"), (31, "certificate-expired")])
def test_a_certificate_that_ages(days: int, code: str, federation: Federation) -> None:
    found = site(federation, now=lambda: utc_now() + timedelta(days=days))
    assert found["enrolled"].code == code
    assert found["port"].code == "coordinator-unreachable"  # the way is looked at all the same


@pytest.mark.parametrize(
    ("days", "codes"),
    [
        (1, {}),
        (25, {"site alder": "site-expiring"}),
        (100, {"site alder": "site-expiring", "certificate": "renewal-late"}),
    ],
)
def test_the_coordinators_certificates_age(days: int, codes: dict[str, str], federation: Federation) -> None:
    found = coordinator(federation, now=lambda: utc_now() + timedelta(days=days))
    assert {step: each.code for step, each in found.items() if each.code and step != "clock"} == codes


def test_what_others_could_open(federation: Federation) -> None:
    (federation.site.folder / "link" / "key.pem").chmod(0o640)
    (federation.coordinator.folder / "keys" / "signing.pem").chmod(0o604)
    federation.coordinator.folder.chmod(0o755)
    found, at_coordinator = site(federation), coordinator(federation)
    assert wrong(found) == {"keys": "key-unsafe", "enrolled": "key-unsafe"}
    assert not found["session"].looked
    assert wrong(at_coordinator) == {"keys": "key-unsafe"}
    assert at_coordinator["folders"].code == "home-open"


def test_an_audit_log_and_settings_that_were_changed(federation: Federation) -> None:
    for home in (federation.site.folder, federation.coordinator.folder):
        log = home / "audit.jsonl"
        log.write_bytes(log.read_bytes().replace(b"created", b"Created", 1))
    with (federation.site.folder / "policy.toml").open("a") as policy:
        policy.write("\n[novel]\n")
    with (federation.coordinator.folder / "coordinator.toml").open("a") as settings:
        settings.write("novel = 1\n")
    found, at_coordinator = site(federation), coordinator(federation)
    assert found["policy"].code == "home-invalid" and found["audit log"].code == "audit-broken"
    assert wrong(at_coordinator) == {"settings": "home-invalid", "audit log": "audit-broken"}
    assert not at_coordinator["port"].looked


def test_a_ledger_that_was_changed(federation: Federation) -> None:
    ledgers = federation.site.folder / "ledgers"
    ledgers.mkdir(mode=0o700)
    (ledgers / "chest.jsonl").write_text("{}\n")
    found = site(federation)
    assert found["budget chest"].code == "ledger-broken"
    assert found["audit log"].ok


def test_a_study_that_names_other_code_than_is_installed(federation: Federation) -> None:
    register = Consents(federation.site, lambda: NOW)
    digest = register.receive(sealed(contract_with()), KEY.public_key(), FEDERATION, NOW).digest
    found = site(federation, now=lambda: NOW)
    assert (found["study small"].level, found["study small"].code) == ("WARN", "code-differs")
    assert "proposed" in found["study small"].said and digest[:12] in found["study small"].said
    assert "3 copies of the largest model" in found["disk"].said
    later = site(federation, now=lambda: NOW + timedelta(days=40))
    assert later["studies"].said == "none was proposed that still holds"


def test_another_program_on_the_port(federation: Federation) -> None:
    host, _, port = federation.coordinator.settings.listen.rpartition(":")
    with socket.create_server((host, int(port))):
        assert wrong(coordinator(federation)) == {"port": "port-taken"}


def test_a_daemon_that_runs_other_code_is_told(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with federation.running():
        monkeypatch.setattr("common.checks.machine.installed_digest", lambda: "0" * 64)
        found = coordinator(federation)
    assert (found["code"].level, found["code"].code) == ("WARN", "code-differs")


def test_a_device_that_is_not_there(federation: Federation) -> None:
    assert wrong(site(federation, device="cuda:63"))["gpu"] == "device-unavailable"


def test_no_home(tmp_path: Path) -> None:
    found = steps(list(SiteCheck(tmp_path / "none").sections()))
    assert wrong(found) == {"home": "home-missing"}
    assert found["gpu"].looked and not found["enrolled"].looked
    found = steps(list(CoordinatorCheck(tmp_path / "none").sections()))
    assert wrong(found) == {"home": "home-missing"} and "coordinator init" in found["home"].remedy


def test_the_command_ends_with_the_first_failures_exit_status(federation: Federation) -> None:
    run = CliRunner().invoke
    asked = run(app, ["site", "check", "--home", str(federation.site.folder), "--json"])
    document = json.loads(asked.output)
    assert asked.exit_code == 7 and document["ok"] is False
    assert [row["code"] for row in document["findings"] if row["level"] == "FAIL"] == [
        "coordinator-unreachable"
    ]
    shown = run(app, ["coordinator", "check", "--home", str(federation.coordinator.folder)])
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert any(line.startswith("  -    address, tls ") for line in lines)
    assert lines[-1].startswith("nothing ")


def test_a_status_tells_why_a_daemon_is_not_ready(federation: Federation) -> None:
    run, home = CliRunner().invoke, str(federation.site.folder)
    asked = run(app, ["site", "status", "--home", home, "--ready", "--json"])
    assert (asked.exit_code, json.loads(asked.output)["code"]) == (6, "daemon-stopped")
    shown = run(app, ["site", "status", "--home", home]).output
    assert "as alder in federation" in shown and "does not run" in shown and "no cohort" in shown
    document = json.loads(run(app, ["site", "status", "--home", home, "--json"]).output)
    assert (document["enrolled"], document["ready"], document["cohorts"]) == (True, False, [])
    folder = ["--home", str(federation.coordinator.folder)]
    assert run(app, ["coordinator", "status", *folder, "--ready"]).exit_code == 6
    with federation.running():
        assert run(app, ["coordinator", "status", *folder, "--ready"]).output == "ready\n"
        assert json.loads(run(app, ["coordinator", "status", *folder, "--json"]).output)["sites"] == []
