"""What was found is drawn where it was found, in the colour that the legend names."""

from __future__ import annotations

import numpy as np

from client.predicting.detection import Box
from client.predicting.overlays import COLOURS, COVER, colour_of, coloured, framed

GREY = np.full((10, 12), 100, np.uint8)


def test_a_mask_colours_its_own_pixels() -> None:
    mask = np.zeros((10, 12), np.uint8)
    mask[2:4, 5:8] = 2
    picture = coloured(GREY, mask)
    assert (picture[mask == 0] == 100).all()
    expected = np.round((1 - COVER) * 100 + COVER * np.array(colour_of(2)))
    assert (picture[mask == 2] == expected).all()


def test_a_box_is_framed_and_its_inside_left() -> None:
    picture = np.stack([np.full((40, 80), 9, np.uint8)] * 3, axis=2)
    box = Box(1, "mass", 0.5, (0.0, 0.0, 1.0, 1.0), (0.25, 0.25, 1.0, 0.75), 0)
    drawn = framed(picture, [box], ("nodule", "mass"))
    for row, column in ((10, 20), (39, 59), (25, 20), (25, 59)):
        assert tuple(drawn[row, column]) == colour_of(1)
    assert tuple(drawn[36, 50]) == (9, 9, 9) and tuple(drawn[5, 5]) == (9, 9, 9)


def test_a_box_thinner_than_a_pixel_is_drawn() -> None:
    picture = np.stack([GREY] * 3, axis=2)
    drawn = framed(picture, [Box(1, "mass", 0.5, (0, 0, 0, 0), (1.0, 0.0, 1.0, 0.0), 0)], ("mass",))
    assert drawn.shape == picture.shape


def test_colours_begin_anew() -> None:
    assert len(set(COLOURS)) == len(COLOURS) and colour_of(len(COLOURS)) == colour_of(0)
