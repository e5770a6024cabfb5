"""``consilium study``: check, show and begin study files; propose and run them in a federation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import options, proposing
from deploy.cli.screen import print_json

app = typer.Typer(no_args_is_help=True, help="Study files, and studies in a federation.")


@app.command(epilog="Example: consilium study check examples/chest-xray.toml")
def check(study: options.StudyFile, as_json: options.Json = False) -> None:
    """Say whether a study file can be run."""
    from common.study import digest, load_study

    loaded = load_study(study)
    if as_json:
        print_json({"study": loaded.study.name, "digest": digest(loaded), "valid": True})
    else:
        typer.echo(f"{study} is a valid study: {loaded.study.name}, digest {digest(loaded)[:16]}")


@app.command(epilog="Example: consilium study show examples/chest-xray.toml")
def show(study: options.StudyFile, rounds: options.Rounds = None, as_json: options.Json = False) -> None:
    """Print every value of a study and where it came from."""
    from common.study import load_study, settings

    overrides = {} if rounds is None else {"federation.rounds": (rounds, "--rounds")}
    found = settings(load_study(study, overrides), study, overrides)
    if as_json:
        print_json({s.key: {"value": s.value, "origin": s.origin} for s in found})
        return
    width = max(len(s.key) for s in found)
    for setting in found:
        typer.echo(f"{setting.key:<{width}}  {_toml(setting.value):<16}  {setting.origin}")


@app.command(epilog="Example: consilium study new --out my-study.toml")
def new(
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write it; printed if not given.", show_default=False),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a commented template with every key."""
    from common.errors import OutputExists
    from common.files import write_atomically
    from common.study import template

    if out is None:
        print_json({"template": template()}) if as_json else typer.echo(template(), nl=False)
        return
    if out.exists():
        raise OutputExists(f"{out} exists", hint="Choose another file name.")
    write_atomically(out, template())
    print_json({"out": str(out)}) if as_json else typer.echo(f"wrote {out}")


def _toml(value: object) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


app.command("propose", epilog=proposing.PROPOSE_EXAMPLE)(proposing.propose)
app.command("start")(proposing.start)
app.command("status")(proposing.status)
app.command("stop", epilog=proposing.STOP_EXAMPLE)(proposing.stop)
app.command("readmit", epilog=proposing.READMIT_EXAMPLE)(proposing.readmit)
app.command("results")(proposing.results)
