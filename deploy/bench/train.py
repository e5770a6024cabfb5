"""How fast a site trains beside a bare PyTorch loop with the same model and data, on one thread of the CPU.

The rival is what one writes in ten lines: torch's own layers, tensors in memory, a shuffled pass, Adam; no
padding, checkpoints, digests or checks. Both make the same passes in turn; the ratio is the median over the
turns, so that a machine which is slower for a while is so for both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from client.trainer import LocalPlan, train
from common.models import build_model
from common.sequences import SequenceBatch
from common.study import Study, parse_study
from deploy.bench.bench import Figure, Results
from deploy.bench.one_thread import one_thread

TURNS, CASES, SIDE = 15, 256, 64


@dataclass(frozen=True, slots=True)
class Shape:
    """What is trained: an encoder and a cell over rows of 64 pixels."""

    name: str
    encoder: str
    cell: str
    hidden: int

    @property
    def study(self) -> Study:
        """As a study file says it."""
        return parse_study(
            {
                "study": {"name": "bench-train", "labels": {"0": "without", "1": "with"}},
                "sequence": {"kind": "rows", "size": SIDE},
                "model": {"encoder": self.encoder, "cell": self.cell, "hidden": self.hidden},
            }
        )


SHAPES = (
    Shape("gru", "none", "gru", 128),
    Shape("lstm", "none", "lstm", 128),
    Shape("cnn_gru", "cnn", "gru", 64),
)


class BareModel(nn.Module):
    """The same layers as the study's model, as torch has them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.encoder = _convolutions() if shape.encoder == "cnn" else None
        features = 16 * SIDE // 4 if shape.encoder == "cnn" else SIDE
        self.recurrent = {"gru": nn.GRU, "lstm": nn.LSTM}[shape.cell](
            features, shape.hidden, batch_first=True
        )
        self.head = nn.Linear(shape.hidden, 2)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, rows, columns) to (B, 2) logits."""
        if self.encoder is not None:
            pictures = self.encoder(pictures.unsqueeze(1)).permute(0, 2, 1, 3).flatten(2)
        logits: torch.Tensor = self.head(self.recurrent(pictures)[0].mean(dim=1))
        return logits


def _convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.GroupNorm(4, 8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
    )


def measure() -> Results:
    """``ratio_to_bare_torch``, the least of all shapes, and each one's cases in a second."""
    with one_thread():
        found = {shape: _turns(shape) for shape in SHAPES}
    least = min(_ratio(turns) for turns in found.values())
    return Results((Figure("ratio_to_bare_torch", least, "x", 0.95, at_least=True), *_rows(found)))


Turns = list[tuple[float, float]]
"""Seconds of a pass of ours and of the bare loop."""


def _ratio(turns: Turns) -> float:
    return statistics.median(bare / ours for ours, bare in turns)


def _rows(found: dict[Shape, Turns]) -> Iterator[Figure]:
    for shape, turns in found.items():
        ours, bare = (CASES / statistics.median(seconds) for seconds in zip(*turns, strict=True))
        yield Figure(f"ratio_{shape.name}", _ratio(turns), "x")
        yield Figure(f"cases_{shape.name}", ours, "1/s")
        yield Figure(f"bare_cases_{shape.name}", bare, "1/s")


def _turns(shape: Shape) -> Turns:
    """What each turn took."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(CASES, SIDE, SIDE, generator=generator)
    labels = torch.randint(2, (CASES,), generator=generator)
    cases = SequenceBatch(pictures, torch.full((CASES,), SIDE), labels)
    ways = (_ours(shape.study, cases), _bare(shape, pictures, labels))
    turns = []
    for _ in range(TURNS + 1):
        ours, bare = map(_seconds, ways)
        turns.append((ours, bare))
    return turns[1:]  # the first is slower


def _seconds(way: Callable[[], None]) -> float:
    began = time.process_time()
    way()
    return time.process_time() - began


def _ours(study: Study, cases: SequenceBatch) -> Callable[[], None]:
    model = build_model(study)

    def one_pass() -> None:
        train(model, cases, LocalPlan.of(study, 0.0, 0))

    return one_pass


def _bare(shape: Shape, pictures: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    model, training = BareModel(shape), shape.study.training

    def one_pass() -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
        for index in torch.split(torch.randperm(len(labels)), training.batch_size):
            loss = cross_entropy(model(pictures[index]), labels[index])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    return one_pass
