"""``consilium explain``: what a finished model's verdict on a case rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import options
from deploy.cli.predict import REFUSED, CohortName, Inputs, ModelPlace, Split, cases_of
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from client.explaining import Explanation
    from client.predicting import Refused

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
        typer.Option("--class", metavar="NAME", help="Explain this class.", show_default="the one called"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most cases on the page.")] = 20,
    cohort: CohortName = None,
    split: Split = None,
    home: options.Home = None,
    where: options.Where = None,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Show what spoke for a verdict: pixels, squares, steps, variables, and checks of the explanation itself.

    The page is for this hospital's eyes only. Cases that are refused are listed on it; the exit status is
    then 4.
    """
    from client.devices import choose_device
    from client.explaining import check_served, render
    from client.explaining import explain as explained
    from client.predicting import Refused, open_model
    from common.files import write_atomically

    opened = open_model(model, choose_device(device))
    check_served(opened, target)
    found: list[Explanation] = []
    refused: list[Refused] = []
    for case in cases_of(opened, inputs, cohort, split, home, where):
        if isinstance(case, Refused):
            refused.append(case)
        elif len(found) < limit:
            found.append(explained(opened, case, target))
        else:
            typer.echo(f"the page shows the first {limit} cases; --limit raises that", err=True)
            break
    write_atomically(out, render(opened, found, refused), mode=0o600)
    if as_json:
        cases = [each.to_json() for each in found] + [each.to_json() for each in refused]
        print_json({"page": str(out), "model": opened.digest, "cases": cases})
    else:
        _tell(found, refused, out)
    if refused:
        raise typer.Exit(REFUSED)


def _tell(found: list[Explanation], refused: list[Refused], out: Path) -> None:
    for each in found:
        gap, fresh = each.attribution.gap, each.sanity.correlations["everything"]
        typer.echo(
            f"{each.case.name}: {each.answer.decision}; explained {each.target}, "
            f"completeness gap {gap:+.4f} nats, rank correlation with fresh weights {fresh:+.2f}"
        )
    for left in refused:
        typer.echo(f"{left.name}: refused, {left.code}", err=True)
    typer.echo(f"wrote {out}; it stays in this hospital")
