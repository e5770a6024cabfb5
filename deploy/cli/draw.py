"""``consilium draw``: pictures out of a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import options
from deploy.cli.predict import ModelPlace
from deploy.cli.screen import print_json

EXAMPLE = "Example: consilium draw runs/chest-generation --count 8 --out sheet.png"
MOST = 256


def draw(
    model: ModelPlace,
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="The sheet.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, max=MOST, help="Pictures of each class.")] = 8,
    of: Annotated[
        list[str] | None,
        typer.Option("--of", metavar="CLASS", help="Only this class; may be repeated.", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same pictures.")] = 0,
    temperature: Annotated[
        float, typer.Option(min=0.01, max=10.0, help="Below 1 the likely is likelier.")
    ] = 1.0,
    beside: Annotated[
        Path | None,
        typer.Option(
            metavar="MANIFEST", help="Show true pictures of each class below those drawn.", show_default=False
        ),
    ] = None,
    where: options.Where = None,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Draw pictures from a generator onto one sheet, a row for each class.

    A drawn picture may come near to a patient's: compare the sheet with the training pictures before it
    leaves the hospital (docs/generation.md).
    """
    from client.devices import choose_device
    from client.explaining.pictures import png_of
    from client.predicting import open_model
    from client.predicting.drawing import drawn_pictures, sheet_of, true_pictures
    from common.files import write_atomically

    conditions = options.pairs(where, "--where")
    if conditions and beside is None:
        raise typer.BadParameter("chooses among the pictures of --beside", param_hint="--where")
    opened = open_model(model, choose_device(device))
    drawn = drawn_pictures(opened, count, of or (), seed, temperature)
    true = None if beside is None else true_pictures(opened, beside, count, conditions)
    write_atomically(out, png_of(sheet_of(drawn, true)), mode=0o666 if beside is None else 0o600)
    told = {"out": str(out), "rows": list(drawn), "count": count, "seed": seed, "temperature": temperature}
    if as_json:
        print_json({**told, "model": opened.digest})
        return
    typer.echo(f"wrote {out}: {count} pictures a row; rows from the top: {', '.join(drawn)}")
    typer.echo(
        "A drawn picture may come near to a patient's; see docs/generation.md before it goes anywhere."
    )
