"""How the updates of a round become one change of the model."""

from server.strategies.flower import build_strategy
from server.strategies.protocol import ClientTerms, Strategy
from server.strategies.staleness import weight_of

__all__ = ["ClientTerms", "Strategy", "build_strategy", "weight_of"]
