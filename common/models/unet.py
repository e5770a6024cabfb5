"""Two halves of a U-Net (Ronneberger et al. 2015): down to a small map of many channels, and up again.

Each channel of a picture is normalised by itself (instance normalisation, Ulyanov et al. 2016, as in nnU-Net,
Isensee et al. 2021): what comes out for a picture depends on no other one, so sites need not agree about
statistics and a case's gradient is its own. It is written as group normalisation with a group for each
channel, since private training knows that layer. Pictures may have any size: on the way down an odd side is
rounded up, on the way up a map takes the size of the one that it is joined with.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import interpolate

FINEST = 16
FAINT = 0.01
"""Added to a channel's variance. Torch's 1e-5 would make 300 times as large what rounding, or eight bits,
leave of an empty channel; and a picture that fades in would be all there at a thousandth of its contrast,
where no integral finds it (:mod:`client.explaining.gradients`)."""


def widths_of(channels: int, depth: int) -> tuple[int, ...]:
    """Channels of each level from the finest down: 16, doubled at each, and at most ``channels``."""
    return tuple(min(FINEST << level, channels) for level in range(depth + 1))


def depth_of(frame: tuple[int, int]) -> int:
    """How often a picture is halved: until a side has 8 pixels, and from the third time on 16."""
    depth, side = 0, min(frame)
    while side > (8 if depth < 3 else 16):
        depth, side = depth + 1, -(-side // 2)
    return depth


def grid_level(frame: tuple[int, int]) -> int:
    """The level whose places are a detection's cells: four pixels wide, where pictures are large enough."""
    return min(2, depth_of(frame))


class Convolutions(nn.Sequential):
    """Two convolutions of 3 x 3; the first may halve the picture."""

    def __init__(self, before: int, channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, channels, 3, stride=stride, padding=1),
            nn.GroupNorm(channels, channels, FAINT),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(channels, channels, FAINT),
            nn.ReLU(),
        )


class Contracting(nn.Module):
    """The way down. Without any widths a picture stays as it is."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        before = (1, *widths)
        self.levels = nn.ModuleList(
            Convolutions(before[level], width, 2 if level else 1) for level, width in enumerate(widths)
        )
        self.features = before[-1]

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """(R, 1, H, W) to the map of each level, (R, widths[i], ceil(H / 2^i), ceil(W / 2^i))."""
        maps = []
        for level in self.levels:
            pictures = level(pictures)
            maps.append(pictures)
        return maps or [pictures]


class Expanding(nn.Module):
    """The way up, from the deepest map to that of level ``finest``."""

    def __init__(self, deepest: int, widths: Sequence[int], finest: int = 0) -> None:
        super().__init__()
        upwards = [*reversed(widths[finest:-1])]
        before = (deepest, *upwards)
        self.levels = nn.ModuleList(
            Convolutions(before[level] + width, width) for level, width in enumerate(upwards)
        )
        self.features = before[-1]

    def forward(self, deepest: torch.Tensor, skips: Sequence[torch.Tensor]) -> torch.Tensor:
        """(R, features, h, w).

        Args:
            deepest: (R, C, h', w').
            skips: Maps of the levels that are passed, the finest first.
        """
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            larger = interpolate(deepest, size=skip.shape[2:], mode="nearest")
            deepest = level(torch.cat([larger, skip], dim=1))
        return deepest
