"""Clips, stacks and the views of a patient, the way that rows of a manifest go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from client.images import Place, read_array_row, read_image, read_stack, resize
from client.predicting.case import Given
from client.predicting.contract import check_brightness, check_modality, check_pictures, remarks_of
from client.predicting.layout import Layout
from client.tensors import check_steps
from common.errors import InputWithoutSpacing
from common.sequences import standardise
from common.study import Frames, Slices, Study, Views


def stack_case(place: Place, name: str, study: Study) -> Given:
    """The clip or stack at a place.

    Raises:
        DataError: It cannot be read, or is not what the model reads.
    """
    stack = read_stack(place)
    check_modality(study, stack.modality)
    return _of_pictures(list(stack.pixels), name, study)


def views_case(places: Sequence[Place], name: str, study: Study) -> Given:
    """The pictures of a patient, in their order.

    Raises:
        DataError: One cannot be read, or is not what the model reads.
    """
    pictures = []
    for place in places:
        array = place.is_array
        picture = read_array_row(place.file, place.array, place.index) if array else read_image(place.file)
        check_modality(study, picture.modality)
        pictures.append(picture.pixels)
    return _of_pictures(pictures, name, study)


def _of_pictures(pictures: list[NDArray[np.float32]], name: str, study: Study) -> Given:
    sequence = study.sequence
    assert isinstance(sequence, Slices | Frames | Views)  # noqa: S101  the callers asked
    check_steps(name, len(pictures), sequence.max_steps)
    for picture in pictures:
        check_pictures(study, (len(pictures), *picture.shape), None)
    check_brightness(np.concatenate([picture.ravel() for picture in pictures]))
    if study.data.window is not None:
        raise InputWithoutSpacing("the model reads modality values, as HU, which this file does not hold")
    field = np.stack([resize(picture, (sequence.size, sequence.size)) for picture in pictures])
    steps = standardise(field).reshape(len(field), -1).astype(np.float32)
    alike = len({picture.shape for picture in pictures}) == 1
    remarks = {remark for picture in pictures for remark in remarks_of(picture[None])}
    return Given(
        name,
        torch.from_numpy(np.ascontiguousarray(steps)),
        remarks=tuple(sorted(remarks)),
        # Views may differ in size; what is found in them then has no one grid to be laid on.
        layout=Layout.of((len(pictures), *pictures[0].shape), study) if alike else None,
    )
