"""``consilium phantom``: hospitals that never existed, of DICOM pictures or of what a study reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import options
from deploy.cli.screen import print_json

EXAMPLE = "Example: consilium phantom --sites 4 --out runs/hospitals"


def phantom(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder that does not exist yet.", show_default=False)
    ],
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="STUDY",
            help="Make the cases that this study reads, with the truth in the manifest.",
            show_default="DICOM pictures of chests",
        ),
    ] = None,
    sites: Annotated[int, typer.Option(min=1, max=1000, help="Number of hospitals.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Write hospitals of phantoms, each with a scanner of its own: DICOM chests, or what a study reads."""
    from common.study import load_study
    from deploy.phantom import write_hospitals, write_phantom

    if study is None:
        manifest = write_hospitals(out, sites=sites, seed=seed)
    else:
        manifest = write_phantom(out, load_study(study), sites=sites, seed=seed)
    if as_json:
        print_json({"manifest": str(manifest), "sites": sites})
    else:
        typer.echo(f"{sites} hospitals in {out}; their manifest is {manifest}")
