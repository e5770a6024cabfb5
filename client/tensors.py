"""From what a site has stored of a case's pictures to the steps that a model reads.

Invariants:

* Pictures go to the device as they are stored, one or two bytes a pixel, and become brightness there.
* Nothing is cut away: a case that does not fit the study's field or its number of steps is an error.
* Statistics are the case's own or the study's, never those of other patients.

Resampling goes by two small matrices, one for each side of the picture. They hold the triangle filter of
Pillow's and torch's antialiased bilinear resampling, which themselves cannot lay a picture on a grid of a
given spacing: they only divide it into whole pixels.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.dicom.decoding.display import black_and_white, is_sigmoid, stretched
from client.dicom.pixels import Display, Window
from common.errors import CaseTooWide, CohortUnsuitable
from common.sequences import NO_TARGET, SequenceBatch, pad, to_steps
from common.study import Frames, Patches, PictureSequence, Rows, Slices, Study, Views

CHUNK_PIXELS = 2**25
"""Pixels that are brightness at one time: 128 MiB as float32, and some copies of it."""

MOST_STEPS = 2**16
"""Most steps of a case where the study states no limit: a spacing that is nonsense asks for billions."""

SpacingMm = tuple[float | None, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The pictures of one case as stored.

    Attributes:
        frames: (T, H, W), or T times (H, W): uint8, int8, uint16, int16 or float32; may be a read-only map
            of a file.
        display: How they are to be shown.
        spacing_mm: Between steps, rows, columns; None where it is not known.
        name: What errors call the case: its pseudonym.
    """

    frames: NDArray[Any] | Sequence[NDArray[Any]]
    display: Display
    spacing_mm: SpacingMm | None
    name: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """T, H, W."""
        height, width = self.frames[0].shape
        return len(self.frames), height, width


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the study's pixels lie in a case: about the same middle, so many of the case's own apart."""

    count: int
    steps: float
    rows: float
    columns: float


def picture_steps(pictures: Pictures, study: Study, device: torch.device) -> torch.Tensor:
    """A case's pictures as standardised steps.

    Args:
        pictures: One picture for rows and patches; a stack for slices; a clip for frames.
        study: Its ``[sequence]`` and ``[data] window``.
        device: Where the work is done and the result lies.

    Returns:
        (T, F) float32, mean 0 and standard deviation 1 over the case; zeros if the case is constant. Where
        the study's task is generation, brightness in [0, 1] as it is.

    Raises:
        CaseTooWide: Part of a picture, or a step, would have to be cut away.
        CohortUnsuitable: The case is not of the study's kind, or its spacing is needed and not known.
    """
    sequence = _of_pictures(study)
    return _alike([pictures], _grid_of(pictures, sequence), study, device)[0]


def batch_steps(
    cases: Sequence[Pictures],
    targets: torch.Tensor | Sequence[torch.Tensor],
    study: Study,
    device: torch.device,
) -> SequenceBatch:
    """Many cases as one padded batch; those of one shape and spacing are worked on together.

    Args:
        cases: As for :func:`picture_steps`.
        targets: What is to be learnt of each, as :func:`common.sequences.pad` takes it.
        study: As for :func:`picture_steps`.
        device: As for :func:`picture_steps`.

    Raises:
        CaseTooWide, CohortUnsuitable: As :func:`picture_steps`.
    """
    sequence, window = _of_pictures(study), _window(study)
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        grid = _grid_of(case, sequence)
        groups[grid, case.shape, case.frames[0].dtype.str, is_sigmoid(case.display, window)].append(index)
    steps: dict[int, torch.Tensor] = {}
    for (grid, *_), members in groups.items():
        steps.update(zip(members, _alike([cases[i] for i in members], grid, study, device), strict=True))
    return pad([steps[index] for index in range(len(cases))], targets)


def mask_on_grid(
    mask: NDArray[np.uint8], spacing_mm: SpacingMm | None, study: Study, name: str
) -> NDArray[np.uint8]:
    """A mask on the study's grid, by the nearest of the case's own pixels: where :func:`picture_steps` looks.

    Args:
        mask: (T, H, W), of the shape of the case's pictures.
        spacing_mm: As of :class:`Pictures`.
        study: As for :func:`picture_steps`.
        name: What errors call the case.

    Returns:
        (T', size, size); ``NO_TARGET`` where the study's field reaches beyond the picture.

    Raises:
        CaseTooWide, CohortUnsuitable: As :func:`picture_steps`.
    """
    sequence, (count, height, width) = _of_pictures(study), mask.shape
    grid = _grid(name, (count, height, width), spacing_mm, sequence)
    laid = mask
    for axis, (wanted, apart) in enumerate(
        ((grid.count, grid.steps), (sequence.size, grid.rows), (sequence.size, grid.columns))
    ):
        nearest, inside = _nearest(mask.shape[axis], wanted, apart)
        laid = np.take(laid, nearest, axis=axis)
        np.moveaxis(laid, axis, 0)[~inside] = NO_TARGET
    return laid


def grid_distances(
    shape: tuple[int, int, int], spacing_mm: SpacingMm | None, study: Study, name: str = "the case"
) -> tuple[float, float, float]:
    """How many of a case's own pictures, rows and columns lie between two of the study's grid.

    Args:
        shape: T, H, W of the case.
        spacing_mm: As of :class:`Pictures`.
        study: As for :func:`picture_steps`.
        name: What errors call the case.

    Raises:
        CaseTooWide, CohortUnsuitable: As :func:`picture_steps`.
    """
    grid = _grid(name, shape, spacing_mm, _of_pictures(study))
    return grid.steps, grid.rows, grid.columns


def _of_pictures(study: Study) -> PictureSequence:
    if isinstance(study.sequence, PictureSequence):
        return study.sequence
    raise CohortUnsuitable("the cohort holds pictures, and the study asks for records of measurements")


def _grid_of(case: Pictures, sequence: PictureSequence) -> _Grid:
    return _grid(case.name, case.shape, case.spacing_mm, sequence)


def _grid(
    name: str, shape: tuple[int, int, int], spacing_mm: SpacingMm | None, sequence: PictureSequence
) -> _Grid:
    """The study's grid in a case, once it is known that the whole case lies on it."""
    count, height, width = shape
    if isinstance(sequence, Rows | Patches) and count != 1:
        raise CohortUnsuitable(f"{name}: {count} pictures, where kind {sequence.kind} reads one")
    rows, columns, steps = height / sequence.size, width / sequence.size, 1.0
    if sequence.pixel_spacing_mm is not None:
        _, row_mm, column_mm = spacing_mm or (None, None, None)
        rows = sequence.pixel_spacing_mm / _known(name, row_mm)
        columns = sequence.pixel_spacing_mm / _known(name, column_mm)
        # A picture that fills the field must not fail over the rounding of its spacing.
        if max(height / rows, width / columns) > sequence.size * (1 + 1e-6):
            raise CaseTooWide(
                f"{name}: {height / rows:.1f} x {width / columns:.1f} pixels of "
                f"{sequence.pixel_spacing_mm} mm, and the field has {sequence.size} x {sequence.size}"
            )
    if isinstance(sequence, Slices) and sequence.slice_spacing_mm is not None and count > 1:
        steps = sequence.slice_spacing_mm / _known(name, spacing_mm and spacing_mm[0])
        count = math.ceil(count / steps * (1 - 1e-6))
    if isinstance(sequence, Slices | Frames | Views):
        check_steps(name, count, sequence.max_steps)
    return _Grid(count, steps, rows, columns)


def _known(name: str, spacing_mm: float | None) -> float:
    if spacing_mm is None or not math.isfinite(spacing_mm) or spacing_mm <= 0:
        raise CohortUnsuitable(
            f"{name}: the spacing of its pixels or slices is not known",
            hint="Leave the case out, or ask for a study without pixel_spacing_mm and slice_spacing_mm.",
        )
    return spacing_mm


def check_steps(name: str, count: int, most: int | None) -> None:
    """Refuses a case of too many steps.

    Raises:
        CaseTooWide: More than the study's ``max_steps``, or than ``MOST_STEPS`` where it states none.
    """
    if count > (most or MOST_STEPS):
        raise CaseTooWide(
            f"{name}: {count} steps, and the study takes {most or MOST_STEPS}",
            hint="Raise [sequence] max_steps or slice_spacing_mm, or leave the case out.",
        )


def _alike(cases: Sequence[Pictures], grid: _Grid, study: Study, device: torch.device) -> torch.Tensor:
    """(N, T, F) steps of cases that have one shape, one stored type and one grid."""
    sequence, (count, height, width) = _of_pictures(study), cases[0].shape
    rows = _triangle(height, sequence.size, grid.rows).to(device)
    columns = _triangle(width, sequence.size, grid.columns).to(device).T
    window = _window(study)
    shades = torch.tensor([_shades(case, window) for case in cases]).repeat_interleave(count, dim=0)
    sigmoid = is_sigmoid(cases[0].display, window)
    frames = [frame for case in cases for frame in case.frames]
    chunk = max(1, CHUNK_PIXELS // (height * width))
    seen = []
    for first in range(0, len(frames), chunk):
        # A copy, for torch wants memory that it might write to.
        stored = torch.from_numpy(np.stack(frames[first : first + chunk])).to(device)
        brightness = _brightness(stored, shades[first : first + chunk].to(device), sigmoid)
        seen.append(rows @ (brightness @ columns))
    field = torch.cat(seen).reshape(len(cases), count, -1)
    if grid.steps != 1:
        field = _triangle(count, grid.count, grid.steps).to(device) @ field
    if study.study.task != "generation":
        field = _standardised(field)
    if isinstance(sequence, Rows | Patches):
        return to_steps(field.reshape(-1, sequence.size, sequence.size), sequence)
    return field


def _window(study: Study) -> Window | None:
    asked = study.data.window
    return None if asked is None else Window(asked.centre, asked.width, asked.function)


def _shades(case: Pictures, window: Window | None) -> tuple[float, float]:
    """The stored value shown black, and one over how far white lies from it; 0 for a constant case."""
    black, white = black_and_white(case.display, window) or _range(case)
    return black, 0.0 if white == black else 1.0 / (white - black)


def _range(case: Pictures) -> tuple[float, float]:
    """The case's own least and greatest finite value, as black and white."""
    least, greatest = math.inf, -math.inf
    for frame in case.frames:
        finite = frame[np.isfinite(frame)] if frame.dtype.kind == "f" else frame
        if finite.size:
            least, greatest = min(least, float(finite.min())), max(greatest, float(finite.max()))
    return stretched(case.display, least, greatest) if least <= greatest else (0.0, 0.0)


def _brightness(stored: torch.Tensor, shades: torch.Tensor, sigmoid: bool) -> torch.Tensor:
    """(N, H, W) float32 in [0, 1] of stored values, through windows (N, 2); what is no number is black."""
    black, per_value = shades[:, 0, None, None], shades[:, 1, None, None]
    shown = (stored.to(torch.float32) - black) * per_value
    if sigmoid:  # DICOM PS3.3 C.11.2.1.3.1, in a form that cannot overflow
        shown = 0.5 + 0.5 * torch.tanh(2 * (shown - 0.5))
    return shown.clamp(0, 1).nan_to_num(0.0) if stored.is_floating_point() else shown.clamp(0, 1)


def _standardised(values: torch.Tensor) -> torch.Tensor:
    """(N, ...) with mean 0 and standard deviation 1 over each case, as ``common.sequences.standardise``."""
    over = tuple(range(1, values.ndim))
    centred = values - values.mean(over, keepdim=True)
    deviation = centred.std(over, correction=0, keepdim=True)
    return torch.where(deviation > 1e-6, centred / deviation, torch.zeros_like(centred))


@lru_cache(maxsize=64)
def _triangle(given: int, wanted: int, apart: float) -> torch.Tensor:
    """Weights that resample ``given`` samples to ``wanted`` new ones about the same middle.

    With new sample j at c_j = (given - 1) / 2 + (j - (wanted - 1) / 2) * apart, the weight of sample i is
    max(0, 1 - |c_j - i| / max(apart, 1)), and each row has the sum 1: linear between samples when they become
    more, an average over the new sample's surroundings when they become fewer.

    Args:
        given: Number of samples.
        wanted: Number of new samples.
        apart: Samples from one new sample to the next.

    Returns:
        (wanted, given) float32, on the CPU; zeros for a new sample that lies beside the given ones.
    """
    centre = (given - 1) / 2 + (torch.arange(wanted, dtype=torch.float64) - (wanted - 1) / 2) * apart
    distance = (centre[:, None] - torch.arange(given, dtype=torch.float64)).abs()
    weight = (1 - distance / max(apart, 1.0)).clamp_min(0)
    inside = (centre > -0.5 - 1e-6) & (centre < given - 0.5 + 1e-6)
    return (weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-12) * inside[:, None]).to(torch.float32)


@lru_cache(maxsize=64)
def _nearest(given: int, wanted: int, apart: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(wanted,) the sample nearest to each new one, and whether the new one lies among the given.

    The places of new samples are those of :func:`_triangle`; between two samples the later one is taken.
    """
    centre = (given - 1) / 2 + (np.arange(wanted) - (wanted - 1) / 2) * apart
    inside = (centre > -0.5 - 1e-6) & (centre < given - 0.5 + 1e-6)
    return np.clip(np.floor(centre + 0.5), 0, given - 1).astype(np.int64), inside
