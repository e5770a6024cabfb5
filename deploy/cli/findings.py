"""The screen of a check: a line for each finding, under it what to do; or all of them as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import typer

from common.checks import Finding, Section, first_failure
from deploy.cli.screen import print_json

_WIDTH = 14
_MARKS = {"ok": "ok  ", "WARN": "WARN", "FAIL": "FAIL", "-": "-   "}


def show_check(sections: Iterable[Section], as_json: bool) -> None:
    """Show what a check found, as it finds it; the command ends with the exit status of the first failure.

    Raises:
        typer.Exit: Something failed.
    """
    found: list[Section] = []
    for section in sections:
        found.append(section)
        if not as_json:
            _show(section)
    failed = first_failure(found)
    levels = [finding.level for section in found for finding in section.findings]
    if as_json:
        rows = [_row(section, finding) for section in found for finding in section.findings]
        print_json({"ok": failed is None, "warnings": levels.count("WARN"), "findings": rows})
    else:
        typer.echo(f"\n{_total(levels.count('FAIL'), levels.count('WARN'))}")
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def _show(section: Section) -> None:
    typer.echo(section.name)
    rows = _gathered(section.findings)
    width = max(_WIDTH, *(len(finding.step) for finding in rows))
    for finding in rows:
        said = finding.said.replace("\n", "\n" + " " * (width + 8))
        typer.echo(f"  {_MARKS[finding.level]} {finding.step:<{width}} {said}")
        if finding.code:
            typer.echo(f"       {finding.code}: {finding.remedy}")


def _gathered(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, those beside each other that were not looked at for the same reason as one."""
    rows: list[Finding] = []
    for finding in findings:
        before = rows[-1] if rows else None
        if before is not None and not before.looked and before.said == finding.said:
            rows[-1] = replace(before, step=f"{before.step}, {finding.step}")
        else:
            rows.append(finding)
    return rows


def _row(section: Section, finding: Finding) -> dict[str, str | bool]:
    return {
        "section": section.name,
        "step": finding.step,
        "level": finding.level if finding.looked else "not looked at",
        "ok": finding.ok,
        "said": finding.said,
        "code": finding.code,
        "remedy": finding.remedy,
    }


def _total(failures: int, warnings: int) -> str:
    if not failures and not warnings:
        return "nothing is wrong"
    return (
        f"{failures} failed, {warnings} to look at" if failures else f"nothing failed, {warnings} to look at"
    )


@dataclass(frozen=True, slots=True)
class Unready:
    """Why a daemon is not ready.

    Attributes:
        code: What is in the way.
        hint: What to do about it.
        exit_code: What the command ends with.
    """

    code: str
    hint: str
    exit_code: int = 6


def show_readiness(unready: Unready | None, as_json: bool) -> None:
    """Say whether a daemon is ready, and end with 0 only if it is.

    Raises:
        typer.Exit: It is not.
    """
    code, hint = (unready.code, unready.hint) if unready is not None else ("", "")
    if as_json:
        print_json({"ready": unready is None, "code": code, "hint": hint})
    elif unready is None:
        typer.echo("ready")
    else:
        typer.echo(f"not ready: {code}: {hint}", err=True)
    if unready is not None:
        raise typer.Exit(unready.exit_code)
