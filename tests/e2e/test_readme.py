"""The commands of the README, word for word, on phantom hospitals."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

COMMANDS = re.findall(r"^ +\.venv/bin/(consilium .+)$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_the_readme_has_commands_for_own_pictures() -> None:
    assert [command.split()[1] for command in COMMANDS] == ["simulate", "local"]


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, marks=pytest.mark.slow) if " local " in c else c for c in COMMANDS],
)
def test_readme_command(command: str, manifest: Path, tmp_path: Path) -> None:
    for folder in manifest.parent.iterdir():
        if folder.is_dir():
            shutil.copytree(folder, tmp_path / folder.name)
    shutil.copy(manifest, tmp_path / "manifest.csv")
    consilium = (sys.executable, "-c", "from deploy.cli import main; main()")
    subprocess.run([*consilium, "study", "new", "--out", "my-study.toml"], cwd=tmp_path, check=True)
    study = tmp_path / "my-study.toml"
    study.write_text(
        study.read_text().replace("rounds = 10", "rounds = 1").replace("size = 128", "size = 16")
    )
    done = subprocess.run(
        [*consilium, *shlex.split(command)[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "report" in done.stdout
