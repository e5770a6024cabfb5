"""``consilium privacy attack``: an empirical lower bound on epsilon beside the claimed upper bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import options
from deploy.cli.screen import interruptible, print_json

if TYPE_CHECKING:
    from common.errors import PrivacyViolated
    from deploy.attack.attack import Audit

EXAMPLE = (
    "Example: consilium privacy attack examples/chest-xray-private.toml --data manifest.csv "
    "--where dataset=cxr --out runs/attack"
)


def attack(
    study: options.StudyFile,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for attack.json and attack.html.", show_default=False)
    ],
    data: options.DataFile = None,
    where: options.Where = None,
    sites: options.Sites = None,
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose training to attack.", show_default="the largest")
    ] = None,
    shadows: Annotated[
        int, typer.Option(min=0, max=1000, help="Trainings to learn a likelihood ratio from; 0 for none.")
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything, the noise too.")] = 0,
    device: options.Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier audit in DIR.")] = False,
    as_json: options.Json = False,
) -> None:
    """Attack a study's private training in a simulation, and say what that shows of its epsilon."""
    import torch

    from common.study import load_study
    from deploy.attack.attack import attack as attack_subject
    from deploy.attack.gathering import Asked, gather
    from deploy.attack.writing import check_out, write_audit

    check_out(out, overwrite)
    asked = Asked(load_study(study), data, options.pairs(where, "--where"), sites, site, seed, device)
    torch.set_num_threads(1)  # the same sums, and so the same audit, on every machine
    with interruptible("nothing was written"), _steps(quiet=as_json) as step:
        step("reading the data")
        audit = attack_subject(gather(asked), shadows, step)
    write_audit(out, audit)
    violation = _violation(audit)
    if as_json:
        error = {"code": violation.code, "message": violation.private, "hint": violation.hint}
        print_json({"out": str(out), **audit.to_dict(), **({"error": error} if audit.violations else {})})
    else:
        _show(audit, out)
    if audit.violations and as_json:
        raise typer.Exit(violation.exit_code)
    if audit.violations:
        raise violation


def _violation(audit: Audit) -> PrivacyViolated:
    from common.errors import PrivacyViolated

    found = "; ".join(f"{finding.attack}: {finding.observed}" for finding in audit.violations)
    return PrivacyViolated(f"claimed is epsilon {audit.claim.epsilon:.3g}. {found}")


def _show(audit: Audit, out: Path) -> None:
    """One screen: the claim, and of each attack its bound, what it saw and what it could have seen."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from deploy.attack.finding import CONFIDENCE
    from deploy.attack.writing import HTML

    styles = {"not violated": "green", "indication": "yellow", "violated": "bold red"}
    claim, console = audit.claim, Console(highlight=False, markup=False)
    console.print(
        f"claimed  epsilon {claim.epsilon:.3g} at delta {claim.delta:.3g} for each of {claim.units} "
        f"{claim.unit}s of {audit.site}: noise {claim.noise_multiplier:.3g}, {claim.steps} steps, "
        f"rate {claim.sample_rate:g}"
    )
    console.print(f"shown    with {CONFIDENCE:.0%} confidence, epsilon at least")
    for finding in audit.findings:
        verdict = Text(str(finding.verdict), style=styles[str(finding.verdict)])
        console.print(Text.assemble((f"{finding.epsilon:8.2f}", "bold"), f"  {finding.attack}: ", verdict))
        for line in (finding.observed, finding.power):
            console.print(Padding(Text(line, style="dim"), (0, 0, 0, 10)))
    console.print(f"report   {out / HTML}")


@contextmanager
def _steps(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """What is being done, on stderr."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    if quiet:
        yield lambda text: None
    elif not console.is_terminal:
        yield console.print
    else:
        with console.status("starting") as status:
            yield status.update
