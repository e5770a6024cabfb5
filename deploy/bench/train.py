"""How fast a site trains beside a bare PyTorch loop with the same model and data, on one thread of the CPU.

The rival is what one writes in ten lines: torch's own layers, tensors in memory, a shuffled pass, Adam; no
padding, checkpoints, digests or checks. Both make the same passes in turn, and medians are compared.
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
        rates = {shape: _rates(shape) for shape in SHAPES}
    least = min(ours / bare for ours, bare in rates.values())
    return Results((Figure("ratio_to_bare_torch", least, "x", 0.95, at_least=True), *_rows(rates)))


def _rows(rates: dict[Shape, tuple[float, float]]) -> Iterator[Figure]:
    for shape, (ours, bare) in rates.items():
        yield Figure(f"ratio_{shape.name}", ours / bare, "x")
        yield Figure(f"cases_{shape.name}", ours, "1/s")
        yield Figure(f"bare_cases_{shape.name}", bare, "1/s")


def _rates(shape: Shape) -> tuple[float, float]:
    """Cases in a second of our training and of the bare loop."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(CASES, SIDE, SIDE, generator=generator)
    labels = torch.randint(2, (CASES,), generator=generator)
    cases = SequenceBatch(pictures, torch.full((CASES,), SIDE), labels)
    ways = (_ours(shape.study, cases), _bare(shape, pictures, labels))
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(TURNS + 1):
        for way, seconds in zip(ways, taken, strict=True):
            began = time.process_time()
            way()
            if turn:  # the first is slower
                seconds.append(time.process_time() - began)
    ours, bare = (CASES / statistics.median(seconds) for seconds in taken)
    return ours, bare


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
