"""From logits to probabilities that mean what they say, and from those to a decision.

Two forms, as a run fits them:

    softmax   softmax(logits / temperature + bias); Guo et al. 2017, eq. 9, with a bias for each class
    classes   with s the softmax: sigmoid(logit(s) / temperature + bias), divided by their sum (Zadrozny and
              Elkan 2002)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

Form = Literal["softmax", "classes"]
SMALLEST = 1e-9


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a model's logits are to be read. Without any it is the plain softmax, and 0.5.

    Attributes:
        temperature: Above 0.
        bias: For each class; empty for none.
        threshold: With two classes, the probability from which on the second is called; of more the most
            probable is called.
        fitted: Whether the run fitted it.
        form: See above.
    """

    temperature: float = 1.0
    bias: tuple[float, ...] = ()
    threshold: float = 0.5
    fitted: bool = False
    form: Form = "softmax"

    @classmethod
    def of(cls, document: Mapping[str, Any] | None, classes: int) -> Calibration:
        """What a run wrote down; each of its numbers may be absent.

        Raises:
            ValueError: The form is not known, a number is out of bounds, or there is not one bias a class.
        """
        if not document:
            return cls()
        temperature, bias = document.get("temperature"), document.get("bias")
        threshold, form = document.get("threshold"), document.get("form", "softmax")
        found = cls(
            temperature=1.0 if temperature is None else float(temperature),
            bias=() if bias is None else tuple(float(value) for value in bias),
            threshold=0.5 if threshold is None else float(threshold),
            fitted=bool(document.get("fitted", True)),
            form=form,
        )
        found._check(classes)
        return found

    def _check(self, classes: int) -> None:
        if self.form not in ("softmax", "classes"):
            raise ValueError(f"calibration of form {self.form!r}")
        if not (self.temperature > 0 and math.isfinite(self.temperature)) or not 0 <= self.threshold <= 1:
            raise ValueError(f"temperature {self.temperature}, threshold {self.threshold}")
        if self.bias and (len(self.bias) != classes or not all(map(math.isfinite, self.bias))):
            raise ValueError(f"{len(self.bias)} biases for {classes} classes")

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., C) of logits (..., C)."""
        bias = torch.tensor(self.bias) if self.bias else torch.zeros(logits.shape[-1])
        bias = bias.to(logits.device)
        if self.form == "softmax":
            return (logits.float() / self.temperature + bias).softmax(-1)
        odds = logits.float().softmax(-1).double().clamp(SMALLEST, 1 - SMALLEST).logit()
        each = (odds / self.temperature + bias).sigmoid()
        return (each / each.sum(-1, keepdim=True)).float()

    def decide(self, probabilities: torch.Tensor) -> torch.Tensor:
        """(...) int64, the class that is called."""
        if probabilities.shape[-1] == 2:
            return (probabilities[..., 1] >= self.threshold).long()
        return probabilities.argmax(-1)

    def to_json(self) -> dict[str, Any]:
        """As it is written beside predictions."""
        return {
            "fitted": self.fitted,
            "form": self.form,
            "temperature": self.temperature,
            "bias": list(self.bias),
            "threshold": self.threshold,
        }
