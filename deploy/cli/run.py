"""``consilium simulate`` and ``consilium local``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import options
from deploy.cli.screen import interruptible, print_json

if TYPE_CHECKING:
    from client.sources import CohortSource
    from deploy.record_tables import RecordTables

SIMULATE_EXAMPLE = (
    "Example: consilium simulate examples/chest-xray.toml --data manifest.csv --where dataset=cxr "
    "--baselines --out runs/cxr"
)
LOCAL_EXAMPLE = "Example: consilium local examples/phantom.toml --rounds 2 --out runs/local"


def simulate(
    study: options.StudyFile,
    out: options.Out,
    data: options.DataFile = None,
    records: options.Records = None,
    labels: options.Labels = None,
    site_from: options.SiteFrom = None,
    ignore: options.Ignore = None,
    missing: options.Missing = None,
    cohort: options.Cohorts = None,
    home: options.Home = None,
    where: options.Where = None,
    sites: options.Sites = None,
    rounds: options.Rounds = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    engine: Annotated[
        options.SimulationEngine, typer.Option(help="ray: Flower's runtime, for what outgrows one machine.")
    ] = options.SimulationEngine.inprocess,
    baselines: options.Baselines = False,
    budget: options.Budgets = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Run a study with virtual hospitals on this machine."""
    from deploy.engines.inprocess import warm_up

    if engine is options.SimulationEngine.inprocess:
        warm_up()
    _launch(
        as_json,
        study=study,
        out=out,
        data=data,
        tables=tables_of(data, records, labels, site_from, ignore, missing),
        cohorts=cohorts_of(
            cohort, home, alone=data is None and records is None and sites is None and not where
        ),
        where=options.pairs(where, "--where"),
        sites=sites,
        rounds=rounds,
        seed=seed,
        device=device,
        engine=str(engine),
        baselines=baselines,
        budgets=options.budgets(budget),
        overwrite=overwrite,
    )


def local(
    study: options.StudyFile,
    out: options.Out,
    data: options.DataFile = None,
    records: options.Records = None,
    labels: options.Labels = None,
    site_from: options.SiteFrom = None,
    ignore: options.Ignore = None,
    missing: options.Missing = None,
    cohort: options.Cohorts = None,
    home: options.Home = None,
    where: options.Where = None,
    sites: options.Sites = None,
    rounds: options.Rounds = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    engine: Annotated[
        options.LocalEngine, typer.Option(help="superlink: Flower's own SuperLink and SuperNodes, over TLS.")
    ] = options.LocalEngine.link,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The coordinator's port; 0 for a free one.")
    ] = 0,
    baselines: options.Baselines = False,
    budget: options.Budgets = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Run a study as real processes on this machine, one for each hospital and one for the coordinator."""
    _launch(
        as_json,
        study=study,
        out=out,
        data=data,
        tables=tables_of(data, records, labels, site_from, ignore, missing),
        cohorts=cohorts_of(
            cohort, home, alone=data is None and records is None and sites is None and not where
        ),
        where=options.pairs(where, "--where"),
        sites=sites,
        rounds=rounds,
        seed=seed,
        device=device,
        engine=str(engine),
        baselines=baselines,
        budgets=options.budgets(budget),
        overwrite=overwrite,
        port=port,
        rehearsal=False,
    )


def _launch(as_json: bool, **asked: Any) -> None:
    """Run what was asked, in the words of :class:`deploy.launch.Request`, and show it."""
    from common.errors import QuorumNotReached
    from deploy.cli.progress import progress, show_summary
    from deploy.launch import Request, launch
    from server.report.filing import REPORT_FILE

    request = Request(**asked)
    try:
        with interruptible(), progress(request.out, quiet=as_json) as step:
            run = launch(request, step)
    except QuorumNotReached:
        if not as_json and (request.out / REPORT_FILE).is_file():
            typer.echo(f"report of the rounds before: {request.out / REPORT_FILE}", err=True)
        raise
    if as_json:
        out = request.out
        print_json({"out": str(out), "report": str(out / run["files"]["report"]), **_essence(run)})
    else:
        show_summary(run, request.out)


def tables_of(data: Path | None, records: Path | None, *rest: Any) -> RecordTables | None:
    """The tables of records that are asked for in place of ``--data``; None where there are none."""
    if data is not None and records is not None:
        raise typer.BadParameter("takes the place of --data", param_hint="--records")
    return options.tables(records, *rest)


def cohorts_of(
    texts: list[str] | None, home: Path | None, *, alone: bool
) -> tuple[tuple[str, CohortSource], ...]:
    """SITE=NAME of the home given, or SITE=HOME/NAME where hospitals have homes of their own."""
    if not texts:
        return ()
    if not alone:
        raise typer.BadParameter(
            "takes the place of --data, --records, --where and --sites", param_hint="--cohort"
        )
    from client.cohorts.home import home_folder
    from client.sources import CohortSource

    bound = options.pairs(texts, "--cohort", "SITE=NAME")
    if len({site for site, _ in bound}) < len(bound):
        raise typer.BadParameter("a site is named twice", param_hint="--cohort")
    places = [(site, Path(text)) for site, text in bound]
    return tuple(
        (site, CohortSource(home_folder(home if str(path.parent) == "." else path.parent), path.name))
        for site, path in places
    )


def _essence(run: dict[str, Any]) -> dict[str, Any]:
    return {
        key: run[key]
        for key in ("status", "engine", "seed", "duration_s", "sites", "final", "baselines", "files")
    }
