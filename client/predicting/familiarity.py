"""How far a case looks like those that a model was trained on, from its logits alone.

A distance to the training cases would need figures about them, which never leave their hospitals. What needs
none: the energy of the logits z, -T log sum exp(z / T) (Liu et al. 2020), and the largest probability
(Hendrycks and Gimpel 2017). Both only see what moves the logits: a picture of something else may well be
called with confidence. docs/predict.md says how well they told other pictures apart when measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How a case stands to those that were trained on.

    Attributes:
        energy: The higher, the less like them; to be compared between cases of one model only.
        confidence: The largest probability.
        remarks: What is unusual about the input itself, as codes.
    """

    energy: float
    confidence: float
    remarks: tuple[str, ...] = ()


def energies(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """(B,) of logits (B, C)."""
    return -temperature * torch.logsumexp(logits.float() / temperature, dim=-1)
