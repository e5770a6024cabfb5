"""What a site gives to a round: the change of the weights against a base model named by digest."""

from __future__ import annotations

from dataclasses import dataclass

from common.weights import Weights


@dataclass(frozen=True, slots=True, eq=False)
class Contribution:
    """An update with its weight and where it came from.

    Attributes:
        site: Name of the site.
        round: The round it was trained for.
        base_digest: Digest of the weights it starts from.
        delta: New weights minus base, in the base's shapes and dtypes.
        cases: Training cases behind it: its weight in a mean.
        loss: Mean training loss over the local steps, in nats.
        base_loss: Mean loss of the base model on the training cases, where the strategy asks for it.
    """

    site: str
    round: int
    base_digest: str
    delta: Weights
    cases: int
    loss: float
    base_loss: float | None = None
