"""``consilium crossvalidate``: a study judged on all its patients, each held out once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import options
from deploy.cli.run import cohorts_of, tables_of
from deploy.cli.screen import interruptible, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from common.metrics import Figure
    from deploy.crossvalidation.crossvalidation import Tell
    from deploy.crossvalidation.held_out import FoldRun, HeldOut

EXAMPLE = (
    "Example: consilium crossvalidate examples/phantom.toml --rounds 5 --folds 4 --out runs/crossvalidation"
)
PATIENTS = "patients"
_MOST_SITES = 20
_MOST_FIGURES = 5
"""In a table of 80 characters, with room for intervals."""


def crossvalidate(
    study: options.StudyFile,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for crossvalidation.json.", show_default=False)
    ],
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
    folds: Annotated[
        str,
        typer.Option(
            metavar="K|patients", help="Parts that training patients are dealt to; patients: one for each."
        ),
    ] = "5",
    everyone: Annotated[
        bool,
        typer.Option(
            "--all", help="Deal the test split's patients too, where there are too few to spare them."
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Run a private study on real cohorts, and take the cost.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier cross-validation in DIR.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Hold every training patient out once, and judge a study on all of them, in simulation."""
    from deploy.crossvalidation.crossvalidation import RESULT_FILE, Asked
    from deploy.crossvalidation.crossvalidation import crossvalidate as run_folds
    from deploy.engines.inprocess import warm_up
    from deploy.launch import Request

    count = _folds(folds)
    warm_up()
    request = Request(
        study=study,
        out=out,
        engine="inprocess",
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
        overwrite=overwrite,
    )
    with interruptible():
        found = run_folds(Asked(request, count, everyone, yes), _telling(quiet=as_json))
    if as_json:
        print_json({"out": str(out), **found.to_dict()})
    else:
        _show(found, out / RESULT_FILE)


def _folds(text: str) -> int | None:
    """How many; None for one a patient."""
    if text == PATIENTS:
        return None
    if not text.isascii() or not text.isdecimal() or not 2 <= int(text) <= 1000:
        raise typer.BadParameter(f"{text!r} is neither {PATIENTS} nor 2 to 1000", param_hint="--folds")
    return int(text)


def _telling(*, quiet: bool) -> Tell:
    """Who tells on stderr how it goes; nobody where it is to be quiet."""
    from deploy.crossvalidation.crossvalidation import Tell

    if quiet:
        return Tell()
    from rich.console import Console

    from deploy.tuning.spending import told

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def cost(found: Sequence[Any]) -> None:
        console.print(
            "The study trains privately. A cross-validation books nothing in a ledger, and its noise is"
        )
        console.print("seeded. If each fold were a study of its own, it would cost the patients:")
        for each in found:
            console.print(f"  {told(each)}")

    return Tell(step=console.print, fold=lambda fold, of: console.print(_line(fold, of)), cost=cost)


def _line(fold: FoldRun, of: int) -> str:
    held = ", ".join(f"{site} {count}" for site, count in fold.patients.items())
    parts = [f"fold {fold.number}/{of}", f"held out: {held}", f"{fold.n} cases", f"{fold.sites} sites"]
    return "  ".join([*parts, f"{fold.duration_s:.1f} s"])


def _show(found: HeldOut, file: Path) -> None:
    """The figures as a table, and what to know of them."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    told = found.to_dict()
    figures = [figure for figure in found.figures if figure.heading][:_MOST_FIGURES]
    console.print(_table(found, told, figures))
    for line in (*_classes(told["pooled"]), *_constant(found), *_notes(found, told)):
        console.print(line, soft_wrap=True)
    console.print(f"figures  {file}", soft_wrap=True)


def _table(found: HeldOut, told: dict[str, Any], figures: Sequence[Figure]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    title = f"{found.study.study.name}: held-out cases of {len(found.folds)} folds"
    table = Table(title=Text(title), box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("n", *(figure.heading for figure in figures)):
        table.add_column(heading, justify="right")
    for site, scores in list(told["sites"].items())[:_MOST_SITES]:
        table.add_row(Text(site), *_cells(scores, figures))
        _add_interval(table, scores, figures)
    if len(told["sites"]) > _MOST_SITES:
        table.add_row(f"and {len(told['sites']) - _MOST_SITES} more sites")
    table.add_section()
    table.add_row("all sites", *_cells(told["pooled"], figures), style="bold")
    _add_interval(table, told["pooled"], figures)
    return table


def _cells(scores: dict[str, Any], figures: Sequence[Figure]) -> list[str]:
    values = [scores[figure.key] for figure in figures]
    return [str(scores["n"]), *("-" if value is None else f"{value:.3f}" for value in values)]


def _add_interval(table: Table, scores: dict[str, Any], figures: Sequence[Figure]) -> None:
    ends = scores["intervals"]
    if ends:
        shown = [_ends(ends[figure.key]) if figure.key in ends else "-" for figure in figures]
        table.add_row("  95 %", "", *shown, style="dim")


def _ends(ends: Sequence[float]) -> str:
    return f"{ends[0]:.2f}-{ends[1]:.2f}"


def _classes(pooled: dict[str, Any]) -> Iterator[str]:
    """Recall of each class, where there are more than two."""
    recalls = pooled.get("recall_by_class")
    if recalls:
        cases = pooled["labels"]
        parts = [
            f"{name} {'-' if value is None else f'{value:.3f}'} of {cases[name]}"
            for name, value in recalls.items()
        ]
        yield f"recall by class: {', '.join(parts)}"


def _constant(found: HeldOut) -> Iterator[str]:
    """What the same answer for every case is worth."""
    constant = found.constant
    if constant is None:
        return
    most, best, accuracy = constant.majority, constant.best, constant.accuracy
    yield f"always {most!r}, the class of most patients, has accuracy {accuracy[most]:.3f}"
    if best != most:
        yield f"always {best!r}, the best constant answer, has accuracy {accuracy[best]:.3f}"


def _notes(found: HeldOut, told: dict[str, Any]) -> Iterator[str]:
    from common.metrics.bootstrap import LEAST_PATIENTS

    if found.test_split_dealt:
        yield "note: the test split's patients were dealt to folds too; it can no longer judge this study"
    for site, count in list(found.untested.items())[:_MOST_SITES]:
        yield f"note: {site}: {count} patients not tested, as nobody is left there to train in their fold"
    if not told["pooled"]["intervals"]:
        yield f"note: no interval: that needs {LEAST_PATIENTS} patients, and their single cases"
