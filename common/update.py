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
        cases: Training cases behind it, or patients in private training: its weight in a mean.
        loss: Mean training loss over the local steps, in nats; None from private training, since no noise
            is on it.
        base_loss: Mean loss of the base model on the training cases, where the strategy asks for it.
        epsilon: What this study has cost the site's units so far, this update included; None without privacy.
        target_delta: The delta that ``epsilon`` is for.
        clip_norm: At which the site clips from now on, where it is adapted (a value under the same noise).
        ledger_head: Last entry of the site's ledger, as ``number:digest``: the coordinator remembers it for
            the site, so that a ledger put back from an old copy is noticed.
        steps: Training steps that were made, where the study says how long to train and not how far.
    """

    site: str
    round: int
    base_digest: str
    delta: Weights
    cases: int
    loss: float | None = None
    base_loss: float | None = None
    epsilon: float | None = None
    target_delta: float | None = None
    clip_norm: float | None = None
    ledger_head: str | None = None
    steps: int | None = None
