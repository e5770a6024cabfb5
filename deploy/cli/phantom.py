"""``consilium phantom``: DICOM hospitals that never existed."""

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
    sites: Annotated[int, typer.Option(min=1, max=1000, help="Number of hospitals.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Write DICOM hospitals of chest-like phantoms, each with a scanner of its own."""
    from deploy.phantom import write_hospitals

    manifest = write_hospitals(out, sites=sites, seed=seed)
    if as_json:
        print_json({"manifest": str(manifest), "sites": sites})
    else:
        typer.echo(f"{sites} hospitals in {out}; their manifest is {manifest}")
