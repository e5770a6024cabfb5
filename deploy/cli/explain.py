"""``consilium explain``: what a finished model's verdict on a case rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import options
from deploy.cli.predict import REFUSED, CohortName, Inputs, ModelPlace, Split, cases_of
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from client.explaining import Explanation, Wanted
    from client.predicting import Given, Refused, TrainedModel

EXAMPLE = "Example: consilium explain runs/chest-xray picture.dcm --out explanation.html"


def explain(
    model: ModelPlace,
    inputs: Inputs = None,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE.html", help="The page; it shows patients' pictures.", show_default=False),
    ] = Path("explanation.html"),
    target: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Explain this class; of a detection its best box.",
            show_default="the one called, or largest",
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of a risk: after this step.", show_default="the last"),
    ] = None,
    box: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Of a detection: the box with the N-th best score.", show_default="1"
        ),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write each case's drawing and figures too: PNG, JSON, of records CSV.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most cases on the page.")] = 20,
    cohort: CohortName = None,
    split: Split = None,
    home: options.Home = None,
    where: options.Where = None,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Show what spoke for a verdict, a risk, a region or a box: pixels, squares, steps, variables.

    Besides, it checks the explanation itself.

    The page is for this hospital's eyes only. Cases that are refused are listed on it; the exit status is
    then 4.
    """
    from client.devices import choose_device
    from client.explaining import Wanted, check_served, document_of, render, write_files
    from client.predicting import Refused, open_model
    from common.files import write_atomically

    opened = open_model(model, choose_device(device))
    wanted = Wanted(target, step, box)
    check_served(opened, wanted)
    found: list[Explanation] = []
    refused: list[Refused] = []
    for case in cases_of(opened, inputs, cohort, split, home, where):
        if len(found) == limit and not isinstance(case, Refused):
            typer.echo(f"the page shows the first {limit} cases; --limit raises that", err=True)
            break
        result = _explained(opened, case, wanted)
        if isinstance(result, Refused):
            refused.append(result)
            continue
        found.append(result)
        if files is not None:
            write_files(files, opened, result, len(found))
    write_atomically(out, render(opened, found, refused), mode=0o600)
    if as_json:
        cases = [document_of(opened, each) for each in found] + [each.to_json() for each in refused]
        print_json({"page": str(out), "model": opened.digest, "cases": cases})
    else:
        _tell(found, refused, out)
    if refused:
        raise typer.Exit(REFUSED)


def _explained(model: TrainedModel, case: Given | Refused, wanted: Wanted) -> Explanation | Refused:
    """Why the model says of a case what it says, or why that cannot be told."""
    from client.explaining import explain as explained
    from client.predicting import Refused
    from common.errors import NothingToExplain

    if isinstance(case, Refused):
        return case
    try:
        return explained(model, case, wanted)
    except NothingToExplain as nothing:
        return Refused.of(case.name, nothing)


def _tell(found: list[Explanation], refused: list[Refused], out: Path) -> None:
    for each in found:
        gap, fresh = each.attribution.gap, each.sanity.correlations["everything"]
        typer.echo(
            f"{each.case.name}: {each.question.answer.decision}; explained {each.question.words}; "
            f"completeness gap {gap:+.4f} nats, rank correlation with fresh weights {fresh:+.2f}"
        )
    for left in refused:
        typer.echo(f"{left.name}: refused, {left.code}", err=True)
    typer.echo(f"wrote {out}; it stays in this hospital")
