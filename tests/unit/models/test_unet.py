"""The halves of a U-Net: what is normalised with what, how wide levels are, how often a picture is halved."""

from __future__ import annotations

import pytest
import torch

from common.models.unet import Contracting, Convolutions, Expanding, depth_of, widths_of


def pictures(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    """(count, channels, height, width) normal values."""
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_each_channel_of_each_picture_is_normalised_by_itself() -> None:
    torch.manual_seed(0)
    layers, x = Convolutions(3, 16), pictures(2, 3, 8, 10)
    x[1] = 40 * x[1] + 7
    for normal in (layers[1](layers[0](x)), layers[4](layers[3](torch.relu(x.repeat(1, 6, 1, 1)[:, :16])))):
        assert torch.allclose(normal.mean(dim=(2, 3)), torch.zeros(2, 16), atol=1e-5)
        spread = normal.var(dim=(2, 3), correction=0)
        # What is added for faint channels lets a weak one be a little less than 1, and an empty one 0.
        assert (spread > 0.5).all() and (spread < 1).all()


@torch.no_grad()
def test_a_picture_is_seen_as_it_is_alone() -> None:
    torch.manual_seed(0)
    down, up, x = Contracting((4, 8, 8)), Expanding(8, (4, 8, 8)), pictures(3, 1, 13, 9)
    together, alone = down(x), down(x[1:2])
    for whole, own in zip(together, alone, strict=True):
        assert torch.allclose(whole[1:2], own, atol=1e-6)
    assert torch.allclose(up(together[-1], together[:-1])[1:2], up(alone[-1], alone[:-1]), atol=1e-5)
    assert [tuple(level.shape[2:]) for level in together] == [(13, 9), (7, 5), (4, 3)]


@pytest.mark.parametrize(
    ("channels", "depth", "widths"),
    [(64, 3, (16, 32, 64, 64)), (6, 2, (6, 6, 6)), (200, 4, (16, 32, 64, 128, 200)), (1, 1, (1, 1))],
)
def test_levels_are_doubled_up_to_what_the_study_says(
    channels: int, depth: int, widths: tuple[int, ...]
) -> None:
    assert widths_of(channels, depth) == widths


@pytest.mark.parametrize(
    ("side", "depth"), [(8, 0), (9, 1), (16, 1), (32, 2), (64, 3), (65, 3), (128, 3), (256, 4), (512, 5)]
)
def test_how_often_a_picture_is_halved(side: int, depth: int) -> None:
    assert depth_of((side, 2 * side)) == depth
