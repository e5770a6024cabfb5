"""From ``[model]`` and ``[sequence]`` to a model; a new kind is one entry here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from common.models.classifier import SequenceClassifier
from common.models.encoders import Encoder, FrameEncoder, NoEncoder, RowEncoder
from common.models.hog import HogFrames, HogRows
from common.models.model import SequenceModel
from common.models.pooling import AttentionPool, LastPool, MaxPool, MeanPool
from common.private.recurrent import GRU, LSTM, RNN
from common.seeds import derive_seed
from common.study import Model, Rows, Study
from common.study.sequence import Sequence

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"gru": GRU, "lstm": LSTM, "rnn": RNN}


def build_model(study: Study) -> SequenceModel:
    """The study's model with torch's default initialisation, on the CPU."""
    return HEADS[study.study.task](study)


def _classifier(study: Study) -> SequenceClassifier:
    model, encoder = study.model, _encoder(study.model, study.sequence)
    pooling, classes = _pooling(model), len(study.study.classes)
    return SequenceClassifier(encoder, _recurrent(model, encoder.features), pooling, classes, model.dropout)


HEADS: dict[str, Callable[[Study], SequenceModel]] = {"classification": _classifier}
"""By the task of a study."""


def _recurrent(model: Model, features: int) -> nn.RNNBase:
    return CELLS[model.cell](
        input_size=features,
        hidden_size=model.hidden,
        num_layers=model.layers,
        batch_first=True,
        # Between layers only, as torch means it; with one layer torch would warn.
        dropout=model.dropout if model.layers > 1 else 0.0,
        bidirectional=model.bidirectional,
    )


def initial_weights(study: Study, seed: int) -> dict[str, NDArray[Any]]:
    """The weights every site starts from: a function of study and seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "initial-weights"))
        # The model itself is let go of, so its weights need no second copy.
        return {name: tensor.numpy() for name, tensor in build_model(study).state_dict().items()}


def _encoder(model: Model, sequence: Sequence) -> Encoder:
    height, width = sequence.frame
    if model.encoder == "none":
        return NoEncoder(height * width)
    if isinstance(sequence, Rows):
        return HogRows(width) if model.encoder == "hog" else RowEncoder(width)
    return HogFrames(sequence.frame) if model.encoder == "hog" else FrameEncoder(sequence.frame)


def _pooling(model: Model) -> nn.Module:
    directions = 2 if model.bidirectional else 1
    match model.pooling:
        case "last":
            return LastPool(model.hidden, directions)
        case "mean":
            return MeanPool()
        case "max":
            return MaxPool()
        case "attention":
            return AttentionPool(model.hidden * directions)
