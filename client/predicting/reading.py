"""From what a user names to cases as the model reads them; what cannot be read becomes a refusal.

One thing that is refused does not keep the others from being predicted. Pictures go the way that training
took: a PNG, JPEG or row of a manifest that of a manifest (the file's own window), DICOM that of a cohort (the
study's window, or what is usual for the modality).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from client.predicting.answer import Refused, attempted
from client.predicting.arrays import array_case
from client.predicting.case import Given
from client.predicting.objects import is_dicom, object_cases
from client.predicting.rasters import picture_case
from client.predicting.tables import file_records, table_cases
from common.errors import DataError, ImageMissing, InputOtherKind, NothingFound
from common.study import Steps, Study

Case = Given | Refused
RASTERS = frozenset({".png", ".jpg", ".jpeg"})
ARRAYS = frozenset({".npy", ".npz"})
TABLES = (".csv", ".csv.gz")
NIFTI = (".nii", ".nii.gz")
MASK = "-mask"
Condition = tuple[str, str]


def read_inputs(inputs: Sequence[Path], study: Study, where: Sequence[Condition] = ()) -> Iterator[Case]:
    """The cases of files and folders, in the order in which they were named.

    Args:
        inputs: DICOM, PNG, JPEG, npy or npz files, tables (a manifest, or records), or folders of these.
        study: What the model was trained for.
        where: Columns of a manifest and the values that its rows must have.

    Raises:
        NothingFound: There is no case at all.
    """
    found = False
    for path in inputs:
        for case in _of(path, study, where):
            found = True
            yield case
    if not found:
        raise NothingFound("nothing that was named holds a case")


def _of(path: Path, study: Study, where: Sequence[Condition]) -> Iterator[Case]:
    if path.is_dir():
        yield from _of_folder(path, study)
    elif path.name.lower().endswith(TABLES):
        yield from table_cases(path, study, where)
    elif isinstance(study.sequence, Steps) and path.suffix.lower() == ".npz":
        yield from _records(path, str(path), study)
    elif (read := _reader(path)) is not None:
        yield attempted(str(path), lambda: read(path, str(path), study))
    elif path.is_file() and path.name.lower().endswith(NIFTI):
        yield Refused.of(str(path), InputOtherKind("NIfTI is not read: give its DICOM files, or an npz"))
    elif path.is_file():
        yield from object_cases([(str(path), path)], study)
    else:
        yield Refused.of(str(path), ImageMissing("it does not exist"))


def _of_folder(folder: Path, study: Study) -> Iterator[Case]:
    """Pictures by name, then what the DICOM files make together: a series is a case.

    What :data:`MASK` ends the name of is the truth of the picture beside it, and no picture.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.stem.endswith(MASK))
    objects = []
    for path in files:
        name = str(path.relative_to(folder))
        read = _reader(path)
        if isinstance(study.sequence, Steps) and path.suffix.lower() == ".npz":
            yield from _records(path, name, study)
        elif read is not None:
            yield attempted(name, lambda read=read, path=path, name=name: read(path, name, study))  # type: ignore[misc]
        elif is_dicom(path):
            objects.append((name, path))
    yield from object_cases(objects, study)


def _records(path: Path, name: str, study: Study) -> Iterator[Case]:
    try:
        yield from file_records(path, name, study)
    except DataError as refused:
        yield Refused.of(name, refused)


def _reader(path: Path) -> Callable[[Path, str, Study], Given] | None:
    """What reads a file of this name as one case; None for DICOM and all else."""
    suffix = path.suffix.lower()
    return picture_case if suffix in RASTERS else array_case if suffix in ARRAYS else None
