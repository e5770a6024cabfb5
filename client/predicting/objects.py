"""DICOM files as cases, assembled as an intake assembles them: a picture, a stack or a clip of a series.

Nothing is kept, so what an intake puts into quarantine for later (burned-in text, derived pictures) passes
here: who asks about one picture has looked at it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.cohorts.assembly import assemble
from client.cohorts.case import Case
from client.cohorts.catalogue import StoredImage
from client.cohorts.labels import Labels
from client.cohorts.rules import Rules as CohortRules
from client.cohorts.store import Blob
from client.dicom.archive import Found, read_bytes
from client.dicom.dataset.header import text
from client.dicom.dataset.reading import MAX_OBJECT_BYTES, read
from client.dicom.decoding.display import brightness
from client.dicom.examination import Orders, Passed, Taken, examine_object
from client.dicom.examination import Refused as Untaken
from client.dicom.outcomes import Quarantined, hint_of
from client.dicom.pseudonyms import KEY_BYTES
from client.predicting.answer import Refused
from client.predicting.case import Given
from client.predicting.contract import check_brightness, check_modality, check_pictures, remarks_of
from client.predicting.layout import Layout
from client.tensors import Pictures, picture_steps
from common.errors import DataError, InputManyFrames, InputOtherKind
from common.study import Frames, PictureSequence, Slices, Study

NOBODY = "nobody"
"""Stands for a patient where a file names none; it is not written down."""


def is_dicom(path: Path) -> bool:
    """Whether a file says so at byte 128 (DICOM PS3.10 section 7.1) or by its suffix."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom"}


@dataclass(slots=True)
class _Shelf:
    """What was read of the files, in memory."""

    images: list[StoredImage] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # by digest of the file
    uids: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    def put(self, taken: Taken, name: str, path: Path, uid: str) -> None:
        """Keep an object."""
        source, number = taken.instance.source, len(self.images)
        self.images.append(StoredImage(number, number, taken.digest, taken.instance, taken.pixels.display))
        self.arrays[taken.digest] = taken.pixels.frames
        self.names[source], self.uids[source], self.paths[source] = name, uid, str(path)


def object_cases(files: Sequence[tuple[str, Path]], study: Study) -> Iterator[Given | Refused]:
    """The cases that files make together.

    Args:
        files: Each as the user knows it, and where it is.
        study: What the model was trained for.
    """
    orders, shelf = Orders(secrets.token_bytes(KEY_BYTES), keep_derived=True, allow_burned_in=True), _Shelf()
    for name, path in files:
        refused = _shelved(name, path, orders, shelf)
        if refused is not None:
            yield refused
    for case in _assembled(shelf, study):
        name = _name(case, shelf)
        try:
            yield _given(case, name, shelf, study)
        except DataError as error:
            yield Refused.of(name, error)
    used = {source for case in _assembled(shelf, study) for source in case.content.sources}
    for source in sorted(shelf.names.keys() - used, key=shelf.names.__getitem__):
        why = InputOtherKind("its series makes no case of the kind that the model reads")
        yield Refused.of(shelf.names[source], why)


def _shelved(name: str, path: Path, orders: Orders, shelf: _Shelf) -> Refused | None:
    """Read one file; why it is refused, or None."""
    try:
        content = read_bytes(Found(path), MAX_OBJECT_BYTES)
        dataset = read(content)
        uid = text(dataset, "SOPInstanceUID") or ""
        if not text(dataset, "PatientID"):
            dataset.PatientID = NOBODY
        examined = examine_object(dataset, f"{len(shelf.names)}-{path.name}", orders)
    except Quarantined as refused:
        return Refused(name, str(refused.reason), hint_of(str(refused.reason)), "Have the file repaired.")
    match examined:
        case Taken():
            shelf.put(examined, name, path, uid)
            return None
        case Untaken():
            return Refused(
                name, str(examined.reason), hint_of(str(examined.reason)), "Have the file repaired."
            )
        case Passed():
            return Refused.of(name, InputOtherKind(f"it is {examined.kind}"))


def _assembled(shelf: _Shelf, study: Study) -> tuple[Case, ...]:
    kind = study.sequence.kind if isinstance(study.sequence, Slices | Frames) else "rows"
    blobs = {digest: Blob(digest, 0, array.dtype.str, array.shape) for digest, array in shelf.arrays.items()}
    rules = CohortRules(sequence=kind, keep_derived=True, allow_burned_in=True)
    made = assemble(shelf.images, blobs, Labels({}, {}), rules, lambda patient: 1.0)
    if kind != "rows":
        return tuple(draft.case for draft in made.drafts)
    # Every frame would be a case; which one is meant only the user knows, so the object is one and refused.
    whole: dict[tuple[str, ...], Case] = {}
    for draft in made.drafts:
        case, key = draft.case, draft.case.content.sources
        pieces = (*whole[key].content.pieces, *case.content.pieces) if key in whole else case.content.pieces
        whole[key] = replace(case, content=replace(case.content, pieces=pieces))
    return tuple(whole.values())


def _name(case: Case, shelf: _Shelf) -> str:
    first, *others = (shelf.names[source] for source in case.content.sources)
    return f"{first} and {len(others)} more" if others else first


def _given(case: Case, name: str, shelf: _Shelf, study: Study) -> Given:
    content = case.content
    check_modality(study, content.modality)
    if not isinstance(study.sequence, PictureSequence):
        raise InputOtherKind("pictures, where the model reads records of measurements")
    frames = _frames(case, shelf.arrays)
    display = content.displays[content.pieces[0].display]
    if len(content.displays) > 1:
        display = replace(display, slope=1.0, intercept=0.0)
    between, rows, columns = content.spacing_mm
    check_pictures(study, frames.shape, content.spacing_mm)
    check_brightness(frames)
    if len({shelf.uids[source] for source in content.sources}) != len(content.sources):
        raise InputManyFrames("two of its objects have one SOP Instance UID")
    spacing_mm = None if rows is None or columns is None else (between, rows, columns)
    steps = picture_steps(Pictures(frames, display, spacing_mm, name), study, torch.device("cpu"))
    return Given(
        name,
        steps,
        uids=tuple(shelf.uids[source] for source in content.sources),
        remarks=remarks_of(brightness(frames, display)),
        sources=tuple(shelf.paths[source] for source in content.sources),
        frames=tuple(piece.frame for piece in content.pieces) if len(content.sources) == 1 else (),
        layout=Layout.of(frames.shape, study, content.spacing_mm),
    )


def _frames(case: Case, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """(T, H, W) as stored; as modality values where the scanner rescaled each slice by itself."""
    content = case.content
    stored = [arrays[piece.blob][piece.frame] for piece in content.pieces]
    if len(content.displays) == 1:
        return np.stack(stored)
    shown = [content.displays[piece.display] for piece in content.pieces]
    pairs = zip(stored, shown, strict=True)
    return np.stack([a.astype(np.float32) * np.float32(d.slope) + np.float32(d.intercept) for a, d in pairs])
