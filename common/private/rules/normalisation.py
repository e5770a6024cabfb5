"""Normalisation within a record: each feature's scale and shift get its gradients, summed over places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import group_norm, layer_norm

from common.private.clipping.parts import Kept, Part, Scratch
from common.private.clipping.rows import Rows
from common.private.diagonal import Diagonal


@dataclass(slots=True, eq=False)
class Scaling:
    """A use of ``weight`` and ``bias`` in ``weight * normal + bias``; see :class:`~common.private.tape.Use`.

    Attributes:
        weight: Of P values, or None.
        bias: Of P values, or None.
        inputs: What ``normal`` is a function of, row by row.
        normalise: That function, which is cheaper than holding ``normal`` until the backward pass.
        features_first: Whether ``normal`` is (R, P, ...) and not (R, ..., P).
        output: Of the shape of ``normal``.
        gradient: The same.
        owner: See :class:`~common.private.tape.Use`.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    inputs: torch.Tensor
    normalise: Callable[[torch.Tensor], torch.Tensor]
    features_first: bool
    output: torch.Tensor | None
    gradient: torch.Tensor | None = None
    owner: torch.Tensor | None = None

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Those that there are."""
        return tuple(p for p in (self.weight, self.bias) if p is not None)

    def parts(self, rows: Rows, scratch: Scratch) -> Iterator[Part]:
        """One each for the scale and the shift."""
        assert self.gradient is not None  # noqa: S101  asked for only then
        gradient = self.gradient.to(self.parameters[0].dtype)
        if self.weight is not None and self.weight.requires_grad:
            normal = self.normalise(self.inputs.to(gradient.dtype))
            yield Kept(self.weight, rows.summed(self._over_places(normal * gradient, self.weight)))
        if self.bias is not None and self.bias.requires_grad:
            yield Kept(self.bias, rows.summed(self._over_places(gradient, self.bias)))

    def _over_places(self, x: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
        """(R, P)."""
        if self.features_first:
            return x.reshape(len(x), parameter.numel(), -1).sum(dim=2)
        return x.reshape(len(x), -1, parameter.numel()).sum(dim=1)


def unchanged(x: torch.Tensor) -> torch.Tensor:
    """What is normal already."""
    return x


def of_group_norm(layer: nn.Module, inputs: torch.Tensor, output: torch.Tensor) -> Scaling:
    """The use of ``nn.GroupNorm`` on inputs (R, C, ...)."""
    assert isinstance(layer, nn.GroupNorm)  # noqa: S101  by the table of rules
    groups, eps = layer.num_groups, layer.eps

    def normalise(x: torch.Tensor) -> torch.Tensor:
        return group_norm(x, groups, eps=eps)

    return Scaling(layer.weight, layer.bias, inputs.detach(), normalise, True, output)


def of_layer_norm(layer: nn.Module, inputs: torch.Tensor, output: torch.Tensor) -> Scaling:
    """The use of ``nn.LayerNorm`` on inputs (R, ..., P)."""
    assert isinstance(layer, nn.LayerNorm)  # noqa: S101  by the table of rules
    shape, eps = layer.normalized_shape, layer.eps

    def normalise(x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, list(shape), eps=eps)

    return Scaling(layer.weight, layer.bias, inputs.detach(), normalise, False, output)


def of_diagonal(layer: nn.Module, inputs: torch.Tensor, output: torch.Tensor) -> Scaling:
    """The use of :class:`~common.private.diagonal.Diagonal` on inputs (R, ..., P), normal already."""
    assert isinstance(layer, Diagonal)  # noqa: S101  by the table of rules
    return Scaling(layer.weight, layer.bias, inputs.detach(), unchanged, False, output)
