"""From ``[model]`` and ``[sequence]`` to a model; a new kind is one entry here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from common.models.cells import GRUD, ConvGRU, ConvLSTM, Recurrent, Stack
from common.models.classifier import SequenceClassifier
from common.models.detector import FrameDetector, PatchDetector
from common.models.encoders import Encoder, FrameEncoder, NoEncoder, RowEncoder
from common.models.generator import RowGenerator
from common.models.hog import HogFrames, HogRows
from common.models.map_model import MapShape
from common.models.maps import FrameMaps
from common.models.model import SequenceModel
from common.models.monai_frames import MonaiFrames
from common.models.places import PatchPlaces, Pixels, PlaceEncoder, RowPlaces
from common.models.pooling import AttentionPool, LastPool, MaxPool, MeanPool
from common.models.risk import RiskModel
from common.models.segmenter import FrameSegmenter, StripSegmenter
from common.models.unet import depth_of, grid_level
from common.private.recurrent import GRU, LSTM, RNN
from common.seeds import derive_seed
from common.study import Model, Patches, Rows, Study
from common.study.sequence import Sequence

MakeCell = Callable[[Model, int], Recurrent]
"""From ``[model]`` and the features (channels, where they are maps) that the encoder gives."""


def build_model(study: Study) -> SequenceModel:
    """The study's model with torch's default initialisation, on the CPU."""
    return HEADS[study.study.learns](study)


def _classifier(study: Study) -> SequenceClassifier:
    model, encoder = study.model, _encoder(study.model, study.sequence)
    pooling, classes = _pooling(model), len(study.study.classes)
    return SequenceClassifier(encoder, _recurrent(model, encoder.features), pooling, classes, model.dropout)


def _generator(study: Study) -> RowGenerator:
    model, width = study.model, study.sequence.frame[1]
    return RowGenerator(_recurrent(model, width), width, len(study.study.classes), model.dropout)


def _segmenter(study: Study) -> SequenceModel:
    model, sequence, classes = study.model, study.sequence, len(study.study.classes)
    if not isinstance(sequence, Rows | Patches):
        return FrameSegmenter(_map_shape(study), classes)
    places = _places(model, sequence)
    return StripSegmenter(places, _recurrent(model, places.features), classes, model.dropout)


def _detector(study: Study) -> SequenceModel:
    model, sequence, classes = study.model, study.sequence, len(study.study.classes)
    if not isinstance(sequence, Patches):
        return FrameDetector(_map_shape(study, grid_level(sequence.frame)), classes)
    encoder = _encoder(model, sequence)
    return PatchDetector(encoder, _recurrent(model, encoder.features), classes, model.dropout)


def _risk(study: Study) -> RiskModel:
    model, encoder = study.model, _encoder(study.model, study.sequence)
    return RiskModel(encoder, _recurrent(model, encoder.features), model.dropout)


HEADS: dict[str, Callable[[Study], SequenceModel]] = {
    "classification": _classifier,
    "several labels": _classifier,
    "segmentation": _segmenter,
    "detection": _detector,
    "generation": _generator,
    "risk": _risk,
}
"""By what a study learns."""


def _recurrent(model: Model, features: int) -> Recurrent:
    return CELLS[model.cell](model, features)


def _torch(kind: Callable[..., nn.RNNBase]) -> MakeCell:
    """torch's own stack of a kind, or a :class:`Stack` where the study wants more of it than torch has."""

    def make(model: Model, features: int) -> Recurrent:
        options: dict[str, Any] = {"bidirectional": model.bidirectional, "dropout": _between(model)}
        if model.residual or model.layer_norm:
            options |= {"residual": model.residual, "layer_norm": model.layer_norm}
            return Stack(kind, features, model.hidden, model.layers, **options)
        return kind(features, model.hidden, model.layers, batch_first=True, **options)

    return make


def _convolutional(kind: type[ConvGRU] | type[ConvLSTM]) -> MakeCell:
    def make(model: Model, features: int) -> Recurrent:
        both, dropout = model.bidirectional, _between(model)
        return kind(features, model.hidden, model.layers, bidirectional=both, dropout=dropout)

    return make


def _gru_d(model: Model, features: int) -> Recurrent:
    return GRUD(features // 3, model.hidden)


def _between(model: Model) -> float:
    """Dropout between layers only, as torch means it; with one layer torch would warn."""
    return model.dropout if model.layers > 1 else 0.0


CELLS: dict[str, MakeCell] = {
    "gru": _torch(GRU),
    "lstm": _torch(LSTM),
    "rnn": _torch(RNN),
    "gru_d": _gru_d,
    "conv_gru": _convolutional(ConvGRU),
    "conv_lstm": _convolutional(ConvLSTM),
}
"""By the study's ``[model] cell``."""


def initial_weights(study: Study, seed: int) -> dict[str, NDArray[Any]]:
    """The weights every site starts from: a function of study and seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "initial-weights"))
        # The model itself is let go of, so its weights need no second copy.
        return {name: tensor.numpy() for name, tensor in build_model(study).state_dict().items()}


def _encoder(model: Model, sequence: Sequence) -> Encoder:
    """The encoder, which gives maps where the cell wants maps."""
    if model.from_monai:
        name = model.encoder.removeprefix("monai:")
        return MonaiFrames(sequence.frame, name, maps=model.over_maps)
    flat = _flat(model, sequence)
    if not model.over_maps:
        return flat
    match flat:
        case HogRows() | HogFrames():
            height, width = (-(-side // flat.cell) for side in sequence.frame)
            return FrameMaps(flat, (flat.orientations, height, width), channels_last=True)
        case RowEncoder() | FrameEncoder():
            return FrameMaps(flat, flat.map)
        case _:
            return FrameMaps(flat, (1, *sequence.frame))


def _flat(model: Model, sequence: Sequence) -> Encoder:
    height, width = sequence.frame
    if model.encoder == "none":
        return NoEncoder(height * width)
    if isinstance(sequence, Rows):
        return HogRows(width) if model.encoder == "hog" else RowEncoder(width)
    return HogFrames(sequence.frame) if model.encoder == "hog" else FrameEncoder(sequence.frame)


def fixed_encoder(study: Study) -> HogRows | HogFrames | None:
    """The encoder of a study's model if it learns nothing, so that its features can be made once; else None.

    Only where all sequences are as long: a sum over the padding of a batch may be rounded in another way, and
    a case's features are to be the same bits whoever stands beside it.
    """
    if study.study.learns not in ("classification", "several labels") or study.model.over_maps:
        return None
    if study.model.encoder != "hog" or not isinstance(study.sequence, Rows | Patches):
        return None
    encoder = _flat(study.model, study.sequence)
    assert isinstance(encoder, HogRows | HogFrames)  # noqa: S101  as the study's table has it
    return encoder


def _places(model: Model, sequence: Rows | Patches) -> PlaceEncoder:
    if model.encoder == "none":
        return Pixels(sequence.frame)
    return RowPlaces(sequence.size) if isinstance(sequence, Rows) else PatchPlaces(sequence.frame)


def _map_shape(study: Study, finest: int = 0) -> MapShape:
    model, frame = study.model, study.sequence.frame
    return MapShape(
        frame=frame,
        depth=0 if model.encoder == "none" else depth_of(frame),
        cell=model.cell,
        hidden=model.hidden,
        layers=model.layers,
        bidirectional=model.bidirectional,
        dropout=model.dropout,
        finest=finest,
    )


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
