"""``consilium simulate`` and ``consilium local``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import options
from deploy.cli.screen import print_json

SIMULATE_EXAMPLE = (
    "Example: consilium simulate examples/chest-xray.toml --data manifest.csv --where dataset=cxr "
    "--baselines --out runs/cxr"
)
LOCAL_EXAMPLE = "Example: consilium local examples/phantom.toml --rounds 2 --out runs/local"


def simulate(
    study: options.StudyFile,
    out: options.Out,
    data: options.DataFile = None,
    where: options.Where = None,
    sites: options.Sites = None,
    rounds: options.Rounds = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    engine: Annotated[
        options.SimulationEngine, typer.Option(help="ray: Flower's runtime, for what outgrows one machine.")
    ] = options.SimulationEngine.inprocess,
    baselines: options.Baselines = False,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Run a study with virtual hospitals on this machine."""
    from deploy.engines.inprocess import warm_up

    if engine is options.SimulationEngine.inprocess:
        warm_up()
    _launch(study, out, data, where, sites, rounds, seed, device, engine, baselines, overwrite, as_json)


def local(
    study: options.StudyFile,
    out: options.Out,
    data: options.DataFile = None,
    where: options.Where = None,
    sites: options.Sites = None,
    rounds: options.Rounds = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    engine: Annotated[
        options.LocalEngine, typer.Option(help="superlink: Flower's own SuperLink and SuperNodes, over TLS.")
    ] = options.LocalEngine.superlink,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the SuperLink; 0 for a free one.")] = 0,
    baselines: options.Baselines = False,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Run a study as real processes on this machine, one for each hospital and one for the coordinator."""
    _launch(study, out, data, where, sites, rounds, seed, device, engine, baselines, overwrite, as_json, port)


def _launch(
    study: Path,
    out: Path,
    data: Path | None,
    where: list[str] | None,
    sites: int | None,
    rounds: int | None,
    seed: int,
    device: str,
    engine: str,
    baselines: bool,
    overwrite: bool,
    as_json: bool,
    port: int = 0,
) -> None:
    from deploy.cli.progress import progress, show_summary
    from deploy.launch import Request, launch

    request = Request(
        study=study,
        out=out,
        data=data,
        where=tuple(_condition(text) for text in where or ()),
        sites=sites,
        rounds=rounds,
        seed=seed,
        device=device,
        engine=str(engine),
        baselines=baselines,
        overwrite=overwrite,
        port=port,
    )
    with progress(out, quiet=as_json) as step:
        run = launch(request, step)
    if as_json:
        print_json({"out": str(out), "report": str(out / "report.html"), **_essence(run)})
    else:
        show_summary(run, out)


def _condition(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals or not column:
        raise typer.BadParameter(f"{text!r} is not COLUMN=VALUE", param_hint="--where")
    return column, value


def _essence(run: dict[str, object]) -> dict[str, object]:
    return {
        key: run[key]
        for key in ("status", "engine", "seed", "duration_s", "sites", "final", "baselines", "files")
    }
