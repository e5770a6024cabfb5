"""The same study gives the same model, whatever carries its messages, and nothing is left running."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from common.weights import load_weights, norm, subtract
from deploy.engines.inprocess import InProcessGrid
from deploy.federation import resolve
from server.record import read_run
from server.study_run import RunPlan, run_study
from tests.e2e.conftest import ROOT, Federation

COMMAND = (sys.executable, "-c", "from deploy.cli import main; main()")
ROUNDS = 2
MARK = "CONSILIUM_TEST_MARK"


@pytest.fixture(scope="session")
def simulated(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a simulation of the phantoms."""
    out = tmp_path_factory.mktemp("simulated") / "run"
    subprocess.run(_command("simulate", manifest, out, "--baselines"), check=True, capture_output=True)
    return out


def _command(name: str, manifest: Path, out: Path, *more: str) -> list[str]:
    study = ROOT / "examples/phantom.toml"
    arguments = (name, study, "--data", manifest, "--rounds", ROUNDS, "--out", out, *more)
    return [*COMMAND, *map(str, arguments)]


def test_simulating_twice_gives_equal_bytes(simulated: Path, manifest: Path, tmp_path: Path) -> None:
    """Also with another number of workers, so with other sites in each."""
    study = Federation.study(rounds=ROUNDS)
    data = resolve(study, manifest)
    sites = data.materialise(tmp_path, "cpu")
    with InProcessGrid(sites, data.loads, workers=1) as grid:
        run_study(grid, RunPlan(study, 0, tmp_path / "again", "inprocess", expect_sites=4, strict=True))
    assert (tmp_path / "again/model.safetensors").read_bytes() == (
        simulated / "model.safetensors"
    ).read_bytes()


def test_run_json_follows_its_schema_and_names_real_files(simulated: Path) -> None:
    run = json.loads((simulated / "run.json").read_text())
    jsonschema.validate(run, json.loads((ROOT / "docs/run.schema.json").read_text()))
    named = [
        run["files"]["model"],
        run["files"]["study"],
        run["files"]["report"],
        *run["files"]["checkpoints"],
    ]
    assert len(run["files"]["checkpoints"]) == ROUNDS
    assert all((simulated / name).stat().st_size for name in named)
    assert set(run["baselines"]["local"]) == set(run["sites"])


def test_report_needs_no_network(simulated: Path) -> None:
    report = (simulated / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in report
    assert "<script" not in report


@pytest.mark.slow
def test_ray_gives_the_same_model(simulated: Path, manifest: Path, tmp_path: Path) -> None:
    if find_spec("ray") is None:
        if os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
            pytest.fail("the extra ray is not installed")
        pytest.skip("the extra ray is not installed")
    done = subprocess.run(
        _command("simulate", manifest, tmp_path / "ray", "--engine", "ray", "--json"), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["engine"] == "ray"
    assert _distance(simulated, tmp_path / "ray") <= 1e-5


def test_local_gives_the_same_model_over_the_link_with_evidence_and_leaves_nothing(
    simulated: Path, manifest: Path, tmp_path: Path
) -> None:
    port = _free_port()
    with _nothing_left():
        command = _command("local", manifest, tmp_path / "local", "--port", str(port))
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert _tls_version(process, port) == "TLSv1.3"
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err.decode()
    assert _distance(simulated, tmp_path / "local") <= 1e-5
    verify = [*COMMAND, "audit", "verify", str(tmp_path / "local/evidence"), "--json"]
    verified = subprocess.run(verify, capture_output=True)
    assert verified.returncode == 0, verified.stderr.decode()
    assert len(json.loads(verified.stdout)["logs"]) == 5  # the coordinator's and each site's


@pytest.mark.slow
def test_flowers_own_deployment_gives_the_same_model_over_tls_and_leaves_nothing(
    simulated: Path, manifest: Path, tmp_path: Path
) -> None:
    port = _free_port()
    with _nothing_left():
        more = ("--engine", "superlink", "--port", str(port))
        process = subprocess.Popen(
            _command("local", manifest, tmp_path / "local", *more), stderr=subprocess.PIPE
        )
        assert _tls_version(process, port) == "TLSv1.3"
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err.decode()
    assert _distance(simulated, tmp_path / "local") <= 1e-5


@pytest.mark.slow
def test_a_hospital_whose_process_is_killed_ends_a_local_run_with_its_log(
    manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with _nothing_left():
        process = subprocess.Popen(
            _command("local", manifest, out, "--rounds", "500"), stderr=subprocess.PIPE
        )
        _until_round(1, process, out, 100)
        victim = next(
            pid for pid, arguments in _marked().items() if any("sites/birch" in a for a in arguments)
        )
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 6
    assert b"birch ended early, killed by signal 9" in err
    run = json.loads((out / "run.json").read_text())
    assert (run["status"], run["error"]["code"]) == ("failed", "engine-failed")
    assert (out / "logs/birch.log").exists() and (out / "evidence/birch/audit.jsonl").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ["link", "superlink"])
@pytest.mark.slow
def test_interrupting_local_in_round_2_leaves_nothing(
    engine: str, how: signal.Signals, manifest: Path, tmp_path: Path
) -> None:
    _interrupt("local", how, manifest, tmp_path / "out", 200, "--engine", engine)


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupting_simulate_leaves_nothing(how: signal.Signals, manifest: Path, tmp_path: Path) -> None:
    _interrupt("simulate", how, manifest, tmp_path / "out", 60)


def _interrupt(
    command: str, how: signal.Signals, manifest: Path, out: Path, within_s: float, *more: str
) -> None:
    with _nothing_left():
        process = subprocess.Popen(
            _command(command, manifest, out, "--rounds", "500", *more),
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        _until_round(1, process, out, within_s)
        process.send_signal(how)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"interrupted; every process of the run has ended" in err
    run = json.loads((out / "run.json").read_text())
    assert run["status"] == "interrupted"
    assert (out / "report.html").exists()
    assert not (out / "model.safetensors").exists()


def _until_round(number: int, process: subprocess.Popen[bytes], out: Path, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while _rounds_done(out) < number:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _rounds_done(out: Path) -> int:
    return len((read_run(out) or {"rounds": []})["rounds"])


def _distance(one: Path, other: Path) -> float:
    """Largest distance of a weight is at most this norm."""
    return norm(subtract(load_weights(one / "model.safetensors"), load_weights(other / "model.safetensors")))


def _tls_version(process: subprocess.Popen[bytes], port: int) -> str | None:
    """What the coordinator of a running ``consilium local`` speaks."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return _handshake(port)
        except OSError:
            time.sleep(0.2)  # not listening yet
    return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _handshake(port: int) -> str | None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw, context.wrap_socket(raw) as tls:
        return tls.version()


@contextmanager
def _nothing_left() -> Iterator[None]:
    """What starts inside, and what that starts, has ended soon after; so no port of theirs is open either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, uuid.uuid4().hex)
        yield
        deadline = time.monotonic() + 10
        while _marked() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert _marked() == {}


def _marked() -> dict[int, list[str]]:
    """Command lines of the living processes that inherited this process's mark."""
    mark, found = f"{MARK}={os.environ[MARK]}".encode(), {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().decode(errors="replace")
                    found[int(entry.name)] = command.split("\0")
            except OSError:
                continue  # it has ended meanwhile
    return found
