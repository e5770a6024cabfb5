"""``consilium site cohort``: take archives in, look at what came of it, let go of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import options
from deploy.cli.screen import interruptible, print_json

if TYPE_CHECKING:
    from client.cohorts.aside import LeftOut
    from client.cohorts.home import Home
    from client.cohorts.inspection import Moved
    from client.cohorts.intake import Progress, Tally
    from client.cohorts.rules import Rules

app = typer.Typer(no_args_is_help=True, help="Registered datasets: pictures or records that a study may use.")
ADD_EXAMPLE = "Example: consilium site cohort add chest --dicom /archive/cr --labels labels.csv"


def _checked(name: str) -> str:
    """A name that may be that of a folder."""
    from client.cohorts.home import COHORT_NAME

    if not COHORT_NAME.fullmatch(name):
        raise typer.BadParameter("letters, digits, dots, dashes and underscores; 64 at most")
    return name


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The cohort's name.", show_default=False, callback=_checked)
]
Archives = Annotated[
    list[Path] | None,
    typer.Option("--dicom", metavar="DIR", help="Folder, file, zip or tar; repeat it.", show_default=False),
]


Texts = list[str] | None
OF_RECORDS = "Tables of measurements"
KEPT = "what was taken in is kept; the same command goes on from there"
ColumnNames = Annotated[
    Texts,
    typer.Option(
        "--column",
        metavar="WORD=NAME",
        help="What a column is called: time=minute.",
        show_default=False,
        rich_help_panel=OF_RECORDS,
    ),
]
Variables = Annotated[
    Texts,
    typer.Option(
        "--variable",
        metavar="NAME",
        help="Take only this variable; repeat it.",
        show_default=False,
        rich_help_panel=OF_RECORDS,
    ),
]
Ignored = Annotated[
    Texts,
    typer.Option(
        "--ignore",
        metavar="NAME",
        help="Leave this variable out; repeat it.",
        show_default=False,
        rich_help_panel=OF_RECORDS,
    ),
]
Missing = Annotated[
    Texts,
    typer.Option(
        "--missing",
        metavar="VALUE",
        help="What stands for a missing value besides nothing, ? and NA.",
        show_default=False,
        rich_help_panel=OF_RECORDS,
    ),
]


def add(
    name: Name,
    dicom: Archives = None,
    records: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="A table of measurements instead of pictures.",
            show_default=False,
            rich_help_panel=OF_RECORDS,
        ),
    ] = None,
    column: ColumnNames = None,
    variable: Variables = None,
    ignore: Ignored = None,
    missing: Missing = None,
    where: options.Where = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Column label, keyed by patient_id, study_uid, series_uid or sop_uid.",
            show_default=False,
        ),
    ] = None,
    masks: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folder with DICOM SEG or NIfTI masks.", show_default=False),
    ] = None,
    sequence: Annotated[
        options.SequenceKind, typer.Option(help="What a case is: a picture, a stack of slices, a clip.")
    ] = options.SequenceKind.rows,
    modality: Annotated[
        list[str] | None,
        typer.Option(metavar="CT", help="Take only this modality; repeat it.", show_default=False),
    ] = None,
    keep_derived: Annotated[
        bool, typer.Option("--keep-derived", help="Take localisers and derived pictures too.")
    ] = False,
    allow_burned_in: Annotated[
        bool,
        typer.Option("--allow-burned-in", help="I have looked at the pictures: they show no names."),
    ] = False,
    test_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Patients for testing, where the labels do not say.")
    ] = 0.2,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Register a cohort, or take in what is new since the last time."""
    from client.cohorts.aside import left_out
    from client.cohorts.home import open_home
    from client.cohorts.records.layout import RecordRules
    from client.cohorts.registering import register_records
    from client.cohorts.rules import Rules

    if (records is None) == (not dicom):
        raise typer.BadParameter("give --dicom or --records", param_hint="--dicom")
    of_records, of_pictures = (column, variable, ignore, missing, where), (masks, modality)
    if any(of_records) and records is None:
        raise typer.BadParameter("--column, --variable, --ignore, --missing and --where are for --records")
    if records is not None and (any(of_pictures) or keep_derived or allow_burned_in):
        raise typer.BadParameter("--masks, --modality and what concerns pictures are for --dicom")
    site = open_home(home)
    rules = Rules(
        sequence="steps" if records else sequence.value,
        modalities=tuple(modality or ()),
        keep_derived=keep_derived,
        allow_burned_in=allow_burned_in,
        test_share=test_share,
    )
    with (
        interruptible(KEPT if dicom else "nothing of the table was kept"),
        intake_progress(quiet=as_json) as progress,
    ):
        if records is not None:
            reading = RecordRules(
                columns=dict(options.pairs(column, "--column", "WORD=NAME")),
                variables=tuple(variable or ()),
                ignore=tuple(ignore or ()),
                missing=tuple(missing or ()),
                where=options.pairs(where, "--where"),
            )
            register_records(site, name, records, labels, rules, reading)
        else:
            _add_pictures(site, name, tuple(dicom or ()), tuple(masks or ()), labels, rules, progress)
    _show(site, name, as_json, left_out(site, name, [*(dicom or ()), *(masks or ())]))


def _add_pictures(
    site: Home,
    name: str,
    dicom: tuple[Path, ...],
    masks: tuple[Path, ...],
    labels: Path | None,
    rules: Rules,
    progress: Progress,
) -> None:
    from client.cohorts.intake import Request, take_in
    from client.dicom.workers import warm_up

    warm_up()
    take_in(site, Request(name, dicom, rules, masks, labels), progress)


def list_(home: options.Home = None, as_json: options.Json = False) -> None:
    """Name every cohort with its cases."""
    from client.cohorts.cohort import open_cohorts
    from client.cohorts.home import open_home
    from client.cohorts.overview import overview
    from deploy.cli.tables import show_cohorts

    site = open_home(home)
    found = [overview(cohort, site.policy.quarantine_limit) for cohort in open_cohorts(site)]
    if as_json:
        print_json({"cohorts": [each.to_dict() for each in found]})
    else:
        show_cohorts(found)


def show(
    name: Name,
    dicom: Archives = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Count what became of every file; with --dicom, name those that were left out."""
    from client.cohorts.aside import left_out
    from client.cohorts.cohort import open_cohort
    from client.cohorts.home import open_home
    from client.cohorts.inspection import moved_since

    site = open_home(home)
    moved = moved_since(site, open_cohort(site, name))
    _show(site, name, as_json, left_out(site, name, dicom) if dicom else [], moved)


def _show(site: Home, name: str, as_json: bool, aside: list[LeftOut], moved: Moved | None = None) -> None:
    from client.cohorts.cohort import open_cohort
    from client.cohorts.overview import overview
    from deploy.cli.tables import show_cohort

    found = overview(open_cohort(site, name), site.policy.quarantine_limit)
    if as_json:
        print_json(
            {
                **found.to_dict(),
                "left_out": [asdict(item) for item in aside],
                "moved": asdict(moved) if moved else None,
            }
        )
    else:
        show_cohort(found, aside, moved)


def report(
    name: Name,
    out: Annotated[Path, typer.Option(metavar="HTML", help="The page to write.", show_default=False)],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Another cohort of this site, to compare with.", show_default=False
        ),
    ] = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Write the quality report; it holds thumbnails and stays in the hospital."""
    from client.cohorts.cohort import open_cohort
    from client.cohorts.home import open_home
    from client.cohorts.inspection import write_report
    from client.cohorts.overview import overview

    site = open_home(home)
    verdict = write_report(site, name, out, against).verdict
    trouble = overview(open_cohort(site, name), site.policy.quarantine_limit).trouble
    if as_json:
        remarks = [
            {"gravity": each.gravity, "text": each.text, "todo": each.todo} for each in verdict.remarks
        ]
        usable = {"usable": trouble is None, "trouble": trouble and trouble.code}
        print_json({"report": str(out), "verdict": verdict.text, **usable, "remarks": remarks})
        return
    if trouble is not None:
        typer.echo(f"It cannot be used: {trouble.private}")
    typer.echo(verdict.text)
    for each in verdict.remarks:
        typer.echo(f"  {each.gravity}: {each.text} {each.todo}")
    typer.echo(f"report  {out}  (it shows pictures: keep it in the hospital)")


def summary(name: Name, home: options.Home = None, as_json: options.Json = False) -> None:
    """Print what a coordinator may be told, as policy.toml says: counts, small ones hidden."""
    from client.cohorts.home import open_home
    from client.cohorts.inspection import outward_summary

    counts = outward_summary(open_home(home), name)
    if as_json or counts is not None:
        print_json({"cohort": name, "shared": counts is not None, "summary": counts})
    else:
        typer.echo("Nothing is told: share_summary is false in policy.toml.")


def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Forget a cohort and delete its pixels; the archive it came from is not touched."""
    from client.cohorts.home import open_home
    from client.cohorts.removal import remove_cohort

    site = open_home(home)
    if not yes and as_json:
        raise typer.BadParameter("say --yes: with --json nobody is asked", param_hint="--yes")
    if not yes and not typer.confirm(f"Remove cohort {name!r} and its pixels?"):
        raise typer.Exit
    cases = remove_cohort(site, name)
    if as_json:
        print_json({"removed": name, "cases": cases})
    else:
        typer.echo(f"cohort {name!r} with {cases} cases is gone")


@contextmanager
def intake_progress(*, quiet: bool) -> Iterator[Progress]:
    """A bar on stderr that counts files, and those in quarantine."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("looking for files", total=None)

        def tell(tally: Tally) -> None:
            text = f"taking in, {tally.quarantined} in quarantine"
            bar.update(task, description=text, total=tally.found, completed=tally.done)

        yield tell


app.command("add", epilog=ADD_EXAMPLE)(add)
app.command("list")(list_)
app.command("show")(show)
app.command("report")(report)
app.command("summary")(summary)
app.command("remove")(remove)
