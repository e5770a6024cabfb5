"""What was found is drawn where it was found, in the colour that the legend names."""

from __future__ import annotations

import numpy as np

from client.predicting.overlays import COLOURS, COVER, Frame, colour_of, coloured, framed
from common.sequences import NO_TARGET

GREY = np.full((10, 12), 100, np.uint8)


def test_a_mask_colours_its_own_pixels() -> None:
    mask = np.zeros((10, 12), np.uint8)
    mask[2:4, 5:8] = 2
    picture = coloured(GREY, mask)
    assert (picture[mask == 0] == 100).all()
    expected = np.round((1 - COVER) * 100 + COVER * np.array(colour_of(2)))
    assert (picture[mask == 2] == expected).all()


def test_pixels_that_nobody_labelled_have_no_colour() -> None:
    assert (coloured(GREY, np.full((10, 12), NO_TARGET, np.uint8)) == 100).all()


def test_words_stay_in_the_picture() -> None:
    """Above the box where there is room, else below, else in it; and never beyond the right edge."""
    black = np.zeros((100, 100, 3), np.uint8)
    for sides, part in (
        ((0.5, 0.1, 0.9, 0.9), slice(30, 50)),
        ((0.0, 0.1, 0.5, 0.9), slice(52, 70)),
        ((0.0, 0.1, 1.0, 0.9), slice(2, 20)),
        ((0.5, 0.95, 0.9, 1.0), slice(30, 50)),
    ):
        bare, written = framed(black, [Frame(0, sides)]), framed(black, [Frame(0, sides, "0.50")])
        rows, _ = np.nonzero((written != bare).any(axis=2))
        assert rows.min() >= part.start and rows.max() < part.stop


def test_a_box_is_framed_and_its_inside_left() -> None:
    picture = np.stack([np.full((40, 80), 9, np.uint8)] * 3, axis=2)
    drawn = framed(picture, [Frame(1, (0.25, 0.25, 1.0, 0.75))])
    for row, column in ((10, 20), (39, 59), (25, 20), (25, 59)):
        assert tuple(drawn[row, column]) == colour_of(1)
    assert tuple(drawn[36, 50]) == (9, 9, 9) and tuple(drawn[5, 5]) == (9, 9, 9)


def test_a_box_thinner_than_a_pixel_is_drawn() -> None:
    picture = np.stack([GREY] * 3, axis=2)
    drawn = framed(picture, [Frame(0, (1.0, 0.0, 1.0, 0.0), "0.50")])
    assert drawn.shape == picture.shape


def test_colours_begin_anew() -> None:
    assert len(set(COLOURS)) == len(COLOURS) and colour_of(len(COLOURS)) == colour_of(0)
