"""``consilium tune``: the keys of a study, searched in simulation."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import options
from deploy.cli.run import cohorts_of, tables_of
from deploy.cli.screen import interruptible, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from deploy.tuning.spending import Spending
    from deploy.tuning.trial import Trial
    from deploy.tuning.tuned import Tuned
    from deploy.tuning.tuning import Tell

EXAMPLE = "Example: consilium tune examples/phantom.toml --search search.toml --trials 20 --out runs/tune"
MOST_ROWS = 8


class Method(StrEnum):
    """Who says what to try."""

    grid = "grid"
    random = "random"
    tpe = "tpe"


def tune(
    study: options.StudyFile,
    search: Annotated[
        Path,
        typer.Option(
            metavar="SEARCH.toml", help="Keys of the study, each with values or a range.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder for the trials and the best study; goes on there.", show_default=False
        ),
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
    trials: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="How many studies to try.", show_default="20; all of a grid"),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="Every combination, random ones, or ones that look promising.")
    ] = Method.tpe,
    folds: Annotated[
        int, typer.Option(min=2, max=20, metavar="K", help="Parts that training patients are dealt to.")
    ] = 3,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What trials are compared by.", show_default="the task's own"),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Give up trials below the median of those before.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the run of every trial in DIR/trials.")] = False,
    test: Annotated[
        bool,
        typer.Option("--test", help="At the end, run the best study once and test it on the test split."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Search a private study on real cohorts, and take the cost.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Search values for keys of a study, by cross-validation over training patients, in simulation."""
    from deploy.engines.inprocess import warm_up
    from deploy.launch import Request
    from deploy.tuning.tuning import Asked
    from deploy.tuning.tuning import tune as search_study

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
    )
    asked = Asked(request, search, method.value, trials, folds, metric, prune, keep, test, yes)
    with interruptible("the same command goes on with what is left"):
        tuned = search_study(asked, _telling(quiet=as_json))
    if as_json:
        print_json({"out": str(out), **tuned.to_dict()})
    else:
        given: dict[str, object] = {
            "--data": data, "--records": records, "--labels": labels, "--site-from": site_from,
            "--ignore": ignore, "--missing": missing, "--cohort": cohort, "--home": home if cohort else None,
            "--where": where, "--sites": sites, "--seed": seed or None,
        }  # fmt: skip
        _show(tuned, _again(out, given), out)


def _telling(*, quiet: bool) -> Tell:
    """Who tells on stderr how the search goes; nobody where it is to be quiet."""
    from deploy.tuning.tuning import Tell

    if quiet:
        return Tell()
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    return Tell(
        step=console.print,
        trial=lambda trial, tuned: console.print(_line(trial, tuned)),
        cost=lambda cost: _warn(console, cost),
    )


def _warn(console: Console, cost: tuple[Spending, ...]) -> None:
    from deploy.tuning.spending import told

    console.print("The study trains privately. A search books nothing in a ledger, and its noise is seeded.")
    console.print("If each trial were a study of its own, it would cost the patients:")
    for each in cost:
        console.print(f"  {told(each)}")


def _line(trial: Trial, tuned: Tuned) -> str:
    """One trial and the best so far."""
    from deploy.tuning.tuned import as_tried

    best, score = tuned.best, trial.score
    came = f"{score.value:.3f} ±{score.spread:.3f}" if score else trial.state
    parts = [f"{trial.name}/{tuned.wanted}" if trial.number else trial.name, f"{tuned.figure.title} {came}"]
    if best and best.score:
        parts.append(f"best {best.score.value:.3f} ({best.name})")
    parts += [as_tried(trial.values, tuned.keys), f"{trial.duration_s:.1f} s"]
    return "  ".join([*parts, *([trial.remark] if trial.remark else [])])


def _show(tuned: Tuned, again: str, out: Path) -> None:
    """The best trials as a table, what to know of them, and what to do next."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from deploy.tuning.page import sentences
    from deploy.tuning.tuned import short_names, shown
    from deploy.tuning.writing import PAGE_FILE

    console, names = Console(highlight=False, markup=False), short_names(tuned.keys)
    title = Text(f"{tuned.study.study.name}: the best of {len(tuned.trials)} trials, on held-out patients")
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("trial", tuned.figure.title, "spread", *(names[key] for key in tuned.keys)):
        table.add_column(Text(heading), justify="right")
    sign = -1 if tuned.figure.higher_is_better else 1
    ranked = sorted((sign * t.score.value, t.number, t) for t in tuned.ran if t.score)
    for _, _, trial in ranked[:MOST_ROWS]:
        assert trial.score is not None  # noqa: S101  as they are chosen
        figures = (f"{trial.score.value:.3f}", f"{trial.score.spread:.3f}")
        cells = [Text(shown(trial.values[key])) for key in tuned.keys]
        table.add_row(
            trial.name.removeprefix("trial "),
            *figures,
            *cells,
            style="bold" if trial is ranked[0][2] else None,
        )
    console.print(table)
    for sentence in sentences(tuned):
        console.print(f"note: {sentence}")
    console.print(f"report  {out / PAGE_FILE}", soft_wrap=True)
    console.print(f"next    {again}", soft_wrap=True)


def _again(out: Path, given: Mapping[str, object]) -> str:
    """The command that runs the best study on the same data.

    Args:
        out: The search's folder.
        given: Options, each with its value, its values, or None.
    """
    import shlex

    from deploy.tuning.writing import BEST_FILE

    words = ["consilium", "simulate", str(out / BEST_FILE)]
    for option, value in given.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        words += [word for each in values for word in (option, str(each))]
    words += ["--out", str(out.with_name(f"{out.name}-best"))]
    return shlex.join(words)
