"""Recurrent cells that torch does not have, and stacks of those that it has."""

from torch import nn

from common.models.cells.convolutional import ConvGRU, ConvLSTM
from common.models.cells.gru_d import GRUD
from common.models.cells.stack import Stack, run

OfLengths = ConvGRU | ConvLSTM | GRUD | Stack
"""Those that take features and lengths, and say their ``features``."""

Recurrent = nn.RNNBase | OfLengths
"""What may stand behind an encoder."""

__all__ = ["GRUD", "ConvGRU", "ConvLSTM", "OfLengths", "Recurrent", "Stack", "run"]
