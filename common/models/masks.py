"""Masks of padded sequences."""

from __future__ import annotations

import torch


def time_mask(lengths: torch.Tensor, steps: int, device: torch.device) -> torch.Tensor:
    """(B, steps) bool, true where a step belongs to its case and is not padding."""
    return torch.arange(steps, device=device)[None, :] < lengths.to(device)[:, None]


def all_full(lengths: torch.Tensor, steps: int) -> bool:
    """Whether no case is padded; ``lengths`` is on the CPU, so asking costs no synchronisation."""
    return bool((lengths == steps).all())
