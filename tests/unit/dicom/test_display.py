"""Which stored values are black and white, and that what is drawn follows from those two alone."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.dicom.decoding.display import DEFAULT_WINDOWS, black_and_white, brightness, is_sigmoid, stretched
from client.dicom.pixels import Display, Window

RAMP = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


def shown(display: Display, window: Window | None = None) -> list[float]:
    return [float(value) for value in brightness(RAMP, display, window).ravel()]


@pytest.mark.parametrize(
    ("window", "ends"),
    [
        # PS3.3 C.11.2.1.2.1: c = 2048, w = 4096 shows 0 black and 4095 white; c = 2048, w = 1 is a threshold.
        (Window(2048, 4096), (0, 4095)),
        (Window(0, 100), (-50, 49)),
        (Window(2048, 1), (2047.5, 2047.5)),
        (Window(0, 100, "linear-exact"), (-50, 50)),
        (Window(0, 100, "sigmoid"), (-50, 50)),
    ],
)
def test_windows_are_the_standards(window: Window, ends: tuple[float, float]) -> None:
    assert black_and_white(Display(window=window)) == pytest.approx(ends, abs=0.01)


def test_slope_and_intercept_lead_back_to_stored_values() -> None:
    display = Display(slope=2, intercept=-1024, window=Window(40, 401))
    assert black_and_white(display) == pytest.approx(
        ((40 - 0.5 - 200 + 1024) / 2, (40 - 0.5 + 200 + 1024) / 2)
    )


def test_inversion_and_a_negative_slope_each_turn_black_and_white_round() -> None:
    window = Window(100, 101, "linear-exact")
    plain = black_and_white(Display(window=window))
    assert plain is not None
    assert black_and_white(Display(window=window, inverted=True)) == plain[::-1]
    falling = black_and_white(Display(slope=-1, window=window))
    assert falling == (-plain[0], -plain[1])
    assert falling[0] > falling[1]
    assert stretched(Display(), 3, 7) == stretched(Display(slope=-1, inverted=True), 3, 7) == (3, 7)
    assert stretched(Display(inverted=True), 3, 7) == stretched(Display(slope=-1), 3, 7) == (7, 3)


def test_the_studys_window_counts_unless_values_have_been_looked_up() -> None:
    own, study = Window(10, 20), Window(100, 200)
    assert black_and_white(Display(window=own), study) == black_and_white(Display(window=study))
    assert black_and_white(Display(), study) == black_and_white(Display(window=study))
    looked_up = Display(window=own, looked_up=True)
    assert black_and_white(looked_up, study) == black_and_white(looked_up)
    assert is_sigmoid(Display(), Window(1, 2, "sigmoid"))
    assert not is_sigmoid(looked_up, Window(1, 2, "sigmoid"))
    assert not is_sigmoid(Display())


def test_without_a_window_the_case_is_stretched_over_all_its_frames() -> None:
    assert black_and_white(Display()) is None
    frames = np.array([[[10, 20]], [[30, 50]]], dtype=np.int16)
    np.testing.assert_allclose(brightness(frames, Display()).ravel(), [0, 0.25, 0.5, 1])
    np.testing.assert_allclose(brightness(frames, Display(inverted=True)).ravel(), [1, 0.75, 0.5, 0])


def test_a_threshold_has_nothing_between_black_and_white() -> None:
    assert shown(Display(window=Window(100, 1))) == [float(value > 99) for value in range(256)]


def test_a_sigmoid_is_bent() -> None:
    display = Display(window=Window(128, 64, "sigmoid"))
    expected = [1 / (1 + exp(-4 * (value - 128) / 64)) for value in range(256)]
    assert shown(display) == pytest.approx(expected, abs=1e-6)
    inverted = Display(window=Window(128, 64, "sigmoid"), inverted=True)
    assert shown(inverted) == pytest.approx([1 - value for value in expected], abs=1e-6)


def test_what_is_no_number_is_black_and_so_is_a_constant_picture() -> None:
    frames = np.array([[[np.nan, -np.inf, 0.0, 1.0, 2.0, np.inf]]], dtype=np.float32)
    np.testing.assert_array_equal(brightness(frames, Display()).ravel(), [0, 0, 0, 0.5, 1, 1])
    assert brightness(np.full((1, 2, 2), 7, np.uint16), Display()).max() == 0
    assert brightness(np.full((1, 2, 2), np.nan, np.float32), Display()).max() == 0


def test_the_same_hounsfield_unit_is_the_same_grey_at_every_scanner() -> None:
    window = DEFAULT_WINDOWS["CT"]
    one = brightness(np.array([[[1064]]], np.uint16), Display(1, -1024, window=window))
    other = brightness(np.array([[[40]]], np.int16), Display(1, 0, window=window))
    third = brightness(np.array([[[532]]], np.int16), Display(2, -1024, window=window))
    assert one[0, 0, 0] == pytest.approx(other[0, 0, 0]) == pytest.approx(third[0, 0, 0])


values = st.floats(-3e4, 3e4, allow_nan=False)
windows = st.builds(
    Window, values, st.floats(0.01, 6e4), st.sampled_from(["linear", "linear-exact", "sigmoid"])
)
displays = st.builds(
    Display,
    st.sampled_from([1.0, -1.0, 0.5, 3.7, 1e-3]),
    values,
    st.booleans(),
    st.none() | windows,
    st.booleans(),
)


@given(displays, st.none() | windows, st.lists(st.integers(-32768, 32767), min_size=2, max_size=20))
def test_brightness_lies_between_black_and_white_and_never_turns_back(
    display: Display, window: Window | None, stored: list[int]
) -> None:
    drawn = brightness(np.array([[sorted(stored)]], np.int16), display, window).ravel()
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    steps = np.diff(drawn)
    falling = display.inverted != (display.slope < 0)
    assert (steps <= 0).all() if falling else (steps >= 0).all()
