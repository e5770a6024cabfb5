"""What is found on the study's grid is laid back where it was in the given pictures."""

from __future__ import annotations

import numpy as np
import pytest

from client.predicting.layout import Layout
from client.tensors import mask_on_grid
from common.sequences import NO_TARGET
from tests.conftest import small_study

SPACED = {"kind": "slices", "size": 16, "pixel_spacing_mm": 2.0, "slice_spacing_mm": 4.0}


def test_a_mask_comes_back_from_a_finer_grid() -> None:
    study = small_study(sequence={"kind": "slices", "size": 16})
    mask = np.random.default_rng(0).integers(0, 4, (3, 8, 6), dtype=np.uint8)
    layout = Layout.of(mask.shape, study)
    assert np.array_equal(layout.laid_back(mask_on_grid(mask, None, study, "x")), mask)


def test_a_mask_comes_back_from_a_field_of_given_spacing() -> None:
    study, spacing_mm = small_study(sequence=SPACED), (8.0, 4.0, 6.0)
    mask = np.random.default_rng(1).integers(0, 4, (3, 5, 4), dtype=np.uint8)
    field = mask_on_grid(mask, spacing_mm, study, "x")
    assert field.shape == (6, 16, 16) and (field == NO_TARGET).any()
    layout = Layout.of(mask.shape, study, spacing_mm)
    assert np.array_equal(layout.laid_back(field), mask)
    assert layout.pixel_mm2 == 24.0 and layout.voxel_ml == pytest.approx(0.192)
    assert [layout.picture(step, 6) for step in range(6)] == [0, 0, 1, 1, 2, 2]


def test_a_box_is_where_the_picture_is() -> None:
    whole = Layout.of((1, 40, 20), small_study())
    assert whole.box((0.25, 0.5, 0.5, 1.0), 8) == (10.0, 10.0, 20.0, 20.0)
    # 5 rows of 4 mm and 4 columns of 6 mm in the middle of a field of 32 mm.
    spaced = Layout.of(
        (1, 5, 4), small_study(sequence={**SPACED, "slice_spacing_mm": None}), (None, 4.0, 6.0)
    )
    assert spaced.box((0.5, 0.5, 1.0, 0.5 + 6 / 32), 16) == (2.5, 2.0, 5.0, 3.0)
    assert whole.pixel_mm2 is None and spaced.voxel_ml is None and spaced.pixel_mm2 == 24.0
