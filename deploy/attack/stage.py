"""One place at which a canary is looked for: a state of the model, and the units that share its step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from deploy.attack.bounds import Errors, mu_of_errors

Released = Callable[[], torch.Tensor]
"""(P,) a release of the private engine, with noise drawn anew each time."""

_THRESHOLDS = 9
"""Thresholds that are tried: quantiles of what was seen, from the 10th to the 90th percentile. Among more
of them the best would oftener be so by luck."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Releases with and without a canary, and where to look for it.

    Attributes:
        name: Of state and company, for the report.
        present: A release of a step that the canary is in.
        without: A release of the same step without it.
        direction: (P,) the canary's own gradient, found without the engine and scaled to length 1.
        reach: Length of that gradient in clip norms; 1 and above are clipped.
    """

    name: str
    present: Released
    without: Released
    direction: torch.Tensor
    reach: float

    def observe(self, number: int) -> Observations:
        """That many releases of either kind, each seen along the canary's direction."""
        return Observations(self._seen(self.present, number), self._seen(self.without, number))

    def _seen(self, released: Released, number: int) -> torch.Tensor:
        return torch.stack([released() @ self.direction for _ in range(number)]).cpu()


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """What was seen along a canary's direction: (n,) with it and (n,) without it."""

    present: torch.Tensor
    without: torch.Tensor

    def errors(self, threshold: float) -> Errors:
        """How often calling "with it" from the threshold on is wrong."""
        return Errors(
            false_alarms=int((self.without >= threshold).sum()),
            without=len(self.without),
            misses=int((self.present < threshold).sum()),
            present=len(self.present),
        )

    def best_threshold(self, confidence: float) -> tuple[float, float]:
        """The threshold that shows the largest mu here, and that mu.

        What it shows on these observations is too good to be a bound, since it was chosen on them; on others
        it is one.
        """
        seen = torch.cat([self.present, self.without])
        tried = torch.quantile(seen, torch.linspace(0.1, 0.9, _THRESHOLDS, dtype=seen.dtype)).tolist()
        shown = [mu_of_errors(self.errors(threshold), confidence) for threshold in tried]
        best = max(range(len(tried)), key=lambda number: shown[number])
        return tried[best], shown[best]
