"""The page for a coordinator and two hospitals is true: its commands, word for word, end in a model."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.slow
PAGE = ROOT / "docs" / "quickstart-two-machines.md"
PORT = "18443"
COMMAND = f"""consilium() {{ "{sys.executable}" -c 'from deploy.cli import main; main()' "$@"; }}"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, free_port: int) -> Iterator[tuple[Path, str]]:
    """The folder in which the page's commands were run, and what they printed."""
    folder = tmp_path_factory.mktemp("federation")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = "\n".join(["set -eu", COMMAND, *blocks, "kill $(jobs -p); wait"])
    process = subprocess.Popen(
        ["bash", "-c", script.replace(PORT, str(free_port))],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=240)
        assert process.returncode in (0, 143), out  # 143: what `wait` says of daemons that were told to stop
        yield folder, out
    finally:
        with suppress(ProcessLookupError):  # what a failed script left running
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_study_ends_with_a_model_and_its_evidence(said: tuple[Path, str]) -> None:
    folder, out = said
    assert re.search(r"my-study after \d+ rounds?, on test cases", out)
    (run,) = (folder / "coordinator" / "studies").glob("*/run")
    assert (run / "model.safetensors").exists() and (run / "report.html").exists()
    assert out.count(": whole") == 3
    assert "withdrawn" in out
    assert "alder                approved" in out


def test_both_sides_print_the_same_fingerprint(said: tuple[Path, str]) -> None:
    prints = re.findall(r"^authority +(.+)$", said[1], re.MULTILINE)
    assert len(prints) == 3 and len(set(prints)) == 1


def test_no_patient_and_no_path_of_a_hospital_is_at_the_coordinator(said: tuple[Path, str]) -> None:
    folder, _ = said
    for path in (folder / "coordinator").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"alder-0001" not in content, path
            assert str(folder / "alder").encode() not in content, path
