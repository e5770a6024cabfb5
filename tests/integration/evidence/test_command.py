"""``consilium audit``: what a security officer types and sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from common.audit import AuditLog
from common.errors import AuditBroken, HomeMissing
from deploy.cli.app import app


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def test_both_sides_are_verified(federation: Path) -> None:
    printed = run("verify", federation / "alder", federation / "coordinator").stdout
    assert printed.count(": whole") == 2 and printed.count(": all are in it") == 2
    assert "the last with audit.head: " in printed and "files, audit-000001.jsonl to audit.jsonl" in printed
    document = json.loads(run("verify", federation / "alder", "--json").stdout)
    (log,) = document["logs"]
    assert document["whole"] and log["owner"] == "alder" and log["head"].startswith(f"{log['entries']}:")


def test_the_first_bad_entry_is_named(federation: Path) -> None:
    path = federation / "alder" / "audit-000002.jsonl"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b'"number":6', b'"number":7'))
    with pytest.raises(AuditBroken, match=r"alder: audit-000002\.jsonl: entry 6 \(line 2\) was changed"):
        run("verify", federation / "alder")


def test_many_faults_are_one_screen(federation: Path) -> None:
    heads = [part for number in range(1, 15) for part in ("--head", f"{number}:{'a' * 64}")]
    with pytest.raises(AuditBroken) as caught:
        run("verify", federation / "alder", federation / "birch", *heads)
    assert len(caught.value.private.splitlines()) == 11 and "and 4 more" in caught.value.private


def test_an_export_goes_on_where_the_last_one_ended(
    federation: Path, log_at: Callable[..., AuditLog]
) -> None:
    home, first, second = federation / "alder", federation / "first.jsonl", federation / "second.jsonl"
    told = run("export", "--home", home, "--out", first).stdout
    assert first.stat().st_mode & 0o777 == 0o600
    head = next(line.removeprefix("head ") for line in told.splitlines() if line.startswith("head "))
    number = int(head.partition(":")[0])
    assert f"{number} entries in {first}; next time: --since {number + 1}" in told
    log_at(home).append("site.created", site="alder")
    run("export", "--home", home, "--since", number + 1, "--out", second)
    assert "whole" in run("verify", second, "--head", head).stdout
    whole = run("export", "--home", home).stdout_bytes
    assert whole == first.read_bytes() + second.read_bytes()
    later = run("export", "--home", home, "--since", 1000, "--out", federation / "none.jsonl").stdout
    assert later.startswith("0 entries")


def test_a_name_says_whose_an_export_is(federation: Path) -> None:
    path = federation / "x=y.jsonl"
    run("export", "--home", federation / "alder", "--out", path)
    assert "heads of alder that" in run("verify", f"alder={path}", federation / "coordinator").stdout
    assert str(path) in run("verify", path).stdout
    assert "checked one by one" in run("verify", federation / "alder", federation / "birch").stdout


@pytest.mark.parametrize("arguments", [("nowhere",), ("--head", "3"), ("twice",), ()])
def test_wrong_usage_is_said(federation: Path, arguments: tuple[str, ...]) -> None:
    log = federation / "alder"
    given = {"--head": (log, *arguments), "twice": (log, log)}.get(
        arguments[0] if arguments else "", arguments
    )
    assert "Traceback" not in run("verify", *given, status=2).output


def test_a_home_without_a_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(HomeMissing, match=r"audit\.jsonl"):
        run("export", "--home", tmp_path)
