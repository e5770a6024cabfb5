"""A record's attributions by variable and step, and what each of its columns adds them by."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import torch

from client.explaining.explanation import Explanation
from common.study import Steps, Study

KINDS = ("value", "measured", "gap")
"""What a variable enters a step as: its scaled value, whether it was measured, and the time since before."""


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """What a record's measurements add to what the model says, in nats of log-odds.

    Attributes:
        names: V, of the variables and categories.
        times: T, of the steps in the record's own units; their numbers from 1 on where not known.
        timed: Whether the times are times.
        values: (T, 3, V) float32, by :data:`KINDS`.
        entered: (T, 3, V) float32, what the model reads.
        lost: (V,) what is lost without a variable.
        lost_steps: (T,) what is lost without a step.
    """

    names: tuple[str, ...]
    times: tuple[float, ...]
    timed: bool
    values: torch.Tensor
    entered: torch.Tensor
    lost: torch.Tensor
    lost_steps: torch.Tensor

    @classmethod
    def of(cls, study: Study, found: Explanation) -> Contributions:
        """Of an explained record."""
        assert isinstance(study.sequence, Steps)  # noqa: S101  only called for records
        assert found.occlusion.steps is not None  # noqa: S101  a record's steps are covered one by one
        names, steps = tuple(study.sequence.columns), found.case.steps
        shape = (len(steps), len(KINDS), len(names))
        times = found.case.times or tuple(float(step) for step in range(1, 1 + len(steps)))
        return cls(
            names=names,
            times=times,
            timed=bool(found.case.times),
            values=found.attribution.values.reshape(shape),
            entered=steps.cpu().reshape(shape),
            lost=found.occlusion.parts,
            lost_steps=found.occlusion.steps,
        )

    @property
    def measured(self) -> torch.Tensor:
        """(T, V) bool."""
        return self.entered[:, 1] > 0

    @property
    def by_place(self) -> torch.Tensor:
        """(T, V) what each variable adds at each step."""
        return self.values.sum(1)

    def strongest(self, count: int) -> list[int]:
        """Places of the variables that add the most, in either direction, the strongest first."""
        return self.by_place.sum(0).abs().argsort(descending=True, stable=True)[:count].tolist()

    def to_json(self) -> dict[str, Any]:
        """What each variable adds, the strongest first, and each step."""
        kinds, each = self.values.sum(0), self.by_place.sum(0)
        return {
            "variables": [
                {
                    "name": self.names[v],
                    "times_measured": int(self.measured[:, v].sum()),
                    "adds": float(each[v]),
                    **{f"by_{kind}": float(kinds[row, v]) for row, kind in enumerate(KINDS)},
                    "lost_without": float(self.lost[v]),
                }
                for v in self.strongest(len(self.names))
            ],
            "steps": [
                {"step": number, "time": time if self.timed else None, "adds": adds, "lost_without": lost}
                for number, (time, adds, lost) in enumerate(
                    zip(self.times, self.by_place.sum(1).tolist(), self.lost_steps.tolist(), strict=True),
                    start=1,
                )
            ],
        }

    def to_csv(self) -> str:
        """A line for each step and variable."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(
            [
                "step",
                "time",
                "variable",
                "measured",
                "scaled_value",
                "adds",
                *(f"by_{kind}" for kind in KINDS),
            ]
        )
        measured = self.measured.tolist()
        for step, time in enumerate(self.times):
            when = f"{time:g}" if self.timed else ""
            for v, name in enumerate(self.names):
                parts = self.values[step, :, v].tolist()
                own = int(measured[step][v]), f"{float(self.entered[step, 0, v]):.6g}"
                writer.writerow(
                    [step + 1, when, name, *own, f"{sum(parts):.6g}", *(f"{part:.6g}" for part in parts)]
                )
        return text.getvalue()
