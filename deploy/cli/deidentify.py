"""``consilium site deidentify``: clean DICOM files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import options
from deploy.cli.screen import interruptible, print_json

EXAMPLE = "Example: consilium site deidentify --dicom /archive/ct --out clean"


def deidentify(
    dicom: Annotated[
        list[Path],
        typer.Option(metavar="DIR", help="Folder, file, zip or tar; repeat it.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="New folder for the clean files.", show_default=False)
    ],
    allow_burned_in: Annotated[
        bool, typer.Option("--allow-burned-in", help="I have looked at the pictures: they show no names.")
    ] = False,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Write pictures as DICOM without anything that names a person (DICOM PS3.15 Annex E)."""
    from client.cohorts.export import export
    from client.cohorts.home import open_home
    from deploy.cli.cohort import intake_progress
    from deploy.cli.tables import show_left_out

    site = open_home(home)
    with (
        interruptible("the folder is not complete: delete it, and run it again"),
        intake_progress(quiet=as_json) as progress,
    ):
        done = export(site, dicom, out, allow_burned_in=allow_burned_in, progress=progress)
    if as_json:
        print_json(
            {
                "out": str(out),
                "seen": done.seen,
                "written": done.written,
                "copies": done.copies,
                "left_out": [{"name": name, "why": why} for name, why in done.names],
            }
        )
        return
    typer.echo(f"{done.written} of {done.seen} files written to {out}; {done.copies} were copies")
    show_left_out(done.left_out)
