"""Stored pictures and records become steps: shown as asked, on the study's field, nothing cut or made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from client import tensors
from client.dicom.pixels import Display, Window
from client.images import read_image, resize
from client.records import record_steps
from client.tensors import Pictures, batch_steps, picture_steps
from common.errors import CaseTooWide, CohortUnsuitable
from common.sequences import standardise, to_steps
from common.study import Patches, Rows, Study, parse_study

CPU = torch.device("cpu")
LABELS = {"0": "normal", "1": "abnormal"}
GREY = Display(window=Window(127.5, 255, "linear-exact"), looked_up=True)
STORED = [np.uint8, np.int8, np.uint16, np.int16, np.float32]


def study(sequence: dict[str, Any], **data: Any) -> Study:
    return parse_study({"study": {"name": "x", "labels": LABELS}, "sequence": sequence, "data": data})


def stack(*shape: int, dtype: Any = np.int16, seed: int = 0) -> NDArray[Any]:
    """(T, H, W) noise from 0 to 100."""
    return np.random.default_rng(seed).integers(0, 101, shape).astype(dtype)


def case(frames: Any, display: Display | None = None, spacing: Any = None, name: str = "P-ABC") -> Pictures:
    return Pictures(frames, display or Display(), spacing, name)


def shown(frames: NDArray[Any], display: Display, **data: Any) -> NDArray[Any]:
    """The standardised picture as the study shows it at the picture's own size: (T, H, W)."""
    sequence = {"kind": "frames", "size": frames.shape[1]}
    return picture_steps(case(frames, display), study(sequence, **data), CPU).numpy().reshape(frames.shape)


def like(found: NDArray[Any], brightness: NDArray[Any]) -> None:
    """Whether this is that brightness, standardised."""
    np.testing.assert_allclose(found, standardise(brightness.astype(np.float64)), atol=1e-4)


# --- windows

RAMP = np.arange(-1024, 1024, 2, dtype=np.int16).reshape(1, 32, 32)
STORED_RAMP = (RAMP + 1024).astype(np.uint16)
HOUNSFIELD = Display(slope=1, intercept=-1024, window=Window(0, 2000))


def test_window_of_the_case_is_shown_unless_the_study_states_one() -> None:
    own = np.clip((RAMP + 0.5) / 1999 + 0.5, 0, 1)
    asked = np.clip((RAMP - 39.5) / 399 + 0.5, 0, 1)
    like(shown(STORED_RAMP, HOUNSFIELD), own)
    like(shown(STORED_RAMP, HOUNSFIELD, window={"centre": 40, "width": 400}), asked)


@pytest.mark.parametrize(
    ("function", "brightness"),
    [
        ("linear-exact", np.clip((RAMP - 40) / 400 + 0.5, 0, 1)),
        ("sigmoid", 1 / (1 + np.exp(-4 * (RAMP - 40.0) / 400))),
    ],
)
@pytest.mark.parametrize("inverted", [False, True])
def test_window_s_function_is_the_standard_s(function: str, brightness: Any, inverted: bool) -> None:
    display = Display(slope=1, intercept=-1024, inverted=inverted)
    window = {"centre": 40, "width": 400, "function": function}
    like(shown(STORED_RAMP, display, window=window), 1 - brightness if inverted else brightness)


def test_case_without_window_is_shown_from_its_least_to_its_greatest_value() -> None:
    like(shown(STORED_RAMP, Display()), RAMP)
    like(shown(STORED_RAMP, Display(inverted=True)), -RAMP)


def test_study_s_window_does_not_hold_for_what_is_brightness_already() -> None:
    grey = stack(1, 16, 16, dtype=np.uint8)
    for function in ("linear", "sigmoid"):
        like(shown(grey, GREY, window={"centre": 40, "width": 4, "function": function}), grey)


def test_scale_is_one_for_all_pictures_of_a_case() -> None:
    frames = np.stack([np.full((8, 8), level, np.int16) for level in (0, 10, 20)])
    like(shown(frames, Display()), frames)


def test_what_is_no_number_is_black() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8).copy()
    values[0, 3, 3], values[0, 4, 4], values[0, 5, 5] = np.nan, np.inf, -np.inf
    expected = np.nan_to_num(values, nan=0, posinf=1, neginf=0)
    like(shown(values, Display()), expected)
    assert not shown(np.full((1, 8, 8), np.nan, np.float32), Display()).any()


@pytest.mark.parametrize("display", [Display(), Display(inverted=True), HOUNSFIELD, GREY])
@pytest.mark.parametrize("dtype", STORED)
def test_constant_case_becomes_zeros(dtype: Any, display: Display) -> None:
    found = shown(np.full((2, 8, 8), 7, dtype), display)
    assert not found.any() and not np.isnan(found).any()


@pytest.mark.parametrize("dtype", STORED)
def test_stored_types_give_the_same_steps(dtype: Any) -> None:
    frames = stack(3, 20, 16)
    wanted = picture_steps(case(frames), study({"kind": "slices", "size": 8}), CPU)
    found = picture_steps(case(frames.astype(dtype)), study({"kind": "slices", "size": 8}), CPU)
    assert (found.dtype, found.shape) == (torch.float32, (3, 64))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_whole_range_of_sixteen_bits_is_kept() -> None:
    frames = np.array([0, 1, 32767, 32768, 65534, 65535] * 12, np.uint16)[:64].reshape(1, 8, 8)
    like(shown(frames, Display()), frames)


def test_read_only_map_of_a_file_is_read(tmp_path: Path) -> None:
    frames = stack(4, 12, 12, dtype=np.uint16)
    np.save(tmp_path / "case.npy", frames)
    mapped = np.load(tmp_path / "case.npy", mmap_mode="r")
    sequence = study({"kind": "slices", "size": 8})
    assert torch.equal(picture_steps(case(mapped), sequence, CPU), picture_steps(case(frames), sequence, CPU))


def test_frames_may_lie_apart() -> None:
    frames, sequence = stack(4, 12, 12), study({"kind": "frames", "size": 8})
    apart = picture_steps(case(tuple(frames)), sequence, CPU)
    assert torch.equal(apart, picture_steps(case(frames), sequence, CPU))


# --- the field


@pytest.mark.parametrize("shape", [(20, 30), (64, 64), (7, 100), (8, 16), (129, 33)])
def test_resampling_is_torch_s_antialiased_bilinear(shape: tuple[int, int]) -> None:
    frames = stack(2, *shape, dtype=np.float32)
    found = picture_steps(case(frames), study({"kind": "slices", "size": 16}), CPU)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(frames / 100)[None], size=(16, 16), mode="bilinear", antialias=True
    )
    like(found.numpy().reshape(2, 16, 16), resized[0].numpy())


def disc(millimetres: float, height: int, width: int, row_mm: float, column_mm: float) -> NDArray[Any]:
    """A bright disc of this radius in the middle of a dark picture."""
    y = (np.arange(height) - (height - 1) / 2)[:, None] * row_mm
    x = (np.arange(width) - (width - 1) / 2)[None] * column_mm
    return ((y**2 + x**2 <= millimetres**2) * 100).astype(np.uint8)[None]


def test_millimetres_mean_the_same_whatever_the_scanner_s_pixels() -> None:
    sequence = study({"kind": "slices", "size": 32, "pixel_spacing_mm": 2.0})
    fine, coarse = ((120, 90, 0.5, 0.5), (40, 60, 1.2, 0.7))
    fields = [
        picture_steps(case(disc(12, *grid), spacing=(None, *grid[2:])), sequence, CPU).reshape(32, 32)
        for grid in (fine, coarse)
    ]
    for field in fields:
        bright = field > (field.max() + field.min()) / 2
        assert float(bright.sum()) * 4 == pytest.approx(np.pi * 144, rel=0.05)  # area in mm^2
        rows, columns = bright.nonzero().float().mean(dim=0).tolist()
        assert (rows, columns) == pytest.approx((15.5, 15.5), abs=0.3)
    assert float((fields[0] - fields[1]).abs().mean()) < 0.15


def test_field_beyond_the_picture_is_black() -> None:
    frames = stack(1, 8, 8, dtype=np.uint8) + 50
    sequence = study({"kind": "slices", "size": 16, "pixel_spacing_mm": 1.0})
    field = picture_steps(case(frames, GREY, (None, 1.0, 1.0)), sequence, CPU).reshape(16, 16)
    brightness = np.zeros((16, 16))
    brightness[4:12, 4:12] = frames[0]
    like(field.numpy(), brightness)


def test_pixel_whose_centre_lies_beyond_the_picture_is_black() -> None:
    frames = np.full((1, 9, 9), 255, np.uint8)  # 4.5 mm wide; centres lie at 0.5, 1.5, 2.5, ... mm
    sequence = study({"kind": "slices", "size": 16, "pixel_spacing_mm": 1.0})
    field = picture_steps(case(frames, GREY, (None, 0.5, 0.5)), sequence, CPU).reshape(16, 16)
    brightness = np.zeros((16, 16))
    brightness[6:10, 6:10] = 1
    like(field.numpy(), brightness)


def test_picture_that_fills_the_field_is_whole_and_a_larger_one_is_refused() -> None:
    sequence = study({"kind": "slices", "size": 16, "pixel_spacing_mm": 0.7})
    filling = case(stack(1, 8, 16), spacing=(None, 1.4 * (1 + 1e-9), 0.7))
    assert picture_steps(filling, sequence, CPU).shape == (1, 256)
    for spacing in ((None, 1.41, 0.7), (None, 1.4, 0.71)):
        with pytest.raises(CaseTooWide, match="P-ABC"):
            picture_steps(case(stack(1, 8, 16), spacing=spacing), sequence, CPU)


@pytest.mark.parametrize("spacing", [None, (1.0, 0.0, 1.0), (1.0, 1.0, -1.0), (1.0, float("nan"), 1.0)])
@pytest.mark.parametrize("kind", ["rows", "slices", "frames"])
def test_pixels_of_unknown_spacing_are_refused_where_it_counts(kind: str, spacing: Any) -> None:
    unknown = case(stack(1, 8, 8), spacing=spacing)
    assert len(picture_steps(unknown, study({"kind": kind, "size": 8}), CPU))
    with pytest.raises(CohortUnsuitable, match="P-ABC"):
        picture_steps(unknown, study({"kind": kind, "size": 8, "pixel_spacing_mm": 4.0}), CPU)


# --- slices, frames and steps


def test_slices_and_frames_stand_in_their_order() -> None:
    frames = np.stack([np.full((9, 9), level, np.int16) for level in (5, 1, 3)])
    for kind in ("slices", "frames"):
        steps = picture_steps(case(frames), study({"kind": kind, "size": 8}), CPU)
        assert steps.shape == (3, 64)
        assert steps[:, 0].argsort().tolist() == [1, 2, 0]


def stair(count: int) -> NDArray[Any]:
    return np.stack([np.full((8, 8), level, np.int16) for level in range(count)])


@pytest.mark.parametrize(
    ("count", "spacing_mm", "asked_mm", "heights"),
    [
        (5, 2.0, 2.0, [0, 1, 2, 3, 4]),
        (4, 2.0, 1.0, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]),
        (6, 1.0, 2.0, [0.5, 2.5, 4.5]),
        (5, 1.0, 2.0, [0, 2, 4]),
        (1, 5.0, 1.0, [0]),
        (3, 0.1, 0.3, [1]),  # 3 * 0.1 is more than 0.3 to a computer
    ],
)
def test_slices_are_resampled_along_the_normal(
    count: int, spacing_mm: float, asked_mm: float, heights: list[float]
) -> None:
    sequence = study({"kind": "slices", "size": 8, "slice_spacing_mm": asked_mm})
    found = picture_steps(case(stair(count), spacing=(spacing_mm, 1, 1)), sequence, CPU)[:, 0].numpy()
    assert len(found) == len(heights)
    if len(heights) > 1:
        expected = standardise(np.array(heights))
        inner = slice(1, -1)  # at the ends a wide filter has neighbours on one side only
        np.testing.assert_allclose(found[inner], expected[inner], atol=0.15)
        assert (np.diff(found) > 0).all()
        np.testing.assert_allclose(found, -found[::-1], atol=1e-5)


def test_slices_of_unknown_spacing_are_refused_where_it_counts() -> None:
    sequence = study({"kind": "slices", "size": 8, "slice_spacing_mm": 2.0})
    for spacing in (None, (None, 1.0, 1.0), (0.0, 1.0, 1.0)):
        with pytest.raises(CohortUnsuitable, match="P-ABC"):
            picture_steps(case(stair(3), spacing=spacing), sequence, CPU)
        assert len(picture_steps(case(stair(1), spacing=spacing), sequence, CPU)) == 1


@pytest.mark.parametrize("kind", ["slices", "frames"])
def test_longer_case_than_the_study_takes_is_refused(kind: str) -> None:
    sequence = study({"kind": kind, "size": 8, "max_steps": 4})
    assert len(picture_steps(case(stair(4)), sequence, CPU)) == 4
    with pytest.raises(CaseTooWide, match="P-ABC: 5 steps") as caught:
        picture_steps(case(stair(5)), sequence, CPU)
    assert "max_steps" in caught.value.hint


def test_steps_are_counted_after_resampling() -> None:
    sequence = study({"kind": "slices", "size": 8, "slice_spacing_mm": 4.0, "max_steps": 4})
    assert len(picture_steps(case(stair(8), spacing=(2.0, 1, 1)), sequence, CPU)) == 4
    with pytest.raises(CaseTooWide):
        picture_steps(case(stair(4), spacing=(8.0, 1, 1)), sequence, CPU)


def test_spacing_that_is_nonsense_does_not_fill_the_memory() -> None:
    sequence = study({"kind": "slices", "size": 8, "slice_spacing_mm": 0.001})
    with pytest.raises(CaseTooWide):
        picture_steps(case(stair(4), spacing=(100.0, 1, 1)), sequence, CPU)


@pytest.mark.parametrize("kind", ["rows", "patches"])
def test_several_pictures_are_no_single_picture(kind: str) -> None:
    assert len(picture_steps(case(stack(1, 32, 32)), study({"kind": kind, "size": 32}), CPU)) > 1
    with pytest.raises(CohortUnsuitable, match="P-ABC: 2 pictures"):
        picture_steps(case(stack(2, 32, 32)), study({"kind": kind, "size": 32}), CPU)


def test_pictures_are_no_record_and_a_record_no_pictures() -> None:
    with pytest.raises(CohortUnsuitable, match="records"):
        picture_steps(case(stair(2)), RECORDS, CPU)
    with pytest.raises(CohortUnsuitable, match="asks for rows"):
        record_steps(np.zeros(1), np.zeros((1, 2), np.float32), ("HR", "pH"), study({"kind": "rows"}))


# --- batches


def test_batch_gives_each_case_the_steps_it_has_alone() -> None:
    cases = [
        case(stack(3, 20, 16, seed=1)),
        case(stack(5, 20, 16, seed=2), HOUNSFIELD),
        case(stack(3, 20, 16, seed=3), Display(inverted=True)),
        case(stack(3, 9, 40, dtype=np.uint8, seed=4), GREY),
        case(stack(3, 20, 16, seed=5), Display(window=Window(50, 40, "sigmoid"))),
    ]
    sequence = study({"kind": "slices", "size": 8})
    batch = batch_steps(cases, torch.tensor([0, 1, 1, 0, 1]), sequence, CPU)
    assert batch.lengths.tolist() == [3, 5, 3, 3, 3]
    assert batch.targets.tolist() == [0, 1, 1, 0, 1]
    assert batch.steps.shape == (5, 5, 64)
    for one, steps, length in zip(cases, batch.steps, batch.lengths, strict=True):
        torch.testing.assert_close(steps[:length], picture_steps(one, sequence, CPU), atol=1e-5, rtol=0)
        assert not steps[length:].any()


def test_batch_of_no_cases_is_empty() -> None:
    assert len(batch_steps([], torch.zeros(0), study({"kind": "slices", "size": 8}), CPU)) == 0


def test_batch_names_the_case_that_does_not_fit() -> None:
    cases = [case(stair(2), name="P-ONE"), case(stair(3), name="P-TWO")]
    with pytest.raises(CaseTooWide, match="P-TWO"):
        batch_steps(cases, torch.tensor([0, 1]), study({"kind": "frames", "size": 8, "max_steps": 2}), CPU)


def test_large_cases_are_shown_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    cases, sequence = [case(stack(7, 20, 16, seed=s)) for s in range(3)], study({"kind": "slices", "size": 8})
    whole = batch_steps(cases, torch.tensor([0, 1, 0]), sequence, CPU)
    for pixels in (1, 20 * 16 * 2):
        monkeypatch.setattr(tensors, "CHUNK_PIXELS", pixels)
        torch.testing.assert_close(
            batch_steps(cases, torch.tensor([0, 1, 0]), sequence, CPU).steps, whole.steps, atol=1e-5, rtol=0
        )


# --- the same picture through a manifest and through a cohort


def of_manifest(path: Path, asked: Study) -> NDArray[Any]:
    """The steps of a picture that a manifest names."""
    sequence = asked.sequence
    assert isinstance(sequence, Rows | Patches)
    return to_steps(standardise(resize(read_image(path).pixels, (sequence.size, sequence.size))), sequence)


def of_cohort(path: Path) -> Pictures:
    """A picture as a cohort stores it."""
    return case(np.asarray(Image.open(path).convert("L"))[None], GREY)


@pytest.mark.parametrize(
    "sequence", [{"kind": "rows", "size": 96}, {"kind": "patches", "size": 160, "patch": 16}]
)
def test_picture_of_a_cohort_is_that_of_a_manifest(tmp_path: Path, sequence: dict[str, Any]) -> None:
    y, x = np.mgrid[:120, :100]
    grey = (127 + 60 * np.sin(y / 7) + 60 * np.cos(x / 5)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    asked = study(sequence)
    found = picture_steps(of_cohort(tmp_path / "a.png"), asked, CPU)
    np.testing.assert_allclose(found.numpy(), of_manifest(tmp_path / "a.png", asked), atol=1e-4)


def test_chest_x_rays_of_a_cohort_are_those_of_the_manifest(data_folder: Path) -> None:
    asked = study({"kind": "rows", "size": 96})
    paths = sorted((data_folder / "images" / "cxr" / "nihcc").glob("*.png"))[:20]
    found = batch_steps([of_cohort(path) for path in paths], torch.tensor([0] * len(paths)), asked, CPU).steps
    assert len(found) == 20
    for path, steps in zip(paths, found, strict=True):
        np.testing.assert_allclose(steps.numpy(), of_manifest(path, asked), atol=1e-4)


# --- records

RECORDS = study(
    {
        "kind": "steps",
        "variables": {"HR": {"centre": 80, "scale": 20}, "pH": {"centre": 7.4, "scale": 0.1}},
        "time_scale": 60,
    }
)
NAN = float("nan")


def test_record_known_answer() -> None:
    times = np.array([30.0, 60.0, 150.0, 180.0])
    values = np.array([[100, NAN], [NAN, 7.3], [60, 7.4], [NAN, 7.6]], np.float32)
    expected = [
        # value        flag   gap in hours since last measured, or since the record's first step
        [1.0, 0.0, 1, 0, 0.0, 0.0],
        [0.0, -1.0, 0, 1, 0.5, 0.5],
        [-1.0, 0.0, 1, 1, 2.0, 1.5],
        [0.0, 2.0, 0, 1, 0.5, 0.5],
    ]
    found = record_steps(times, values, ("HR", "pH"), RECORDS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)


def test_steps_are_in_order_of_time() -> None:
    times = np.array([20.0, 0.0, 10.0])
    values = np.array([[100, 7.0], [80, NAN], [NAN, 7.4]], np.float32)
    found = record_steps(times, values, ("HR", "pH"), RECORDS)
    order = times.argsort()
    assert torch.equal(found, record_steps(times[order], values[order], ("HR", "pH"), RECORDS))
    assert found[:, 2].tolist() == [1, 0, 1]


def test_variables_stand_in_the_study_s_order_and_others_are_ignored() -> None:
    times = np.array([0.0, 1.0, 2.0])
    values = np.array([[7.4, 3, 100], [NAN, 5, NAN], [7.5, NAN, NAN]], np.float32)
    found = record_steps(times, values, ("pH", "Lactate", "HR"), RECORDS)
    expected = record_steps(times[[0, 2]], values[:, [2, 0]][[0, 2]], ("HR", "pH"), RECORDS)
    assert torch.equal(found, expected)
    assert len(found) == 2  # nothing that the study names was measured at time 1


def test_variable_that_the_cohort_lacks_is_named() -> None:
    with pytest.raises(CohortUnsuitable, match="pH"):
        record_steps(np.zeros(1), np.zeros((1, 1), np.float32), ("HR",), RECORDS)


@pytest.mark.parametrize("steps", [0, 3])
def test_record_without_a_measurement_is_one_step_that_says_so(steps: int) -> None:
    found = record_steps(np.arange(float(steps)), np.full((steps, 2), NAN, np.float32), ("HR", "pH"), RECORDS)
    assert found.shape == (1, 6) and not found.any()


def test_measured_value_at_the_centre_differs_from_none() -> None:
    times, names = np.zeros(1), ("HR", "pH")
    measured = record_steps(times, np.array([[80, 7.4]], np.float32), names, RECORDS)
    absent = record_steps(times, np.array([[80, NAN]], np.float32), names, RECORDS)
    assert measured[0, 3] == absent[0, 2] == 1 and absent[0, 3] == 0


def test_longer_record_than_the_study_takes_is_refused() -> None:
    sequence = RECORDS.sequence.model_dump() | {"max_steps": 2}
    values = np.array([[80, NAN], [NAN, NAN], [80, NAN], [90, 7.0]], np.float32)
    assert len(record_steps(np.arange(3.0), values[:3], ("HR", "pH"), study(sequence))) == 2
    with pytest.raises(CaseTooWide, match="P-REC: 3 steps"):
        record_steps(np.arange(4.0), values, ("HR", "pH"), study(sequence), "P-REC")
