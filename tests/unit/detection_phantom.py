"""Clips with known boxes: rings that drift over noise, among discs that do not count."""

from __future__ import annotations

import torch

from common.sequences import SequenceBatch


def ring_clips(cases: int, seed: int, size: int = 32, frames: int = 4, noise: float = 2.0) -> SequenceBatch:
    """``cases`` clips of ``frames`` frames, each with one ring (class 0) and one disc (no class)."""
    random = torch.Generator().manual_seed(seed)
    places = torch.arange(size, dtype=torch.float32)
    pictures = noise * torch.randn(cases, frames, size, size, generator=random)
    targets = torch.full((cases, frames, 2, 5), -1.0)
    for case in range(cases):
        radius = 3 + 2 * torch.rand(2, generator=random)
        start = 8 + (size - 16) * torch.rand(2, 2, generator=random)
        drift = 2 * torch.rand(2, 2, generator=random) - 1
        for frame in range(frames):
            ring, disc = (start + frame * drift).clamp(6, size - 6)
            away = [((places[:, None] - y) ** 2 + (places[None] - x) ** 2).sqrt() for y, x in (disc, ring)]
            pictures[case, frame] += 1.5 * (away[0] < radius[1]) + 2.0 * ((away[1] - radius[0]).abs() < 1)
            box = [*(ring - radius[0] - 1), *(ring + radius[0] + 1)]
            targets[case, frame, 0] = torch.tensor([0.0, *(float(side) / size for side in box)])
    lengths = torch.full((cases,), frames)
    return SequenceBatch(pictures.flatten(2), lengths, targets)
