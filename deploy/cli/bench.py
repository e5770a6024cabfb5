"""``consilium bench``: measure against a rival, run for real in the same process tree."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli import options
from deploy.cli.screen import print_json

EXAMPLE = "Example: consilium bench simulation --json"


def bench(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which one; all if not given.")] = None,
    as_json: options.Json = False,
) -> None:
    """Measure Consilium in one interleaved run; a bench measures and never fails."""
    from deploy.bench import BENCHES, run_bench

    if name is not None and name not in BENCHES:
        raise typer.BadParameter(f"{name!r} is none of: {', '.join(BENCHES)}", param_hint="NAME")
    for each in [name] if name else BENCHES:
        results = run_bench(each)
        if as_json:
            print_json({"bench": each, **results.to_dict()})
        else:
            typer.echo(results.to_text(each))
