"""One case that was given to be predicted."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from client.predicting.layout import Layout
from client.predicting.truth import Truth


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A case as the model reads it.

    Attributes:
        name: As the user named it: a file's name, and what distinguishes the case in it; in a cohort the
            case's pseudonym.
        steps: (T, F) float32, on the CPU.
        uids: SOP Instance UID (0008,0018) of each object that it was read from; empty if it is no DICOM.
        remarks: What is unusual about it, as codes (:mod:`client.predicting.contract`).
        sources: The DICOM files that it was read from.
        frames: Where it was read from one DICOM file of several frames, which of them each picture is.
        layout: How its pictures lie on the grid that the model reads; None of a record.
        times: Of a record, the time of each step in its own units.
        truth: What its manifest says of it; the model is never told.
    """

    name: str
    steps: torch.Tensor
    uids: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()
    layout: Layout | None = None
    times: tuple[float, ...] = ()
    truth: Truth | None = None
