"""Stored objects without files: what the catalogue gives, for what is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from client.cohorts.assembly import Assembly, assemble
from client.cohorts.catalogue import StoredImage
from client.cohorts.labels import Key, Label, Labels
from client.cohorts.rules import Rules
from client.cohorts.store import Blob
from client.dicom.instance import Instance
from client.dicom.pixels import Display
from client.dicom.place import Frame, Plane

SHAPE = (6, 8)
NO_LABELS = Labels({}, {})


def plane(z: float, x: float = -10.0) -> Plane:
    return Plane((x, -20.0, z), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.75))


def frame(
    number: int, z: float | None = None, time: tuple[float, ...] = (), part: int = 1, stack: str = ""
) -> Frame:
    place = None if z is None else plane(z)
    return Frame(place, place.spacing_mm if place else None, stack, time, (number, part))


def stored(
    file: int,
    frames: Sequence[Frame] | None = None,
    *,
    patient: str = "P-A",
    series: str = "1",
    sop: str | None = None,
    digest: str | None = None,
    display: Display | None = None,
    **more: Any,
) -> StoredImage:
    """An object of its own; UIDs and pixels are others for every file unless they are given."""
    instance = Instance(
        patient=patient,
        study=more.pop("study", f"study-of-{patient}"),
        series=series,
        sop=f"sop-{file}" if sop is None else sop,
        space=more.pop("space", f"space-of-{patient}"),
        modality=more.pop("modality", "CT"),
        scanner="Siemens ABCD",
        year=2019,
        frames=tuple(frames or (frame(file),)),
        source=f"source-{file}",
        **more,
    )
    return StoredImage(
        file, file, f"pixels-{file}" if digest is None else digest, instance, display or Display()
    )


def in_order(images: Iterable[StoredImage]) -> list[StoredImage]:
    """As the catalogue gives them."""
    return sorted(images, key=lambda i: (i.digest, i.instance.sop, repr(i.instance), repr(i.display), i.id))


def blobs_of(images: Iterable[StoredImage]) -> dict[str, Blob]:
    return {i.digest: Blob(i.digest, 0, "uint16", (len(i.instance.frames), *SHAPE)) for i in images}


def labelled(labels: Mapping[Key, tuple[str, str | None]]) -> Labels:
    """``{("patient", "P-A"): ("1", "test")}``, one to a line from the second on."""
    by_key = {key: Label(value, split, line) for line, (key, (value, split)) in enumerate(labels.items(), 2)}
    return Labels(by_key, {label.line: (label.line,) for label in by_key.values()})


def assembled(
    images: Iterable[StoredImage],
    rules: Rules | None = None,
    labels: Labels = NO_LABELS,
    share: Mapping[str, float] | None = None,
) -> Assembly:
    images = in_order(images)
    drawn = share or {}
    return assemble(
        images, blobs_of(images), labels, rules or Rules(), lambda patient: drawn.get(patient, 0.9)
    )
