"""Options that several commands share, with their help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deploy.record_tables import RecordTables

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="Study file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DataFile = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="MANIFEST.csv",
        help="Manifest, or a MedMNIST .npz. Without it: phantom hospitals, made for this run.",
        show_default=False,
    ),
]
Cohorts = Annotated[
    list[str] | None,
    typer.Option(
        "--cohort",
        metavar="SITE=NAME",
        help="A registered cohort as the cases of a site; repeat it. SITE=HOME/NAME for another home.",
        show_default=False,
    ),
]
Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="The site's home.",
        envvar="CONSILIUM_HOME",
        show_default="~/.consilium",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Holds the passphrase of the private keys, if they have one.", show_default=False
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=VALUE",
        help="Use only rows with this value; if repeated, all must hold.",
        show_default=False,
    ),
]
Records = Annotated[
    Path | None,
    typer.Option(
        "--records",
        metavar="TABLE.csv[.gz]",
        help="Measurements over time, in place of --data: a row for each value, or one for each case.",
        show_default=False,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="TABLE.csv",
        help="With --records: label, split and what else is known once of each patient.",
        show_default=False,
    ),
]
SiteFrom = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="With --records: the column of either table that names a patient's site. Without it: one site.",
        show_default=False,
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="With --records: a column that is not to be read, as one that gives the label away; repeat it.",
        show_default=False,
    ),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VALUE",
        help="With --records: what means a missing value besides nothing, ?, NA and the like; repeat it.",
        show_default=False,
    ),
]
Sites = Annotated[
    int | None,
    typer.Option(
        min=1, help="Deal the patients of a one-site manifest, .npz or table to N sites.", show_default=False
    ),
]
Rounds = Annotated[int | None, typer.Option(min=1, help="Instead of the study's rounds.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="Decides every random choice that is not private noise.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda:N", help="What sites train on.")]
Baselines = Annotated[
    bool,
    typer.Option("--baselines", help="Also train every site alone, and all data pooled, on the same budget."),
]
Out = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder for model, run.json and report.html.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in DIR.")]

Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="[SITE=]EPSILON",
        help="Privacy that a virtual hospital, or each, may spend in a private study; repeat it. A cohort's "
        "stands in its hospital's policy.",
        show_default=False,
    ),
]


def tables(
    records: Path | None,
    labels: Path | None,
    site_from: str | None,
    ignore: list[str] | None,
    missing: list[str] | None,
) -> RecordTables | None:
    """The tables of records that are asked for; None where there are none.

    Raises:
        typer.BadParameter: What belongs to them is given without them.
    """
    if records is None:
        given = {"--labels": labels, "--site-from": site_from, "--ignore": ignore, "--missing": missing}
        for option, value in given.items():
            if value:
                raise typer.BadParameter("belongs to --records", param_hint=option)
        return None
    from deploy.record_tables import RecordTables

    return RecordTables(records, labels, site_from, tuple(ignore or ()), tuple(missing or ()))


def pairs(texts: list[str] | None, option: str, form: str = "COLUMN=VALUE") -> tuple[tuple[str, str], ...]:
    """Texts such as COLUMN=VALUE, each as its two parts.

    Raises:
        typer.BadParameter: One has no equals sign, or nothing before it.
    """
    found = [(text, *text.partition("=")) for text in texts or ()]
    for text, key, equals, _ in found:
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not {form}", param_hint=option)
    return tuple((key, value) for _, key, _, value in found)


def budgets(texts: list[str] | None) -> dict[str, float]:
    """Epsilon by site, with the name "" for all others.

    Raises:
        typer.BadParameter: One is not a number above zero.
    """
    found = {}
    for text in texts or ():
        site, _, epsilon = text.rpartition("=")
        try:
            found[site] = float(epsilon)
        except ValueError:
            found[site] = 0.0
        if not 0 < found[site] < float("inf"):
            raise typer.BadParameter(f"{text!r} is not [SITE=]EPSILON", param_hint="--budget")
    return found


class SimulationEngine(StrEnum):
    """What carries the messages of a simulation."""

    inprocess = "inprocess"
    ray = "ray"


class LocalEngine(StrEnum):
    """What carries the messages of a local federation."""

    link = "link"
    superlink = "superlink"


class SequenceKind(StrEnum):
    """What a case of a cohort is."""

    rows = "rows"
    slices = "slices"
    frames = "frames"


def passphrase(file: Path | None) -> bytes | None:
    """The passphrase that a file holds; None without one.

    Raises:
        KeyUnsafe, KeyUnreadable: Others can read or change the file, or there is none.
    """
    from common.identity import read_passphrase

    return None if file is None else read_passphrase(file)
