"""``consilium export``: a finished model for another runtime, and its model card."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import options
from deploy.cli.predict import ModelPlace
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from client.exporting import Exported

EXAMPLE = "Example: consilium export runs/chest-xray --format onnx --out chest.onnx --card CARD.md"


class ExportFormat(StrEnum):
    """What a model is written as."""

    torch = "torch"
    onnx = "onnx"


def export(
    model: ModelPlace,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="torch.export (.pt2), or ONNX.")
    ] = ExportFormat.onnx,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The exported model.", show_default=False)
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="With onnx: weights of 8 bits, for the CPU.")] = False,
    step: Annotated[
        bool, typer.Option("--step", help="Of a generator: the single step that draws, row by row.")
    ] = False,
    card: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Write the model card.", show_default=False)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a model for other programs, after checking that it says what the original says."""
    from client.exporting import card_of, exported
    from client.predicting import open_model
    from common.files import write_atomically

    if out is None and card is None:
        raise typer.BadParameter("give --out, --card, or both", param_hint="--out")
    if int8 and form is not ExportFormat.onnx:
        raise typer.BadParameter("goes with --format onnx", param_hint="--int8")
    opened = open_model(model)
    written = None if out is None else exported(opened, out, form.value, int8=int8, step=step)
    if card is not None:
        write_atomically(card, card_of(opened, step=step))
    if as_json:
        print_json(_document(written, card))
    else:
        _tell(written, card)


def _document(written: Exported | None, card: Path | None) -> dict[str, Any]:
    if written is None:
        return {"out": None, "card": str(card)}
    found = written.comparison
    return {
        "out": str(written.path),
        "size_bytes": written.size_bytes,
        "compared": found.measure,
        "largest_difference": found.difference,
        "largest_difference_of_logits": found.logits,
        "tolerance": found.tolerance,
        "cases": found.cases,
        "card": None if card is None else str(card),
    }


def _tell(written: Exported | None, card: Path | None) -> None:
    if written is not None:
        found = written.comparison
        typer.echo(f"wrote {written.path}, {written.size_bytes:,} bytes")
        typer.echo(
            f"on {found.cases} random cases of varied batch and length {found.measure} differs by at most "
            f"{found.difference:.1e} ({found.tolerance:g} is allowed)"
        )
    if card is not None:
        typer.echo(f"wrote {card}")
