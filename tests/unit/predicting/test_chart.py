"""The course of a risk stands at its times and heights, and its end where the manifest says it."""

from __future__ import annotations

import numpy as np
import pytest

from client.predicting.answer import About
from client.predicting.chart import BOTTOM, COURSE, ENDED, EVENT, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart
from client.predicting.risk import RiskAnswer
from client.predicting.truth import Outcome
from client.predicting.uncertainty import Uncertainty

PLOT = HEIGHT - TOP - BOTTOM


def answer(risks: tuple[float, ...], times: tuple[float, ...] = ()) -> RiskAnswer:
    unsure = Uncertainty("none", 1, 0.5, None)
    return RiskAnswer(About("a", (), len(risks), ()), "died", risks, times, "died", unsure)


def places(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the plot in which a colour stands, the words above and below left away."""
    rows, columns = np.nonzero((picture[TOP : HEIGHT - BOTTOM] == colour).all(axis=2))
    return rows, columns


def test_a_risk_holds_until_the_next_step() -> None:
    picture = chart(answer((0.25, 0.75), (0.0, 96.0)), Outcome("died", event=True, time=100.0))
    rows, columns = places(picture, COURSE)
    wide = (WIDTH - LEFT - RIGHT) / 1.04
    assert columns.min() == pytest.approx(LEFT, abs=4) and columns.max() == pytest.approx(
        LEFT + 0.96 * wide, abs=4
    )
    assert rows.min() == pytest.approx(0.25 * PLOT, abs=4) and rows.max() == pytest.approx(0.75 * PLOT, abs=4)
    between = columns[rows < 0.5 * PLOT]
    assert between.min() > LEFT + 0.9 * wide, "it is high only from the second step on"
    _, ended = places(picture, EVENT)
    assert np.allclose(ended, LEFT + wide, atol=2)


def test_the_end_of_observation_has_another_colour_than_the_event() -> None:
    picture = chart(answer((0.2,), (3.0,)), Outcome("survived", event=False, time=10.0))
    assert places(picture, ENDED)[0].size and not places(picture, EVENT)[0].size


def test_an_outcome_without_a_time_has_words_and_no_line() -> None:
    for times, time in (((1.0, 2.0), None), ((), 7.0)):
        picture = chart(answer((0.2, 0.3), times), Outcome("died", event=True, time=time))
        assert not places(picture, EVENT)[0].size and places(picture, COURSE)[0].size
        assert (picture[:TOP] == EVENT).all(axis=2).any()


@pytest.mark.parametrize("times", [(0.0,), (5.0, 5.0), (-3.0, 1e6), (1e-6, 2e-6), ()])
def test_odd_times_are_drawn(times: tuple[float, ...]) -> None:
    picture = chart(answer((0.4,) * max(1, len(times)), times))
    assert picture.shape == (HEIGHT, WIDTH, 3) and places(picture, COURSE)[0].size
