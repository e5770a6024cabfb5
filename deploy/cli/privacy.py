"""``consilium privacy``: what a study's privacy means in figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import options
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from common.private.plan import PrivacyPlan
    from common.study import Study

MOST_ROWS = 12

app = typer.Typer(
    no_args_is_help=True, help="What a study's differential privacy means, and how well it holds."
)

Patients = Annotated[
    int,
    typer.Option(
        "--patients",
        metavar="N",
        min=1,
        help="Training patients of a site; its images where the study's unit is the image.",
        show_default=False,
    ),
]


@app.command(epilog="Example: consilium privacy plan my-study.toml --patients 1200")
def plan(
    study: options.StudyFile,
    patients: Patients,
    rounds: options.Rounds = None,
    as_json: options.Json = False,
) -> None:
    """Say what private training would cost the patients of a site, before anyone trains."""
    from client.cohorts.settings import PrivacyPolicy
    from common.private.accounting import epsilon_of
    from common.private.plan import plan_of
    from common.study import load_study
    from server.guarantee import exceptions

    overrides = {} if rounds is None else {"federation.rounds": (rounds, "--rounds")}
    loaded = load_study(study, overrides)
    planned = plan_of(loaded, patients)
    spent = {number: planned.epsilon_after(number) for number in _shown(planned.rounds)}
    if as_json:
        print_json(_document(loaded, planned, spent, exceptions(loaded)))
        return
    for name, value in (*_lines(planned), *_test_lines(loaded)):
        typer.echo(f"{name:<18}{value}")
    typer.echo(f"\n{'after round':>11}  {'steps':>8}  {'epsilon':>8}")
    for number, epsilon in spent.items():
        typer.echo(f"{number:>11}  {number * planned.steps_per_round:>8}  {epsilon:>8.3f}")
    delta = PrivacyPolicy().delta
    whole = epsilon_of(planned.events_after(planned.rounds), delta, planned.accountant)
    typer.echo(f"\nA hospital's ledger counts at the delta of its own policy. At {delta:g}, which")
    typer.echo(f"a new policy has, all rounds come to epsilon {whole:.3f}.")
    for line in _second_guarantee(loaded):
        typer.echo(line)
    typer.echo("\nWhat leaves the site without noise:")
    for sentence in exceptions(loaded):
        typer.echo(f"  {sentence}")


def _second_guarantee(study: Study) -> list[str]:
    """What hides whole sites, where the study asks for that as well."""
    from server.site_privacy import SiteMechanism

    mechanism = SiteMechanism.of(study, None)
    if mechanism is None:
        return []
    epsilon = mechanism.spent(study.federation.rounds).epsilon
    return [
        f"Whole sites are hidden with epsilon {epsilon:.3f} at delta {mechanism.target_delta:g}, "
        f"noise {mechanism.noise_multiplier:.4g}."
    ]


def _shown(rounds: int) -> list[int]:
    """Some rounds from the first to the last, all of them if they are few."""
    if rounds <= MOST_ROWS:
        return list(range(1, rounds + 1))
    return sorted({1, *(round(rounds * part / (MOST_ROWS - 1)) for part in range(1, MOST_ROWS))})


def _lines(planned: PrivacyPlan) -> list[tuple[str, str]]:
    unit = "a patient with all its cases" if planned.unit == "patient" else "an image"
    clip = planned.adaptive_clip
    lines = [
        ("unit", f"{unit}; {planned.neighbouring}"),
        ("units", f"{planned.units}"),
        ("delta", f"{planned.target_delta:.3g}"),
        ("noise multiplier", f"{planned.noise_multiplier:.4g}"),
        ("sample rate", f"{planned.sample_rate:g}, {planned.expected_units:.4g} units expected a step"),
        ("steps a round", f"{planned.steps_per_round}"),
        ("clip norm", f"{planned.clip_norm:g}, " + ("fixed" if clip is None else "adapted from there")),
        ("accountant", planned.accountant),
        ("noise", "hardened against the bits of floats" if planned.secure_noise else "ordinary"),
    ]
    if clip is not None:
        gradient = f"{planned.gradient_noise_multiplier:.4g}, with {clip.count_noise:.4g} on the count"
        lines.insert(4, ("  on gradients", gradient))
    return lines


def _test_lines(study: Study) -> list[tuple[str, str]]:
    from common.private.plan import evaluations

    if study.privacy is None or study.privacy.evaluation_epsilon is None:
        return []
    count = evaluations(study.federation)
    return [("test patients", f"epsilon {study.privacy.evaluation_epsilon:g} over {count} evaluations")]


def _document(study: Study, planned: PrivacyPlan, spent: dict[int, float], told: list[str]) -> dict[str, Any]:
    from common.private.plan import evaluations

    return {
        "study": study.study.name,
        "plan": {**asdict(planned), "expected_units": planned.expected_units},
        "evaluation_epsilon": None if study.privacy is None else study.privacy.evaluation_epsilon,
        "evaluations": evaluations(study.federation),
        "rounds": [
            {"round": number, "steps": number * planned.steps_per_round, "epsilon": epsilon}
            for number, epsilon in spent.items()
        ],
        "without_noise": told,
    }
