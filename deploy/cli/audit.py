"""``consilium audit``: whether logs are what was written, and what of them a SIEM is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import options
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from common.evidence.entry import Head
    from common.evidence.verdict import Verdict
    from common.evidence.verification import Report
    from common.evidence.vouching import Vouched

app = typer.Typer(no_args_is_help=True, help="Evidence: verify audit logs offline, export them to a SIEM.")
VERIFY_EXAMPLE = "Example: consilium audit verify alder.jsonl coordinator.jsonl --head 812:5f0c..."
EXPORT_EXAMPLE = "Example: consilium audit export --home /srv/consilium --since 813 --out new.jsonl"
MOST_FAULTS = 10


def verify(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PATH...",
            help="Logs of one side or of several.",
            show_default=False,
        ),
    ],
    heads: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            metavar="NUMBER:DIGEST",
            help="A head that was kept elsewhere: the logs must hold it. Repeat it for more.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A finished model, or its run's folder: the logs must name this very file.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check logs to the last byte, and against the heads that each side noted of the other.

    PATH is a home, a folder of homes, an audit.jsonl with what lies beside it, or an export. NAME says whose
    an export is that does not begin with the first entry; it needs the --head that the export before it
    ended with.
    """
    from common.errors import AuditBroken
    from common.evidence.verification import verify as check

    logs, owners = logs_at(paths)
    report = check(logs, _heads(heads), owners)
    if not report.is_whole:
        faults = list(report.faults)
        more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        raise AuditBroken("\n".join([*faults[:MOST_FAULTS], *more]))
    named = None if model is None else _named(report, model)
    if as_json:
        print_json(_document(report) | ({} if named is None else {"model": as_document(named)}))
        return
    _show(report)
    if named is not None:
        typer.echo(f"model: {named}")


def export(
    home: options.Home = None,
    since: Annotated[int, typer.Option(min=1, help="Number of the first entry.")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to.", show_default="the terminal")
    ] = None,
) -> None:
    """Write entries as JSON Lines with the field names of the Elastic Common Schema."""
    from client.cohorts.home import home_folder
    from common.audit import AuditLog
    from common.errors import HomeMissing
    from common.evidence.export import export_line
    from common.evidence.source import AUDIT_FILE
    from common.files import write_atomically

    path = home_folder(home) / AUDIT_FILE
    if not path.is_file():
        raise HomeMissing(f"{path.parent} holds no {AUDIT_FILE}")
    found = list(AuditLog(path).entries())
    lines = b"".join(export_line(entry) for entry in found[since - 1 :])
    if out is None:
        typer.echo(lines, nl=False)
        return
    write_atomically(out, lines, 0o600)
    count = max(len(found) - since + 1, 0)
    typer.echo(f"{count} entries in {out}; next time: --since {len(found) + 1}")
    if found:
        typer.echo(f"head {found[-1].head}")
        typer.echo(
            "Keep the head where who can write to the home cannot: it proves where the log ended today."
        )


def _named(report: Report, model: Path) -> Vouched:
    from common.evidence.vouching import vouched

    return vouched(report, model)


def as_document(named: Vouched) -> dict[str, Any]:
    """What logs say of a model, as JSON holds it."""
    from dataclasses import asdict

    return {"log": named.log, **asdict(named.made), "tested_by": dict(named.tested_by)}


def logs_at(paths: list[str]) -> tuple[dict[str, Path], set[str]]:
    """Paths by what to call them, and which of these are names that were given."""
    from common.evidence.source import homes_in

    logs: dict[str, Path] = {}
    owners = set()
    for text in paths:
        name, equals, rest = text.partition("=")
        given = bool(equals and name) and not Path(text).exists()
        path = Path(rest if given else text)
        if not path.exists():
            raise typer.BadParameter(f"{path} does not exist", param_hint="PATH")
        for place in [path] if given else homes_in(path):
            called = name if given else str(place)
            if called in logs:
                raise typer.BadParameter(f"{called} is named twice", param_hint="PATH")
            logs[called] = place
        owners |= {name} if given else set()
    return logs, owners


def _heads(texts: list[str] | None) -> list[Head]:
    from common.evidence.entry import Head

    found = []
    for text in texts or ():
        head = Head.of(text.strip())
        if head is None:
            raise typer.BadParameter(f"{text!r} is not NUMBER:DIGEST", param_hint="--head")
        found.append(head)
    return found


def _document(report: Report) -> dict[str, Any]:
    logs = [
        {
            "log": each.name,
            "owner": each.owner or None,
            "files": each.files,
            "entries": each.entries,
            "since": each.before.number + 1,
            "head": str(each.head) if each.places else None,
            "ended_by": each.ended_by or None,
            "remarks": each.remarks,
        }
        for each in report.verdicts
    ]
    agreed = [
        {"noted_by": noting, "log": noted, "heads": count} for (noting, noted), count in report.agreed.items()
    ]
    return {"whole": True, "logs": logs, "agreed": agreed}


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, soft_wrap=True)
    for verdict in report.verdicts:
        console.print(Text.assemble(f"{verdict.name}: ", ("whole", "bold green"), _whose(verdict)))
        for line in _lines(verdict):
            console.print(Text(line))
        for remark in verdict.remarks:
            console.print(Text.assemble(("  note    ", "bold yellow"), remark))
    for (noting, noted), count in report.agreed.items():
        console.print(Text(f"  {count:>6}  heads of {noted} that {noting} noted: all are in it"))
    if len(report.verdicts) > 1 and not report.agreed:
        words = "none of the logs holds a head of another one here; they were checked one by one"
        console.print(Text.assemble(("  note    ", "bold yellow"), words))


def _whose(verdict: Verdict) -> str:
    return f"  (log of {verdict.owner})" if verdict.owner and verdict.owner != verdict.name else ""


def _lines(verdict: Verdict) -> list[str]:
    lines = [f"  {verdict.entries:>6}  entries, each with the one before it"]
    if verdict.places:
        first, last = verdict.places[0].number, verdict.head
        lines.append(f"          {first} to {last.number}, {verdict.times[0]} to {verdict.times[-1]}")
        lines.append(f"          the last{f' with {verdict.ended_by}' * bool(verdict.ended_by)}: {last}")
    if len(verdict.files) > 1:
        lines.append(f"  {len(verdict.files):>6}  files, {verdict.files[0]} to {verdict.files[-1]}")
    return lines


app.command("verify", epilog=VERIFY_EXAMPLE)(verify)
app.command("export", epilog=EXPORT_EXAMPLE)(export)
