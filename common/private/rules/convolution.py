"""Convolutions: at each place of the output, an outer product with the window of the input seen there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn
from torch.nn.grad import conv2d_weight

from common.errors import LayerNotPrivate
from common.private.clipping.parts import Kept, Part, Scratch, silenced
from common.private.clipping.products import Extent, Product
from common.private.clipping.rows import Rows


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the windows lie, of a convolution in two dimensions."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@dataclass(slots=True, eq=False)
class Convolution:
    """A use of a kernel in two dimensions; see :class:`~common.private.tape.Use`.

    Attributes:
        weight: (O, C / groups, *kernel), without the first extent of the kernel in one dimension.
        bias: (O,) or None.
        geometry: How the windows lie.
        inputs: (R, C, H, W).
        output: (R, O, ...).
        gradient: The same.
        owner: See :class:`~common.private.tape.Use`.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    geometry: Geometry
    inputs: torch.Tensor
    output: torch.Tensor | None
    gradient: torch.Tensor | None = None
    owner: torch.Tensor | None = None

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Weight, and bias if there is one."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def parts(self, rows: Rows, scratch: Scratch) -> Iterator[Part]:
        """One each for weight and bias."""
        assert self.gradient is not None  # noqa: S101  asked for only then
        gradient = self.gradient.to(self.weight.dtype)
        if gradient.dim() == 3:
            gradient = gradient.unsqueeze(2)
        if self.weight.requires_grad:
            windows = Windows(gradient, self.inputs.to(gradient.dtype), self.geometry, rows)
            yield Product(self.weight, windows, rows.count, scratch)
        if self.bias is not None and self.bias.requires_grad:
            yield Kept(self.bias, rows.summed(gradient.flatten(2).sum(dim=2)))


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The factors of a convolution: gradients by the output's places, and the windows of the input.

    Windows overlap, so they take many times the input's memory; they exist for a few units at a time.

    Attributes:
        gradient: (R, O, H', W').
        inputs: (R, C, H, W).
        geometry: How the windows lie.
        rows: Whose they are.
    """

    gradient: torch.Tensor
    inputs: torch.Tensor
    geometry: Geometry
    rows: Rows

    @property
    def extent(self) -> Extent:
        """See :class:`~common.private.clipping.products.Factors`."""
        _, outputs, height, width = self.gradient.shape
        groups, (high, wide) = self.geometry.groups, self.geometry.kernel
        inputs = self.inputs.shape[1] // groups * high * wide
        return Extent(height * width * self.rows.most, outputs // groups, inputs, groups)

    @property
    def made(self) -> int:
        """See :class:`~common.private.clipping.products.Factors`."""
        extent = self.extent
        return extent.groups * extent.steps * (extent.outputs + extent.inputs)

    def pair(self, low: int, high: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`~common.private.clipping.products.Factors`.

        A unit's rows become the innermost dimension, for pictures of few pixels come in many rows.
        """
        gradient, inputs = (self.rows.folded(x, low, high) for x in (self.gradient, self.inputs))
        extent = self.extent
        places = gradient.permute(0, 2, 3, 4, 1).reshape(-1, extent.outputs, extent.steps)
        windows = self._windows(inputs).reshape(-1, extent.inputs, extent.steps)
        return places.transpose(1, 2), windows.transpose(1, 2)

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """See :class:`~common.private.clipping.products.Factors`."""
        geometry, scaled = self.geometry, self.gradient * self.rows.spread(factors)[:, None, None, None]
        total: torch.Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
            self.inputs,
            (scaled.shape[1], self.inputs.shape[1] // geometry.groups, *geometry.kernel),
            scaled,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            geometry.groups,
        )
        return total

    def silenced(self, kept: torch.Tensor) -> Windows:
        """See :class:`~common.private.clipping.products.Factors`."""
        rows = self.rows.spread(kept)
        return replace(self, gradient=silenced(self.gradient, rows), inputs=silenced(self.inputs, rows))

    def _windows(self, inputs: torch.Tensor) -> torch.Tensor:
        """(N, K, C, H, W) to a view (N, C, *kernel, H', W', K) of the padded input."""
        count, rows, channels, height, width = inputs.shape
        (down, right), (apart, beside) = self.geometry.padding, self.geometry.dilation
        padded = inputs.new_zeros(count, channels, height + 2 * down, width + 2 * right, rows)
        padded[:, :, down : down + height, right : right + width] = inputs.permute(0, 2, 3, 4, 1)
        unit, channel, line, column, row = padded.stride()
        step_down, step_right = self.geometry.stride
        return padded.as_strided(
            (count, channels, *self.geometry.kernel, *self.gradient.shape[2:], rows),
            (unit, channel, line * apart, column * beside, line * step_down, column * step_right, row),
        )


def of_convolution(layer: nn.Module, inputs: torch.Tensor, output: torch.Tensor) -> Convolution:
    """The use of ``nn.Conv1d`` or ``nn.Conv2d`` on inputs (R, C, ...).

    Raises:
        LayerNotPrivate: They are (C, ...).
    """
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)  # noqa: S101  by the table of rules
    if inputs.dim() != layer.weight.dim():
        raise LayerNotPrivate("a convolution got a picture without a dimension of records")
    inputs, ends = inputs.detach(), _ends(layer)
    if layer.padding_mode != "zeros" or any(before != after for before, after in ends):
        flat = [width for pair in reversed(ends) for width in pair]
        inputs = nn.functional.pad(
            inputs, flat, "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        )
        ends = [(0, 0)] * len(ends)
    if inputs.dim() == 3:
        inputs = inputs.unsqueeze(2)
    geometry = Geometry(
        _two(layer.kernel_size, 1),
        _two(layer.stride, 1),
        _two([before for before, _ in ends], 0),
        _two(layer.dilation, 1),
        layer.groups,
    )
    weight, bias = cast("nn.Parameter", layer.weight), cast("nn.Parameter | None", layer.bias)
    return Convolution(weight, bias, geometry, inputs, output)


def _ends(layer: nn.Conv1d | nn.Conv2d) -> list[tuple[int, int]]:
    """What the layer adds before and behind each dimension."""
    if layer.padding == "valid":
        return [(0, 0)] * len(layer.kernel_size)
    if layer.padding == "same":
        widths = [apart * (size - 1) for apart, size in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [(width // 2, width - width // 2) for width in widths]
    return [(int(width), int(width)) for width in layer.padding]


def _two(values: Sequence[int], first: int) -> tuple[int, int]:
    """Values of two dimensions; one dimension is the second of two."""
    return (first, values[0]) if len(values) == 1 else (values[0], values[1])
