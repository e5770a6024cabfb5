"""The units of systemd start commands that exist, and keep what is said of them."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
import typer

from deploy.cli.app import app

ROOT = Path(__file__).parents[3]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
VARIABLES = {"site": "CONSILIUM_HOME", "coordinator": "CONSILIUM_COORDINATOR"}


def read(unit: Path) -> dict[tuple[str, str], str]:
    """Settings by section and name."""
    found, section = dict[tuple[str, str], str](), ""
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            assert (section, name) not in found, f"{name} stands twice"
            found[section, name] = value
    return found


def command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words name, and what is left of them."""
    found = typer.main.get_command(app)
    while words and isinstance(found, click.Group):
        found = found.commands[words[0]]
        words = words[1:]
    return found, words


def test_there_is_one_for_each_daemon() -> None:
    assert [unit.name for unit in UNITS] == ["consilium-coordinator.service", "consilium-site.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_that_finds_its_home(unit: Path) -> None:
    settings = read(unit)
    program, *words = shlex.split(settings["Service", "ExecStart"])
    side = words[0]
    assert Path(program).name == "consilium"
    found, options = command(words)
    assert found.name == "start"
    found.make_context("start", options)  # an option that it lacks would be a usage error
    variable, _, home = settings["Service", "Environment"].partition("=")
    assert variable == VARIABLES[side]
    assert variable in {name for param in found.params for name in [param.envvar] if isinstance(name, str)}
    assert home.startswith(f"/var/lib/{settings['Service', 'StateDirectory']}/")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_notifies_is_nobody_special_and_ends_the_daemon_before_its_child(unit: Path) -> None:
    settings = read(unit)
    service = {name: value for (section, name), value in settings.items() if section == "Service"}
    assert (service["Type"], service["User"], service["KillMode"]) == ("notify", "consilium", "mixed")
    assert (service["Restart"], service["NoNewPrivileges"], service["ProtectSystem"]) == (
        "always",
        "yes",
        "strict",
    )
    # The daemon takes a loop for hung after half of this; the longest honest wait of one is a minute.
    assert int(service["WatchdogSec"]) >= 120
    assert "MemoryDenyWriteExecute" not in service


def test_the_sites_unit_leaves_a_gpu_within_reach() -> None:
    (unit,) = (each for each in UNITS if "site" in each.name)
    names = {name for _, name in read(unit)}
    assert not names & {"PrivateDevices", "ProtectClock", "DevicePolicy", "DeviceAllow", "ProcSubset"}
