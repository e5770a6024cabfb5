"""Recurrent image models whose weights keep plain torch names."""

from common.models.build import build_model, fixed_encoder, initial_weights
from common.models.classifier import SequenceClassifier
from common.models.encoders import Encoder
from common.models.generator import RowGenerator
from common.models.model import SequenceModel
from common.models.risk import RiskModel
from common.models.state import load_state, state_of

__all__ = [
    "Encoder",
    "RiskModel",
    "RowGenerator",
    "SequenceClassifier",
    "SequenceModel",
    "build_model",
    "fixed_encoder",
    "initial_weights",
    "load_state",
    "state_of",
]
