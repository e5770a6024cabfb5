"""Panels stand where they should, nothing of them is lost, and the legend has its colours."""

from __future__ import annotations

import numpy as np

from client.explaining.panels import GAP, GROUND, LINE, panelled

RED, BLUE = (220, 40, 40), (40, 90, 220)


def filled(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_pictures_stand_beside_each_other_under_their_titles() -> None:
    whole = panelled([("a", filled(50, 60, 9)), ("b", filled(40, 70, 200))])
    assert whole.shape == (LINE + 50, 60 + GAP + 70, 3)
    assert (whole[LINE:, :60] == 9).all() and (whole[LINE : LINE + 40, 60 + GAP :] == 200).all()
    assert (whole[LINE:, 60 : 60 + GAP] == GROUND).all() and whole[:LINE].max() > 150


def test_pictures_stand_below_each_other() -> None:
    whole = panelled([("a", filled(50, 60, 9)), ("b", filled(40, 70, 200))], below=True)
    assert whole.shape == (2 * LINE + 50 + GAP + 40, 70, 3)
    assert (whole[LINE : LINE + 50, :60] == 9).all() and (whole[-40:, :70] == 200).all()


def test_a_legend_has_a_line_for_each_colour() -> None:
    whole = panelled([("a", filled(50, 60, 9))], [(RED, "speaks for it"), (BLUE, "against")])
    assert whole.shape[0] == 50 + 3 * LINE
    first, second = whole[50 + LINE : 50 + 2 * LINE], whole[50 + 2 * LINE :]
    assert (first == RED).all(axis=2).any() and not (first == BLUE).all(axis=2).any()
    assert (second == BLUE).all(axis=2).any()


def test_long_words_make_room_for_themselves() -> None:
    narrow = panelled([("a title that is wider than its picture", filled(20, 30, 9))], [(RED, "w" * 60)])
    assert (narrow[:, -1] == GROUND).all() and narrow.shape[1] > 400
    assert (panelled([("żółć", filled(20, 60, 9))])[:LINE] > 0).any()
