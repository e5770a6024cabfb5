"""The benches by name, and what each of them reports."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        name: Stable, for comparing runs.
        value: What was measured.
        unit: Of the value; empty for a ratio.
        goal: The largest value that is still good, or the least one; None where there is none.
        at_least: Whether it is the least.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met, or None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


@dataclass(frozen=True, slots=True)
class Results:
    """What a bench measured, and on what."""

    figures: tuple[Figure, ...]

    def to_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"results": [{**asdict(f), "holds": f.holds} for f in self.figures], "machine": machine()}

    def to_text(self, title: str) -> str:
        """As a person reads it."""
        lines = [f"{title}  ({machine()})"]
        width = max(24, *(len(figure.name) + 2 for figure in self.figures))
        for figure in self.figures:
            goal = (
                ""
                if figure.goal is None
                else f"goal {'>=' if figure.at_least else '<='} {figure.goal:g}: "
                f"{'holds' if figure.holds else 'MISSED'}"
            )
            lines.append(f"  {figure.name:<{width}}{figure.value:>10.3f} {figure.unit:<8}{goal}")
        return "\n".join(lines)


def machine() -> str:
    """The machine that figures were measured on."""
    software = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{os.cpu_count()} cores, {platform.machine()}, {software}"


def _simulation() -> Results:
    from deploy.bench.simulation import measure

    return measure()


def _intake() -> Results:
    from deploy.bench.intake import measure

    return measure()


def _private_step() -> Results:
    from deploy.bench.private_step import measure

    return measure()


def _train() -> Results:
    from deploy.bench.train import measure

    return measure()


def _link() -> Results:
    from deploy.bench.link import measure

    return measure()


def _round() -> Results:
    from deploy.bench.round import measure

    return measure()


def _sites() -> Results:
    from deploy.bench.sites import measure

    return measure()


BENCHES: dict[str, Callable[[], Results]] = {
    "simulation": _simulation,
    "sites": _sites,
    "intake": _intake,
    "train": _train,
    "private-step": _private_step,
    "link": _link,
    "round": _round,
}


def run_bench(name: str) -> Results:
    """Measure; a bench never fails for being slow."""
    return BENCHES[name]()


def run_payload(payload_bytes: int, sites: int) -> Results:
    """Measure a round whose model is so large."""
    from deploy.bench.payload import measure
    from deploy.bench.round import measure as measure_round

    return Results((*measure(payload_bytes, sites).figures, *measure_round().figures))
