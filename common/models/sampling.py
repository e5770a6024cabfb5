"""Pictures drawn from a generator, pixel by pixel; a row's convolutions are made for one place at a time."""

from __future__ import annotations

import torch
from torch.nn.functional import linear

from common.models.generator import ABOVE, CHANNELS, Gated, RowGenerator, signed
from common.models.logistics import LEVELS, draw, levels_of


@torch.no_grad()
def sample(
    model: RowGenerator,
    classes: torch.Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
    height: int | None = None,
) -> torch.Tensor:
    """(N, H, W) float32 brightness in [0, 1]; the same generator state gives the same pictures on a CPU.

    Args:
        model: It is left in eval mode.
        classes: (N,) int64, class of each picture; only their number counts in a study of one class.
        generator: On the model's device.
        temperature: Above 0; see :func:`common.models.logistics.draw`.
        height: Rows of a picture; as many as columns if left away.

    Raises:
        ValueError: The temperature is not above 0, or a class is none of the study's.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature of {temperature}")
    if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < model.classes:
        raise ValueError(f"classes are numbers from 0 to {model.classes - 1}")
    model.eval()
    device = model.head.weight.device
    classes = classes.to(device)
    rows = height or model.columns
    written = torch.zeros(len(classes), ABOVE + rows, model.columns, device=device)  # grey above the first
    for row in range(rows):
        # The recurrent stack reads from the first row again, whatever cell it is of: that costs little.
        above = written[:, ABOVE - 1 : ABOVE + row]
        states, _ = model.states(above, torch.full((len(classes),), row + 1))
        context = model.context_of(states[:, -1:], classes).squeeze(1)
        seen = context + model.above(written[:, row : row + ABOVE].flip(1))
        written[:, ABOVE + row] = signed(_row(model, seen, generator, temperature))
    return levels_of((written[:, ABOVE:] + 1) / 2) / (LEVELS - 1)


def _row(
    model: RowGenerator, seen: torch.Tensor, generator: torch.Generator, temperature: float
) -> torch.Tensor:
    """(N, W) one row, given (N, channels, W) that is known of it from above."""
    count, _, width = seen.shape
    own = seen.new_zeros(count, 1, model.left.margin + width)
    blocks = [block for block in model.blocks if isinstance(block, Gated)]
    layers = [seen.new_zeros(count, CHANNELS, block.look.margin + width) for block in blocks]
    row = seen.new_zeros(count, width)
    for column in range(width):
        found = seen[:, :, column] + model.left.place(own, column)
        for block, layer in zip(blocks, layers, strict=True):
            layer[:, :, block.look.margin + column] = found
            found = block.place(layer, column)
        parameters = linear(torch.relu(found), model.head.weight.flatten(1), model.head.bias)
        row[:, column] = draw(parameters, generator, temperature)
        if column + 1 < width:  # the next place sees this one as its nearest
            own[:, 0, model.left.margin + column + 1] = signed(row[:, column])
    return row
