"""One step of training, three ways, for the shapes at which private training is measured.

Each way has a model of its own with the same weights, and the same optimiser: plain training with torch's
layers, private training with ours, and private training with Opacus' layers and hooks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from opacus import GradSampleModule
from opacus.layers import DPGRU, DPLSTM
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.nn.functional import cross_entropy

from common.models.classifier import SequenceClassifier
from common.models.encoders import Encoder, FrameEncoder, NoEncoder
from common.models.pooling import MeanPool
from common.private.bookkeeping import Bookkeeper
from common.private.noise import NoisyOptimizer
from common.private.recurrent import GRU, LSTM
from common.private.secret import Secret

CLASSES, CLIP_NORM, NOISE_MULTIPLIER, LEARNING_RATE = 2, 1.0, 1.0, 0.1

Cell = Literal["gru", "lstm"]
LAYERS: dict[str, dict[Cell, Callable[..., nn.RNNBase]]] = {
    "plain": {"gru": nn.GRU, "lstm": nn.LSTM},
    "private": {"gru": GRU, "lstm": LSTM},
    "opacus": {"gru": DPGRU, "lstm": DPLSTM},
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One row of the table.

    Attributes:
        cell: Of the recurrent stack.
        steps: T.
        features: D, or the side of a square frame where there is an encoder.
        hidden: H.
        batch: B.
        layers: Of the recurrent stack.
        encoder: Whether three small convolutions come before, without or with group normalisation.
    """

    cell: Cell
    steps: int
    features: int
    hidden: int
    batch: int
    layers: int = 1
    encoder: Literal["none", "cnn", "cnn_groupnorm"] = "none"

    @property
    def name(self) -> str:
        """As in the table."""
        if self.encoder != "none":
            return self.encoder.replace("cnn", f"cnn_{self.cell}")
        deep = f"_L{self.layers}" if self.layers > 1 else ""
        return f"{self.cell}_T{self.steps}_D{self.features}_H{self.hidden}{deep}_B{self.batch}"


SHAPES = (
    Shape("gru", 28, 64, 64, 32),
    Shape("gru", 64, 64, 128, 64),
    Shape("gru", 64, 128, 128, 32, layers=2),
    Shape("gru", 28, 128, 256, 128),
    Shape("gru", 128, 128, 256, 32),
    Shape("lstm", 64, 64, 128, 64),
    Shape("lstm", 28, 128, 256, 128),
    Shape("gru", 16, 16, 128, 32, encoder="cnn"),
    Shape("gru", 16, 16, 128, 32, encoder="cnn_groupnorm"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one step trains on.

    Attributes:
        steps: (B, T, F) float32.
        lengths: (B,) int64 on the CPU, all of them T.
        labels: (B,) int64.
    """

    steps: torch.Tensor
    lengths: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, shape: Shape, device: torch.device) -> Batch:
        """Noise in the shape."""
        width = shape.features if shape.encoder == "none" else shape.features**2
        steps = torch.randn(shape.batch, shape.steps, width, device=device)
        lengths = torch.full((shape.batch,), shape.steps)
        return cls(steps, lengths, torch.randint(CLASSES, (shape.batch,), device=device))


def step_of(way: str, shape: Shape, device: torch.device) -> Callable[[], None]:
    """A function that trains for one step: forward, backward, optimiser.

    Args:
        way: ``plain``, ``private`` or ``opacus``.
        shape: Of model and batch.
        device: Where to.
    """
    torch.manual_seed(0)
    batch = Batch.of(shape, device)
    model = _model(LAYERS[way][shape.cell], shape).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    return {"plain": _plain, "private": _private, "opacus": _opacus}[way](model, optimizer, batch)


def _plain(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> Callable[[], None]:
    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(model(batch.steps, batch.lengths), batch.labels))
        optimizer.step()

    return step


def _private(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> Callable[[], None]:
    count = len(batch.labels)
    units, bookkeeper = torch.arange(count), Bookkeeper(model)
    noisy = NoisyOptimizer(
        optimizer,
        noise_multiplier=NOISE_MULTIPLIER,
        clip_norm=CLIP_NORM,
        expected_units=count,
        secret=Secret.fresh(),
        device=batch.steps.device,
        secure=False,
    )

    def losses() -> torch.Tensor:
        return cross_entropy(model(batch.steps, batch.lengths), batch.labels, reduction="none")

    def step() -> None:
        noisy.zero_grad(set_to_none=True)
        bookkeeper.clipped_sum(losses, units, count, CLIP_NORM)
        noisy.step()

    return step


def _opacus(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> Callable[[], None]:
    hooked = GradSampleModule(model)
    noisy = DPOptimizer(
        optimizer,
        noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=len(batch.labels),
    )

    def step() -> None:
        noisy.zero_grad(set_to_none=True)
        with warnings.catch_warnings(action="ignore"):  # the first layer's input has no gradient
            torch.autograd.backward(cross_entropy(hooked(batch.steps, batch.lengths), batch.labels))
        noisy.step()

    return step


def _model(layer: Callable[..., nn.RNNBase], shape: Shape) -> nn.Module:
    encoder: Encoder = NoEncoder(shape.features)
    if shape.encoder != "none":
        encoder = FrameEncoder((shape.features, shape.features))
        if shape.encoder == "cnn":
            kept = (part for part in encoder.layers if not isinstance(part, nn.GroupNorm))
            encoder.layers = nn.Sequential(*kept)
    recurrent = layer(encoder.features, shape.hidden, shape.layers, batch_first=True)
    return SequenceClassifier(encoder, recurrent, MeanPool(), CLASSES, dropout=0.0)
