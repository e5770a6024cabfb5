"""What a DICOM object that a model makes says of where it comes from: the patient, the pictures, the model.

The patient and the DICOM study are those of the pictures, as the standard asks for: such an object belongs
into the hospital's own archive and leaves it no more freely than the pictures do.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.dicom.dataset.reading import read
from client.dicom.outcomes import Quarantined
from common import __version__
from common.errors import ExtraMissing, ImageUnreadable

if TYPE_CHECKING:
    from pydicom import Dataset

MAKER, PRODUCT = "Consilium", "consilium"
SCHEME = "99CONSILIUM"
"""Of codes that no public list has: a study's own classes."""

_NEEDED = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber")
_DATES = ("StudyDate", "StudyTime", "ReferringPhysicianName")


def highdicom() -> Any:
    """The library, imported when it is needed.

    Raises:
        ExtraMissing: It is not installed.
    """
    try:
        return importlib.import_module("highdicom")
    except ImportError:
        raise ExtraMissing(
            "writing DICOM objects needs highdicom", hint="Install it: pip install 'consilium[dicom]'"
        ) from None


def source_datasets(paths: Sequence[str]) -> list[Dataset]:
    """The objects in files, in their order, with the elements that every DICOM object must have.

    Raises:
        ImageUnreadable: One cannot be read.
    """
    found = []
    for path in paths:
        try:
            dataset = read(Path(path).read_bytes())
        except (OSError, Quarantined) as error:
            raise ImageUnreadable(f"{path}: {error}") from None
        for keyword in (*_NEEDED, *_DATES):
            if keyword not in dataset:
                setattr(dataset, keyword, "")  # type 2: present, and empty where it is not known
        found.append(dataset)
    return found


def class_code(codes: Any, name: str) -> Any:
    """A class of a study as a coded concept: the same code for the same name, and another for another."""
    code = hashlib.sha256(name.encode()).hexdigest()[:16]  # of Code Value (0008,0100), SH, 16 at most
    return codes(value=code, scheme_designator=SCHEME, meaning=name[:64])


def version() -> str:
    """Of this program, as objects name it."""
    return __version__
