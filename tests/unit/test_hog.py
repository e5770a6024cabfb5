"""Histograms of oriented gradients: against a pixel-by-pixel account, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.models import hog
from common.models.encoders import Encoder
from common.models.hog import CENTRE, FAINT, SPREAD, HogFrames, HogRows, cell_means, cell_votes, over_pixels

Picture = NDArray[np.float64]


def random_pictures(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, height, width, generator=torch.Generator().manual_seed(seed))


def votes_by_hand(picture: Picture, cell: int, orientations: int) -> Picture:
    """The same histograms, one pixel at a time."""
    height, width = picture.shape
    votes: Picture = np.zeros((math.ceil(height / cell), math.ceil(width / cell), orientations))
    pixels = np.zeros(votes.shape[:2])
    for y in range(height):
        for x in range(width):
            across = picture[y, min(x + 1, width - 1)] - picture[y, max(x - 1, 0)]
            down = picture[min(y + 1, height - 1), x] - picture[max(y - 1, 0), x]
            turn = math.atan2(down, across) % (2 * math.pi) / (2 * math.pi) * orientations - 0.5
            first, share = math.floor(turn), turn - math.floor(turn)
            histogram = votes[y // cell, x // cell]
            histogram[first % orientations] += math.hypot(across, down) * (1 - share)
            histogram[(first + 1) % orientations] += math.hypot(across, down) * share
            pixels[y // cell, x // cell] += 1
    votes /= pixels[..., None]
    return votes


def standard_by_hand(votes: Picture, orientations: int) -> Picture:
    relative = votes / (votes.mean() + FAINT / orientations)
    standard: Picture = (np.log(1 + 2 * relative) - CENTRE) / SPREAD
    return standard


# --- what it is


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(3, 9), st.integers(0, 99))
def test_votes_are_those_counted_pixel_by_pixel(
    height: int, width: int, cell: int, orientations: int, seed: int
) -> None:
    pictures = random_pictures(2, height, width, seed).double()
    found = cell_votes(pictures, torch.tensor([height, height]), cell, orientations)
    expected = np.stack([votes_by_hand(picture.numpy(), cell, orientations) for picture in pictures])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_rows_of_cells_are_steps() -> None:
    picture = random_pictures(1, 20, 13)
    features, lengths = HogRows(13, cell=4, orientations=6)(picture, torch.tensor([20]))
    expected = standard_by_hand(votes_by_hand(picture[0].double().numpy(), 4, 6), 6).reshape(1, 5, 4 * 6)
    assert lengths.tolist() == [5]
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-4)


def test_frame_s_cells_are_one_step_and_the_case_is_the_measure() -> None:
    clip = random_pictures(3, 8, 12) * torch.tensor([0.1, 1.0, 5.0])[:, None, None]
    features, lengths = HogFrames((8, 12), cell=4, orientations=5)(clip.reshape(1, 3, 96), torch.tensor([3]))
    votes = np.stack([votes_by_hand(frame.double().numpy(), 4, 5) for frame in clip])
    assert lengths.tolist() == [3]
    np.testing.assert_allclose(features.numpy(), standard_by_hand(votes, 5).reshape(1, 3, 30), atol=1e-4)


@pytest.mark.parametrize(
    ("angle", "direction"), [(0.125, 0), (0.375, 1), (-0.375, 2), (-0.125, 3)], ids=["se", "sw", "nw", "ne"]
)
def test_slope_votes_for_the_direction_it_rises_in(angle: float, direction: int) -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    slope = x * math.cos(2 * math.pi * angle) + y * math.sin(2 * math.pi * angle)
    middle = cell_votes(slope[None], torch.tensor([12]), 4, 4)[0, 1, 1]
    expected = torch.zeros(4)
    expected[direction] = 2.0  # a central difference spans two pixels
    torch.testing.assert_close(middle, expected, atol=1e-5, rtol=0)


def test_features_of_a_natural_texture_are_about_standard() -> None:
    walk = random_pictures(16, 128, 128).cumsum(1).cumsum(2)
    walk = (walk - walk.mean((1, 2), keepdim=True)) / walk.std((1, 2), keepdim=True)
    features, _ = HogRows(128)(walk, torch.full((16,), 128))
    assert abs(features.mean()) < 0.6
    assert 0.5 < features.std() < 2.0


@pytest.mark.parametrize(
    ("encoder", "shape", "steps", "features"),
    [
        (HogRows(128), (2, 128, 128), 8, 8 * 8),
        (HogRows(28), (2, 28, 28), 7, 7 * 8),
        (HogRows(8), (2, 8, 8), 2, 2 * 8),
        (HogRows(3), (2, 5, 3), 2, 8),
        (HogFrames((64, 64)), (2, 5, 64 * 64), 5, 4 * 4 * 8),
        (HogFrames((16, 16)), (2, 9, 256), 9, 4 * 4 * 8),
        (HogFrames((2, 2)), (2, 9, 4), 9, 8),
    ],
)
def test_widths_are_those_stated(
    encoder: Encoder, shape: tuple[int, int, int], steps: int, features: int
) -> None:
    found, lengths = encoder(torch.randn(shape), torch.tensor([shape[1], shape[1]]))
    assert encoder.features == features
    assert found.shape == (2, steps, features)
    assert lengths.tolist() == [steps, steps]


@pytest.mark.parametrize("encoder", [HogRows(16), HogFrames((4, 4))], ids=["rows", "frames"])
def test_nothing_is_learnt_stored_or_differentiated(encoder: HogRows | HogFrames) -> None:
    features, _ = encoder(torch.randn(2, 6, 16, requires_grad=True), torch.tensor([6, 6]))
    assert list(encoder.parameters()) == []
    assert encoder.state_dict() == {}
    assert not features.requires_grad


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_cells_share_evenly_with_their_own_pixels(height: int, width: int, cell: int) -> None:
    pixels = random_pictures(2, height, width)
    means = cell_means(pixels, cell)
    shared = over_pixels(means, (height, width), cell)
    for y in range(height):
        for x in range(width):
            top, left = y // cell * cell, x // cell * cell
            own = pixels[:, top : top + cell, left : left + cell]
            torch.testing.assert_close(means[:, y // cell, x // cell], own.mean((1, 2)))
            torch.testing.assert_close(shared[:, y, x], own.mean((1, 2)) / own[0].numel())
    torch.testing.assert_close(shared.sum((1, 2)), means.sum((1, 2)))


# --- what must not change it


@settings(max_examples=15, deadline=None)
@given(st.floats(-100, 100), st.floats(0.5, 20), st.booleans())
def test_brightness_and_contrast_of_a_case_change_nothing(shift: float, factor: float, rows: bool) -> None:
    encoder, steps, lengths = _either(rows), random_pictures(3, 16, 16).double(), torch.tensor([16, 7, 12])
    before = encoder(steps, lengths)[0]
    torch.testing.assert_close(encoder(steps + shift, lengths)[0], before, atol=1e-9, rtol=0)
    torch.testing.assert_close(encoder(steps * factor, lengths)[0], before, atol=5e-3, rtol=0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 13), min_size=1, max_size=5), st.booleans(), st.sampled_from([0.0, 1e6, math.nan])
)
def test_features_are_those_of_the_case_alone(lengths: list[int], rows: bool, filler: float) -> None:
    encoder, steps = _either(rows), random_pictures(len(lengths), 13, 16)
    for case, length in enumerate(lengths):
        steps[case, length:] = filler
    together, shorter = encoder(steps, torch.tensor(lengths))
    for case, length in enumerate(lengths):
        alone = encoder(steps[case : case + 1, :length], torch.tensor([length]))[0][0]
        own = int(shorter[case])
        torch.testing.assert_close(together[case, :own], alone, atol=1e-5, rtol=1e-5)
        assert not together[case, own:].any()


@pytest.mark.parametrize("rows", [True, False])
def test_constant_case_is_finite(rows: bool) -> None:
    features, _ = _either(rows)(torch.zeros(1, 16, 16), torch.tensor([16]))
    torch.testing.assert_close(features, torch.full_like(features, -CENTRE / SPREAD))


def test_chunks_are_for_speed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, heights = random_pictures(5, 10, 10), torch.tensor([10, 3, 1, 9, 10])
    whole = cell_votes(pictures, heights, 4, 8)
    monkeypatch.setattr(hog, "CHUNK_PIXELS", 200)
    torch.testing.assert_close(cell_votes(pictures, heights, 4, 8), whole)


@pytest.mark.parametrize("rows", [True, False])
def test_batch_of_nobody_gives_features_of_nobody(rows: bool) -> None:
    encoder = _either(rows)
    features, lengths = encoder(torch.zeros(0, 16, 16), torch.zeros(0, dtype=torch.int64))
    assert features.shape[0] == 0
    assert features.shape[2] == encoder.features
    assert len(lengths) == 0


def _either(rows: bool) -> HogRows | HogFrames:
    return HogRows(16, cell=4) if rows else HogFrames((4, 4), cell=2)
