"""Every combination of task, sequence, cell and encoder: which are built, and the table of docs/models.md.

``python -m tests.unit.models.combinations`` prints that table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

import torch

from common.errors import InvalidValue
from common.sequences import SequenceBatch
from common.study import Study, parse_study
from common.study.head import Task
from common.study.model import Cell, Encoder

SEQUENCES: dict[str, dict[str, Any]] = {
    "rows": {"kind": "rows", "size": 32},
    "patches": {"kind": "patches", "size": 64, "patch": 32},
    "slices": {"kind": "slices", "size": 32},
    "frames": {"kind": "frames", "size": 32},
    "views": {"kind": "views", "size": 32},
    "steps": {
        "kind": "steps",
        "variables": {"HR": {"centre": 80, "scale": 20}, "pH": {"centre": 7.4, "scale": 0.1}},
    },
}
LENGTHS = {
    "rows": [32] * 3,
    "patches": [4] * 3,
    "slices": [3, 1, 2],
    "frames": [3, 1, 2],
    "views": [3, 1, 2],
    "steps": [2, 5, 1],
}
"""Of three cases; one picture read in rows or patches is always read to its end."""

TABLES: dict[str, dict[str, dict[str, Any]]] = {}
"""What a study of a task must say besides name, task and labels, by table."""


@dataclass(frozen=True)
class Combination:
    """One of them."""

    task: str
    sequence: str
    cell: str
    encoder: str

    def __str__(self) -> str:
        return f"{self.task}-{self.sequence}-{self.cell}-{self.encoder}"

    def document(self) -> dict[str, Any]:
        tables = TABLES.get(self.task, {})
        return {
            **tables,
            "study": {
                "name": "x",
                "task": self.task,
                "labels": {"0": "normal", "1": "tumour"},
                **tables.get("study", {}),
            },
            "sequence": SEQUENCES[self.sequence],
            "model": {"cell": self.cell, "encoder": self.encoder, "hidden": 4, **tables.get("model", {})},
        }

    def study(self) -> Study:
        return parse_study(self.document())

    def refusal(self) -> str:
        """Why a study may not ask for it; "" if it may."""
        try:
            self.study()
        except InvalidValue as error:
            return str(error).removeprefix("study file: ")
        return ""


def combinations(encoders: tuple[str, ...] = get_args(Encoder)) -> list[Combination]:
    return [Combination(*each) for each in product(get_args(Task), SEQUENCES, get_args(Cell), encoders)]


def batch(study: Study, lengths: list[int]) -> SequenceBatch:
    """Noise of these lengths, with targets of the study's task."""
    generator, features = torch.Generator().manual_seed(1), study.sequence.frame[0] * study.sequence.frame[1]
    steps = torch.rand(len(lengths), max(lengths), features, generator=generator)
    if study.sequence.kind == "steps":
        values, flags, gaps = steps.chunk(3, dim=2)
        flags = (flags > 0.5).float()
        steps = torch.cat([values * flags, flags, gaps], dim=2)
    for case, length in enumerate(lengths):
        steps[case, length:] = 0
    return SequenceBatch(steps, torch.tensor(lengths), TARGETS[study.study.task](study, steps, lengths))


def _classes(study: Study, steps: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    return torch.arange(len(steps)) % len(study.study.classes)


def _masks(study: Study, steps: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    masks = (steps > 0.5).to(torch.uint8)
    for case, length in enumerate(lengths):
        masks[case, length:] = 255
    return masks


def _boxes(study: Study, steps: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    boxes = torch.full((len(steps), steps.shape[1], study.data.max_boxes, 5), -1.0)  # type: ignore[attr-defined]
    boxes[:, 0, 0] = torch.tensor([1.0, 0.1, 0.2, 0.4, 0.5])
    return boxes


def _events(study: Study, steps: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    return torch.tensor([[float(case % 2), 0.5 + case] for case in range(len(steps))])


TARGETS: dict[str, Callable[[Study, torch.Tensor, list[int]], torch.Tensor]] = {
    "classification": _classes,
    "segmentation": _masks,
    "detection": _boxes,
    "generation": _classes,
    "risk": _events,
}
"""What a task's targets are; see docs/architecture.md."""


def table() -> list[str]:
    """The lines of the table: encoders side by side, cells that fit alike in one line."""
    families = {"monai:": "monai:*"}
    columns: dict[str, list[str]] = {}
    for encoder in get_args(Encoder):
        prefix = encoder[: encoder.find(":") + 1]
        columns.setdefault(families.get(prefix, encoder), []).append(encoder)
    reasons: list[str] = []
    lines = [
        "| Task | Sequence | Cell | " + " | ".join(f"`{name}`" for name in columns) + " |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for task, sequence in product(get_args(Task), SEQUENCES):
        rows: dict[tuple[str, ...], list[str]] = {}
        for cell in get_args(Cell):
            cells = tuple(_entry(task, sequence, cell, encoders, reasons) for encoders in columns.values())
            rows.setdefault(cells, []).append(f"`{cell}`")
        lines += [f"| {task} | {sequence} | {', '.join(c)} | {' | '.join(r)} |" for r, c in rows.items()]
    return [*lines, "", *(f"{number}. {reason}." for number, reason in enumerate(reasons, start=1))]


def _entry(task: str, sequence: str, cell: str, encoders: list[str], reasons: list[str]) -> str:
    """What stands in one place: "yes", or the number of the reason why not."""
    found = {
        Combination(task, sequence, cell, encoder)
        .refusal()
        .replace(f"encoder {encoder}", "the encoder")
        .replace(f"cell {cell}", "the cell")
        for encoder in encoders
    }
    assert len(found) == 1, f"{encoders} differ in {task}, {sequence}, {cell}: {found}"
    reason = found.pop()
    if not reason:
        return "yes"
    if reason not in reasons:
        reasons.append(reason)
    return f"no ({reasons.index(reason) + 1})"


if __name__ == "__main__":
    print("\n".join(table()))  # noqa: T201  what it is for
