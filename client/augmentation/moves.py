"""How the pictures of a batch are moved: one affine map for each case, whatever it has of steps.

A map leads from a place in the new picture to the place in the old one that is seen there, in coordinates
from -1 to 1 over the side, x first:

    old = (w / s) R(angle) diag(flips) new + shift + place of the crop

with w the share of the side that a crop leaves, and s the scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, grid_sample

from common.study import Augmentation

DRAWN = 11
"""Uniform numbers for each case, drawn whatever the study asks for: an option more changes no other's."""


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """What chance says of each case of a batch.

    Attributes:
        uniform: (B, DRAWN) float32 in [0, 1), on the CPU.
    """

    uniform: torch.Tensor

    @classmethod
    def of(cls, cases: int, seed: int) -> Draws:
        """Those of a seed; the same on every device."""
        return cls(torch.rand(cases, DRAWN, generator=torch.Generator().manual_seed(seed)))

    def maps(self, augmentation: Augmentation) -> torch.Tensor:
        """(B, 2, 3) float32: the map of each case."""
        either = 2 * self.uniform - 1  # either way
        angle = math.radians(augmentation.rotate_deg) * either[:, 2]
        kept = 1 - augmentation.crop * self.uniform[:, 4]
        zoom = kept * torch.exp(-math.log1p(augmentation.scale) * either[:, 3])
        across = zoom * _flips(self.uniform[:, 7], augmentation.flip in ("horizontal", "both"))
        down = zoom * _flips(self.uniform[:, 8], augmentation.flip in ("vertical", "both"))
        x, y = (2 * augmentation.shift * either[:, i] + (1 - kept) * either[:, 5 + i] for i in (0, 1))
        cosine, sine = angle.cos(), angle.sin()
        rows = (across * cosine, -down * sine, x, across * sine, down * cosine, y)
        return torch.stack(rows, dim=1).reshape(-1, 2, 3)

    def shades(self, augmentation: Augmentation) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) what is added to each case, and (B,) by what its differences are multiplied."""
        either = 2 * self.uniform - 1
        return augmentation.brightness * either[:, 9], 1 + augmentation.contrast * either[:, 10]


def moved(pictures: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Pictures at their new places, (B, T, H, W) float32 as they came.

    Between pixels it is linear. What comes from beside a picture is as dark as the darkest pixel of its case.

    Args:
        pictures: (B, T, H, W) float32.
        maps: (B, 2, 3) float32 on their device.
    """
    darkest = pictures.amin(dim=(1, 2, 3), keepdim=True)
    return grid_sample(pictures - darkest, _places(pictures, maps), align_corners=False) + darkest


def moved_masks(masks: torch.Tensor, maps: torch.Tensor, beside: int) -> torch.Tensor:
    """Masks at their new places, (B, T, H, W) uint8; each pixel has the class of the nearest old one.

    Args:
        masks: (B, T, H, W) uint8.
        maps: (B, 2, 3) float32 on their device.
        beside: What comes from beside a picture.
    """
    shifted = masks.to(torch.float32) - beside  # grid_sample puts 0 beside; small whole numbers stay exact
    seen = grid_sample(shifted, _places(masks, maps), mode="nearest", align_corners=False)
    return (seen + beside).to(torch.uint8)


def _places(pictures: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 2): where each new pixel is seen in the old picture."""
    size = [len(pictures), 1, *pictures.shape[-2:]]
    return affine_grid(maps, size, align_corners=False)


def _flips(uniform: torch.Tensor, allowed: bool) -> torch.Tensor:
    """-1 in half of the cases where it is allowed, else 1."""
    return torch.where((uniform < 0.5) & allowed, -1.0, 1.0)
