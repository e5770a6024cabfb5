"""What the superlink engine decides before it starts a process; federations are tested end to end."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tomllib
from pathlib import Path

import pytest

from common.errors import DiskFull, PortTaken
from deploy.engines.superlink.credentials import LOOPBACK
from deploy.engines.superlink.deployment import (
    SiteProcess,
    SuperLinkDeployment,
    _disk_full_named,
    _environment,
    _interruptible,
)
from deploy.engines.superlink.federation import _free_ports, _prepare_node, _write_app


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} cannot be opened: Address already in use"):
            SuperLinkDeployment([], port=port).run({}, log_dir=tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_free_ports_differ_and_are_free() -> None:
    ports = _free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        socket.create_server((LOOPBACK, port)).close()


def test_the_app_holds_no_code_and_every_value(tmp_path: Path) -> None:
    values = {"out": "/a path/with \"quotes\" and 'more' = ü\\", "seed": 7, "rate": 0.5, "strict": True}
    app = _write_app(tmp_path / "app", values)
    assert [file.name for file in app.iterdir()] == ["pyproject.toml"]
    flower = tomllib.loads((app / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    assert flower["config"] == values
    assert flower["components"] == {"serverapp": "server.app:app", "clientapp": "client.app:app"}


@pytest.mark.parametrize(
    ("name", "label"),
    [("guangzhou", "site-3-guangzhou"), ("Hôpital Nº 4/..", "site-3-hopital-no-4"), ("医院", "site-3")],
)
def test_any_site_name_becomes_a_file_name(tmp_path: Path, name: str, label: str) -> None:
    node = _prepare_node(tmp_path, 3, SiteProcess(name, {}), 1)
    assert node.label == label
    assert node.home == tmp_path / label


def test_the_environment_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLWR_DATABASE", "HTTPS_PROXY", "no_proxy", "FORCE_COLOR"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    monkeypatch.setenv("HOSPITAL", "kept")
    environment = _environment(tmp_path)
    assert not {"FLWR_DATABASE", "HTTPS_PROXY", "no_proxy", "FORCE_COLOR"} & environment.keys()
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["HOSPITAL"] == "kept"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert Path(environment["TMPDIR"]).is_relative_to(tmp_path)


def test_a_request_to_end_is_an_interruption_meanwhile() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), _interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_called_by_its_name() -> None:
    with pytest.raises(DiskFull), _disk_full_named():
        Path("/dev/full").write_text("x")
    with pytest.raises(FileNotFoundError), _disk_full_named():
        Path("/no/such/file").read_text()
