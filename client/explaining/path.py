"""The way from nothing to a case, along which gradients are integrated; nothing is also what covers a part.

Nothing is 0: the mean brightness of a standardised picture; in a record the centre of each variable, not
measured. The way is straight in the steps. Of a model that reads histograms of gradients
(:mod:`common.models.hog`) it is straight in these, from those of an even picture to the case's own: no slope
passes them, and as contrast does not change them, a picture that fades in would be all there at its first
shade. Nor is the picture covered: a grey square has edges of its own, which would be counted.
"""

from __future__ import annotations

import torch

from client.explaining.evidence import Evidence, evidence_of
from common.models import SequenceModel
from common.models.hog import HogFrames, HogRows, cell_means, over_pixels
from common.models.map_model import MapModel
from common.models.maps import FrameMaps

Histograms = HogRows | HogFrames


class Path:
    """Through the steps.

    Args:
        network: In eval mode.
        start: (T, F) the baseline, on the network's device.
        end: (T, F) the case.

    Attributes:
        start: The baseline as the path runs through it.
        end: The case.
    """

    def __init__(self, network: SequenceModel, start: torch.Tensor, end: torch.Tensor) -> None:
        self.network, self.start, self.end = network, start, end

    def at(self, shares: torch.Tensor) -> torch.Tensor:
        """(N, ...) its points at N shares of the way, 1 at the case."""
        return self.start + shares.reshape(-1, *(1 for _ in self.end.shape)) * (self.end - self.start)

    def without(self, covers: torch.Tensor) -> torch.Tensor:
        """(N, ...) the case with nothing where each of N covers (N, T, F) bool lies."""
        return torch.where(covers, self.start, self.end)

    def evidence(self, points: torch.Tensor, evidence: Evidence) -> torch.Tensor:
        """(N,) log-odds at points (N, ...)."""
        return evidence_of(self.network, points, evidence)

    def over_steps(self, values: torch.Tensor) -> torch.Tensor:
        """(T, F) values that are laid out like ``end``."""
        return values


class HistogramPath(Path):
    """Through the histograms of cells: (T', cells, orientations).

    A cell's values, all orientations together, are shared evenly by its pixels. A cover takes as much of a
    cell as it lies on.

    Args:
        network: In eval mode.
        start: (T, F) the baseline, on the network's device.
        end: (T, F) the case.
        encoder: The network's.
    """

    def __init__(
        self, network: SequenceModel, start: torch.Tensor, end: torch.Tensor, encoder: Histograms
    ) -> None:
        ends, _ = encoder(torch.stack([start, end]), torch.full((2,), len(end)))
        ends = torch.unflatten(ends, 2, (-1, encoder.orientations))
        super().__init__(network, ends[0], ends[1])
        self.cell, self.steps = encoder.cell, end.shape
        self.frame = encoder.frame if isinstance(encoder, HogFrames) else (len(end), end.shape[1])

    def without(self, covers: torch.Tensor) -> torch.Tensor:
        """See :class:`Path`."""
        pixels = covers.reshape(-1, *self.frame).to(self.end.dtype)
        shares = cell_means(pixels, self.cell).reshape(len(covers), *self.end.shape[:2], 1)
        return self.end + shares * (self.start - self.end)

    def evidence(self, points: torch.Tensor, evidence: Evidence) -> torch.Tensor:
        """See :class:`Path`."""
        features = points.flatten(2)
        if isinstance(self.network.encoder, FrameMaps):
            features = self.network.encoder.laid_out(features)
        return evidence_of(self.network, features, evidence, encoded=True)

    def over_steps(self, values: torch.Tensor) -> torch.Tensor:
        """See :class:`Path`."""
        down, across = (-(-side // self.cell) for side in self.frame)
        cells = values.sum(2).reshape(-1, down, across)
        return over_pixels(cells, self.frame, self.cell).reshape(self.steps)


def path_of(network: SequenceModel, steps: torch.Tensor) -> Path:
    """The path to a case (T, F) on the network's device."""
    encoder, nothing = histograms_of(network), torch.zeros_like(steps)
    if encoder is None:
        return Path(network, nothing, steps)
    return HistogramPath(network, nothing, steps, encoder)


def histograms_of(network: SequenceModel) -> Histograms | None:
    """The encoder of a model that reads histograms of gradients; None of others."""
    if isinstance(network, MapModel):
        return None
    encoder = network.encoder.inner if isinstance(network.encoder, FrameMaps) else network.encoder
    return encoder if isinstance(encoder, Histograms) else None
