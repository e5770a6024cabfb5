"""CT stacks of bodies with a lesion, as DICOM files that say where they lie, and NIfTI masks of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from deploy.phantom.lesions import draw_case, draw_lesion
from tests.unit.cohorts.archives import SPACING_MM, laid, slice_at

SIDE, SLICES, APART_MM = 24, 5, 2.0
CORNER_MM = (-10.0, -20.0, 0.0)
"""Where the first pixel of a stack lies."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """One patient's.

    Attributes:
        patient: Patient ID (0010,0020).
        folder: Of its DICOM files.
        truth: (SLICES, SIDE, SIDE) uint8, 1 where the lesion is; from foot to head.
    """

    patient: str
    folder: Path
    truth: NDArray[np.uint8]

    def write_mask(self, folder: Path) -> None:
        """Write what a radiologist would have drawn as ``PATIENT.nii.gz``: column, row, slice, in RAS."""
        folder.mkdir(exist_ok=True)
        rows_mm, columns_mm = SPACING_MM
        x, y, z = CORNER_MM
        affine = np.diag([-columns_mm, -rows_mm, APART_MM, 1.0])
        affine[:3, 3] = (-x, -y, z)
        image: Any = nibabel.Nifti1Image(self.truth.transpose(2, 1, 0), affine)  # type: ignore[no-untyped-call]
        image.set_sform(affine, code=1)
        nibabel.save(image, folder / f"{self.patient}.nii.gz")


def write_stack(folder: Path, patient: str, seed: int) -> Stack:
    """A stack of a body with one lesion, as DICOM files in a folder of the patient's name."""
    rng = np.random.default_rng(seed)
    drawn = draw_case(rng, (SLICES, SIDE, SIDE), [draw_lesion(rng, 0, SLICES)])
    noisy = drawn.pictures + rng.normal(0, 0.03, drawn.pictures.shape)
    pixels = np.round(1000 * np.clip(noisy, 0, 1)).astype(np.uint16)
    slices = [
        slice_at(APART_MM * number, patient, number=number + 1, pixels=picture)
        for number, picture in enumerate(pixels)
    ]
    return Stack(patient, laid(folder / patient, slices), drawn.kinds)
