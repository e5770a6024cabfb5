"""The commands of ``consilium``; what each one does lives elsewhere and is imported when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli import (
    attack,
    audit,
    bench,
    coordinator,
    crossvalidate,
    draw,
    explain,
    export,
    phantom,
    predict,
    privacy,
    run,
    site,
    study,
    tune,
)

app = typer.Typer(
    name="consilium",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Hospitals train one medical-image model together; every picture stays in its own hospital.",
    epilog="Exit status: 0 done, 1 a defect of Consilium, 2 usage, 3 study file, 4 data, 5 federation, "
    "6 this machine, 7 identity, consent or the link, 130 interrupted.",
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from common import __version__

        typer.echo(f"consilium {__version__}")
        raise typer.Exit


app.command("simulate", epilog=run.SIMULATE_EXAMPLE)(run.simulate)
app.command("local", epilog=run.LOCAL_EXAMPLE)(run.local)
app.command("tune", epilog=tune.EXAMPLE)(tune.tune)
app.command("crossvalidate", epilog=crossvalidate.EXAMPLE)(crossvalidate.crossvalidate)
app.command("phantom", epilog=phantom.EXAMPLE)(phantom.phantom)
app.command("predict", epilog=predict.EXAMPLE)(predict.predict)
app.command("draw", epilog=draw.EXAMPLE)(draw.draw)
app.command("explain", epilog=explain.EXAMPLE)(explain.explain)
app.command("export", epilog=export.EXAMPLE)(export.export)
app.command("bench", epilog=bench.EXAMPLE)(bench.bench)
app.add_typer(study.app, name="study")
app.add_typer(site.app, name="site")
app.add_typer(coordinator.app, name="coordinator")
app.add_typer(privacy.app, name="privacy")
app.add_typer(audit.app, name="audit")
privacy.app.command("attack", epilog=attack.EXAMPLE)(attack.attack)
