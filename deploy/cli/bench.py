"""``consilium bench``: measure against a rival, run for real in the same process tree."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli import options
from deploy.cli.screen import print_json

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
EXAMPLE = "Example: consilium bench simulation --json"


def bench(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which one; all if not given.")] = None,
    payload: Annotated[
        str | None, typer.Option(metavar="SIZE", help="With `round`: a model so large, as 100MB.")
    ] = None,
    sites: Annotated[int, typer.Option(min=1, max=64, help="With --payload: how many train it.")] = 4,
    as_json: options.Json = False,
) -> None:
    """Measure Consilium in one interleaved run; a bench measures and never fails."""
    from deploy.bench import BENCHES, run_bench, run_payload

    if payload is not None and name != "round":
        raise typer.BadParameter("goes with the bench `round`", param_hint="--payload")

    if name is not None and name not in BENCHES:
        raise typer.BadParameter(f"{name!r} is none of: {', '.join(BENCHES)}", param_hint="NAME")
    for each in [name] if name else BENCHES:
        results = run_payload(_bytes(payload), sites) if payload is not None else run_bench(each)
        if as_json:
            print_json({"bench": each, **results.to_dict()})
        else:
            typer.echo(results.to_text(each))


def _bytes(text: str) -> int:
    """A size as people write it."""
    number, unit = text[:-2], text[-2:].upper()
    if unit not in _UNITS or not number.isdecimal() or not 1 <= int(number) * _UNITS[unit] // 10**5 <= 10**5:
        raise typer.BadParameter("a size as 100MB, from 100KB to 10GB", param_hint="--payload")
    return int(number) * _UNITS[unit]
