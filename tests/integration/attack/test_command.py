"""``consilium privacy attack`` on the terminal: what it prints, writes and ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from common.errors import OutputExists, PrivacyViolated
from common.study import Study, to_toml
from deploy.attack.attack import Audit
from deploy.attack.finding import Verdict
from deploy.cli.attack import EXAMPLE, attack

app = typer.Typer(pretty_exceptions_enable=False)
app.command(epilog=EXAMPLE)(attack)
Run = Callable[..., Result]


@pytest.fixture
def run(
    audit: Audit,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    hospitals: Path,
    make_study: Callable[..., Study],
) -> Run:
    """Runs the command on the hospitals; the attack itself finds ``found``."""
    study = tmp_path / "study.toml"
    study.write_text(to_toml(make_study(privacy={"noise_multiplier": 1.0})), encoding="utf-8")

    def command(*options: str, found: Audit = audit) -> Result:
        monkeypatch.setattr("deploy.attack.attack.attack", lambda subject, shadows, step: found)
        given = [str(study), "--data", str(hospitals), "--out", str(tmp_path / "out"), *options]
        return CliRunner().invoke(app, given)

    return command


@pytest.fixture
def violated(audit: Audit) -> Audit:
    broken = replace(audit.findings[0], verdict=Verdict.violated)
    return replace(audit, findings=(broken, *audit.findings[1:]))


def test_it_prints_the_claim_and_every_attack(run: Run, audit: Audit, tmp_path: Path) -> None:
    result = run()
    assert result.exit_code == 0
    assert f"claimed  epsilon {audit.claim.epsilon:.3g}" in result.stdout
    for finding in audit.findings:
        assert f"{finding.epsilon:.2f}  {finding.attack}: {finding.verdict}" in result.stdout
    assert json.loads((tmp_path / "out/attack.json").read_bytes()) == audit.to_dict()
    assert (tmp_path / "out/attack.html").read_text().startswith("<!doctype html>")


def test_json_is_one_object(run: Run, audit: Audit) -> None:
    result = run("--json")
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == 0 and "error" not in document
    assert document["findings"] == audit.to_dict()["findings"]


def test_a_violation_is_an_error_after_everything_was_written(
    run: Run, violated: Audit, tmp_path: Path
) -> None:
    result = run(found=violated)
    assert isinstance(result.exception, PrivacyViolated)
    assert violated.findings[0].observed in result.exception.private
    assert "violated" in result.stdout
    assert json.loads((tmp_path / "out/attack.json").read_bytes())["violated"] is True


def test_a_violation_is_one_json_object_and_an_exit_status(run: Run, violated: Audit) -> None:
    result = run("--json", found=violated)
    assert result.exit_code == PrivacyViolated.exit_code
    document = json.loads(result.stdout)
    assert document["error"]["code"] == "privacy-violated" and document["violated"] is True


def test_an_earlier_audit_is_replaced_only_when_asked(run: Run) -> None:
    assert run().exit_code == 0
    assert isinstance(run().exception, OutputExists)
    assert run("--overwrite").exit_code == 0


def test_a_file_is_no_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert isinstance(run("--overwrite").exception, OutputExists)
