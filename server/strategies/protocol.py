"""What a strategy is to the round engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.update import Contribution
from common.weights import Weights


@dataclass(frozen=True, slots=True)
class ClientTerms:
    """What a strategy asks of the sites' training.

    Attributes:
        proximal_mu: Weight of FedProx's term in the sites' loss.
        base_loss: The base model's loss on each site's training cases is needed.
    """

    proximal_mu: float = 0.0
    base_loss: bool = False


class Strategy(Protocol):
    """Combines updates; may remember earlier rounds (momentum), never sites or weights."""

    @property
    def terms(self) -> ClientTerms:
        """What the sites must do for it."""
        ...

    def combine(self, round_number: int, contributions: Sequence[Contribution]) -> Weights:
        """The change of the model that the contributions make together, in float64; perhaps lazily.

        Args:
            round_number: Absolute, from 1.
            contributions: In site order, all against the same base; at least one.

        Raises:
            NothingLearned: There are too few for this strategy.
        """
        ...

    def memory(self) -> Weights:
        """What it remembers of the rounds so far; empty for nothing."""
        ...

    def remember(self, memory: Weights) -> None:
        """Go on from what :meth:`memory` of another process gave."""
        ...
