"""How the updates of a round become one change of the model."""

from server.strategies.flower import build_strategy
from server.strategies.protocol import ClientTerms, Strategy

__all__ = ["ClientTerms", "Strategy", "build_strategy"]
