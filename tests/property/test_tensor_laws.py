"""Laws of steps: standardised; neither storage, nor the origin of time, nor other variables change them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.dicom.decoding.display import brightness
from client.dicom.pixels import Display, Window
from client.records import record_steps
from client.tensors import Pictures, batch_steps, picture_steps
from common.sequences import standardise
from common.study import Study, parse_study

CPU = torch.device("cpu")
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 40)
counts = st.integers(1, 6)


def study(sequence: dict[str, Any], data: dict[str, Any] | None = None) -> Study:
    labels = {"0": "normal", "1": "abnormal"}
    return parse_study({"study": {"name": "x", "labels": labels}, "sequence": sequence, "data": data or {}})


def stack(seed: int, *shape: int) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1000, 1000, shape, dtype=np.int16)


def case(frames: NDArray[Any], spacing: Any = None, **display: Any) -> Pictures:
    return Pictures(frames, Display(**display), spacing, "P-ABC")


@given(seeds, counts, sides, sides, st.integers(8, 24))
def test_steps_have_mean_0_and_deviation_1_over_the_case(
    seed: int, count: int, height: int, width: int, size: int
) -> None:
    steps = picture_steps(
        case(stack(seed, count, height, width)), study({"kind": "slices", "size": size}), CPU
    )
    assert steps.shape == (count, size * size)
    assert abs(float(steps.mean())) < 1e-4
    assert not steps.any() or abs(float(steps.std(correction=0)) - 1) < 1e-3


windows = st.builds(
    Window,
    st.floats(-500, 500),
    st.floats(1, 2000),
    st.sampled_from(["linear", "linear-exact", "sigmoid"]),
)
displays = st.builds(
    Display,
    st.sampled_from([1.0, 0.25, -1.0, 3.5]),
    st.sampled_from([0.0, -1024.0, 12.5]),
    st.booleans(),
    st.none() | windows,
    st.booleans(),
)


@given(
    seeds,
    st.lists(displays, min_size=1, max_size=4),
    st.none() | windows,
    st.sampled_from([np.int16, np.uint16, np.float32]),
)
def test_brightness_is_that_of_the_display(seed: int, shown: list[Display], asked: Any, dtype: Any) -> None:
    frames = stack(seed, len(shown), 2, 9, 9).astype(dtype)
    sequence = study({"kind": "frames", "size": 9}, asked and {"window": asdict(asked)})
    cases = [Pictures(f, display, None, "P-ABC") for f, display in zip(frames, shown, strict=True)]
    batch = batch_steps(cases, torch.tensor([0] * len(cases)), sequence, CPU)
    for steps, one, display in zip(batch.steps, frames, shown, strict=True):
        # As numpy shows it; a picture of nearly one brightness would only compare how it was rounded.
        grey = brightness(one, display, asked)
        if grey.std() > 0.01:
            np.testing.assert_allclose(steps.numpy(), standardise(grey).reshape(2, 81), atol=1e-3)


@given(seeds, counts, st.floats(0.01, 100), st.floats(-5000, 5000))
def test_without_a_window_the_modality_s_scale_does_not_matter(
    seed: int, count: int, slope: float, intercept: float
) -> None:
    frames, sequence = stack(seed, count, 12, 9), study({"kind": "frames", "size": 8})
    plain = picture_steps(case(frames), sequence, CPU)
    scaled = picture_steps(case(frames, slope=slope, intercept=intercept), sequence, CPU)
    torch.testing.assert_close(scaled, plain, atol=1e-3, rtol=0)


@given(seeds, st.integers(2, 6), sides, sides)
def test_inverted_pictures_are_the_same_with_the_other_sign(
    seed: int, count: int, height: int, width: int
) -> None:
    frames, sequence = stack(seed, count, height, width), study({"kind": "frames", "size": 8})
    plain = picture_steps(case(frames), sequence, CPU)
    torch.testing.assert_close(
        picture_steps(case(frames, inverted=True), sequence, CPU), -plain, atol=1e-3, rtol=0
    )


@given(seeds, counts, sides, sides, st.floats(0.1, 4), st.floats(0.1, 4))
def test_turning_a_case_round_turns_its_field_round(
    seed: int, count: int, height: int, width: int, row_mm: float, column_mm: float
) -> None:
    # The middle of the case lies in the middle of the field, to the fraction of a pixel.
    frames = stack(seed, count, height, width)
    sequence = study({"kind": "slices", "size": 40, "pixel_spacing_mm": 4.0, "slice_spacing_mm": 2.0})
    spacing = (3.0, row_mm, column_mm)
    there = picture_steps(case(frames, spacing), sequence, CPU).reshape(-1, 40, 40)
    turned = picture_steps(case(frames[::-1, ::-1, ::-1], spacing), sequence, CPU).reshape(-1, 40, 40)
    torch.testing.assert_close(turned.flip(0, 1, 2), there, atol=1e-3, rtol=0)


@given(st.lists(st.tuples(seeds, counts, st.sampled_from([9, 16])), min_size=1, max_size=5))
def test_batch_is_its_cases_in_their_order(drawn: list[tuple[int, int, int]]) -> None:
    cases = [case(stack(seed, count, side, 12)) for seed, count, side in drawn]
    sequence = study({"kind": "slices", "size": 8})
    batch = batch_steps(cases, torch.tensor([0] * len(cases)), sequence, CPU)
    assert batch.lengths.tolist() == [count for _, count, _ in drawn]
    for one, steps, length in zip(cases, batch.steps, batch.lengths, strict=True):
        torch.testing.assert_close(steps[:length], picture_steps(one, sequence, CPU), atol=1e-4, rtol=0)


# --- records

RECORDS = study(
    {
        "kind": "steps",
        "variables": {"a": {"centre": 1, "scale": 2}, "b": {"centre": 0, "scale": 1}},
        "time_scale": 8,
    }
)
# Eighths and small integers, so that sums are exact and equality can be asked for.
whole = st.integers(-64, 64).map(float)
rows = st.lists(
    st.tuples(st.integers(0, 64).map(lambda n: n / 8), *[st.one_of(st.just(float("nan")), whole)] * 3),
    min_size=1,
    max_size=12,
)


def table(drawn: list[tuple[float, ...]]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    times, *columns = zip(*sorted(drawn, key=lambda row: row[0]), strict=True)
    return np.array(times), np.array(columns, np.float32).T


@given(rows)
def test_gaps_are_those_of_the_recurrence(drawn: list[tuple[float, ...]]) -> None:
    times, values = table(drawn)
    own = ~np.isnan(values[:, :2]).all(axis=1)
    when, flags = times[own], ~np.isnan(values[own, :2])
    found = record_steps(times, values, ("a", "b", "c"), RECORDS).numpy()
    gap = np.zeros(2)
    for step in range(len(when)):  # Che et al. 2018
        if step:
            gap = when[step] - when[step - 1] + np.where(flags[step - 1], 0, gap)
        assert np.array_equal(found[step, 4:], gap / 8)
        assert np.array_equal(found[step, 2:4], flags[step])


@given(rows, st.integers(-1000, 1000))
def test_origin_of_time_does_not_matter(drawn: list[tuple[float, ...]], later: int) -> None:
    times, values = table(drawn)
    plain = record_steps(times, values, ("a", "b", "c"), RECORDS)
    assert torch.equal(record_steps(times + later, values, ("a", "b", "c"), RECORDS), plain)


@given(rows)
def test_variables_that_the_study_does_not_name_change_nothing(drawn: list[tuple[float, ...]]) -> None:
    times, values = table(drawn)
    alone = record_steps(times, values[:, :2], ("a", "b"), RECORDS)
    assert torch.equal(record_steps(times, values, ("a", "b", "c"), RECORDS), alone)


@given(rows)
def test_what_was_not_measured_is_zero_and_says_so(drawn: list[tuple[float, ...]]) -> None:
    times, values = table(drawn)
    found = record_steps(times, values, ("a", "b", "c"), RECORDS)
    scaled, flags = found[:, :2], found[:, 2:4]
    assert set(flags.unique().tolist()) <= {0.0, 1.0}
    assert not scaled[flags == 0].any()
    assert found.isfinite().all() and (found[:, 4:] >= 0).all()
