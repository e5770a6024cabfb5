"""What an intake takes, and how fast its cases are read.

``ratio_to_plain_intake``: files a second of ``consilium site cohort add`` against a plain process that reads
each file, decodes it, de-identifies it with dicognito, hashes its pixels and writes them. Both are run as
commands, so that starting them counts. ``read_ratio_to_memcpy``: batches from the cohort's store against
copying as many bytes of memory.

The files: half uncompressed, a quarter JPEG 2000 and a quarter JPEG-LS, both lossless; 256 to 512 pixels
square, 12 bits, every picture another one; half CT, a quarter MR, a quarter radiographs, with the some ninety
attributes that a scanner writes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    generate_uid,
)

from client.cohorts.cohort import Cohort, open_cohort
from client.cohorts.home import open_home
from common.errors import ExtraMissing
from deploy.bench.bench import Figure, Results
from deploy.phantom.anatomy import draw_chest, render

FILES, REPEATS, SEED = 2000, 3, 0
SIZES = (256, 320, 384, 448, 512)
SYNTAXES = (ExplicitVRLittleEndian, JPEG2000Lossless, ExplicitVRLittleEndian, JPEGLSLossless)
SLICES = 20
KINDS = (
    (CTImageStorage, "CT"),
    (MRImageStorage, "MR"),
    (CTImageStorage, "CT"),
    (ComputedRadiographyImageStorage, "CR"),
)
HEADER = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "StudyDate": "20240506",
    "SeriesDate": "20240506",
    "AcquisitionDate": "20240506",
    "ContentDate": "20240506",
    "StudyTime": "101500",
    "SeriesTime": "101612",
    "AcquisitionTime": "101633.5",
    "ContentTime": "101640",
    "Manufacturer": "SIEMENS",
    "InstitutionName": "Bench Hospital",
    "InstitutionAddress": "1 Bench Street, Benchmark",
    "ReferringPhysicianName": "Referrer^Rita",
    "StationName": "CT01",
    "StudyDescription": "Chest routine",
    "SeriesDescription": "Thorax 5.0 B40f",
    "InstitutionalDepartmentName": "Radiology",
    "PhysiciansOfRecord": "Record^Rolf",
    "PerformingPhysicianName": "Performer^Pia",
    "NameOfPhysiciansReadingStudy": "Reader^Rosa",
    "OperatorsName": "Operator^Otto",
    "ManufacturerModelName": "Sensation 16",
    "PatientBirthDate": "19600102",
    "PatientSex": "F",
    "PatientAge": "064Y",
    "PatientSize": 1.7,
    "PatientWeight": 70,
    "OtherPatientIDs": "OTHER1",
    "PatientAddress": "2 Bench Street",
    "PatientTelephoneNumbers": "555-0100",
    "EthnicGroup": "unknown",
    "AdditionalPatientHistory": "cough for two weeks",
    "PatientComments": "none",
    "BodyPartExamined": "CHEST",
    "SliceThickness": 5,
    "KVP": 120,
    "DataCollectionDiameter": 500,
    "DeviceSerialNumber": "12345",
    "SoftwareVersions": "VA70C",
    "ProtocolName": "ThoraxRoutine",
    "ReconstructionDiameter": 240,
    "DistanceSourceToDetector": 1040,
    "DistanceSourceToPatient": 570,
    "GantryDetectorTilt": 0,
    "TableHeight": 150,
    "RotationDirection": "CW",
    "ExposureTime": 500,
    "XRayTubeCurrent": 150,
    "Exposure": 75,
    "FilterType": "0",
    "GeneratorPower": 20,
    "FocalSpots": 1.2,
    "DateOfLastCalibration": "20240506",
    "TimeOfLastCalibration": "073300",
    "ConvolutionKernel": "B40f",
    "PatientPosition": "HFS",
    "SeriesNumber": 2,
    "AcquisitionNumber": 1,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PositionReferenceIndicator": "SN",
    "PixelSpacing": [0.5, 0.5],
    "RescaleIntercept": -1024,
    "RescaleSlope": 1,
    "WindowCenter": 40,
    "WindowWidth": 400,
    "RequestingPhysician": "Requester^Ruth",
    "RequestedProcedureDescription": "CT chest",
    "PerformedProcedureStepStartDate": "20240506",
    "PerformedProcedureStepStartTime": "101500",
    "PerformedProcedureStepID": "PPS1",
    "BurnedInAnnotation": "NO",
}
"""What the header of a CT slice holds besides its identifiers."""

SEQUENCES = (
    "ReferencedStudySequence",
    "ReferencedImageSequence",
    "ProcedureCodeSequence",
    "RequestAttributesSequence",
)
BATCH, BATCHES = 32, 60


def measure() -> Results:
    """``ratio_to_plain_intake`` and ``read_ratio_to_memcpy``, with the figures behind them.

    Raises:
        ExtraMissing: dicognito is not installed.
    """
    if find_spec("dicognito") is None:
        raise ExtraMissing("the rival of this bench is dicognito", hint="pip install dicognito")
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        folder = Path(name)
        archive = folder / "archive"
        _write_archive(archive)
        plain_s, intake_s = [], []
        for repeat in range(REPEATS):
            plain_s.append(_timed([_plain_command(), str(archive), str(folder / f"plain-{repeat}")]))
            intake_s.append(_intake(folder / f"home-{repeat}", archive))
        read, copied = _read_speed(open_cohort(open_home(folder / "home-0"), "bench"))
    plain, intake = statistics.median(plain_s), statistics.median(intake_s)
    return Results(
        (
            Figure("ratio_to_plain_intake", plain / intake, "", goal=1.5, at_least=True),
            Figure("intake_files_per_s", FILES / intake, "1/s"),
            Figure("plain_files_per_s", FILES / plain, "1/s"),
            Figure("read_ratio_to_memcpy", read / copied, "", goal=0.5, at_least=True),
            Figure("read_gb_per_s", read / 1e9, "GB/s"),
            Figure("memcpy_gb_per_s", copied / 1e9, "GB/s"),
        )
    )


def _write_archive(folder: Path) -> None:
    folder.mkdir()
    draw = np.random.default_rng(SEED)
    chests = {size: _chests(size, draw) for size in SIZES}
    for number in range(FILES):
        size = SIZES[number // SLICES % len(SIZES)]
        chest = chests[size][number % 8]
        pixels = np.clip(chest + draw.normal(0, 12, chest.shape), 0, 4095).astype(np.uint16)
        _dataset(number, pixels).save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)


def _chests(size: int, draw: np.random.Generator) -> list[NDArray[np.float32]]:
    return [4095 * render(draw_chest(draw, diseased=bool(i % 2)), (size, size), draw) for i in range(8)]


def _dataset(number: int, pixels: NDArray[np.uint16]) -> Dataset:
    """One slice of a CT or MR series of twenty, or a radiograph, with a header as scanners write it."""
    sop_class, modality = KINDS[number // SLICES % len(KINDS)]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.Modality = sop_class, modality
    series = number // SLICES
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid("study", series), _uid("series", series)
    dataset.SOPInstanceUID, dataset.FrameOfReferenceUID = _uid("image", number), _uid("space", series)
    dataset.PatientID, dataset.PatientName = f"BENCH{series:05d}", f"Bench^{series}"
    dataset.AccessionNumber, dataset.StudyID = f"A{series}", str(series)
    dataset.InstanceNumber = number % SLICES + 1
    dataset.ImagePositionPatient = [-120.0, -120.0, 5.0 * (number % SLICES)]
    for keyword, value in HEADER.items():
        setattr(dataset, keyword, value)
    for keyword in SEQUENCES:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, _uid(keyword, series)
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "CTCH", "LOCAL", "Chest"
        setattr(dataset, keyword, [item])
    dataset.set_pixel_data(pixels, "MONOCHROME2", 12, generate_instance_uid=False)
    syntax = SYNTAXES[number % len(SYNTAXES)]
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    return dataset


def _uid(*names: str | int) -> str:
    return generate_uid(entropy_srcs=[str(SEED), *map(str, names)])


def _plain_command() -> str:
    return str(Path(__file__).with_name("plain_intake.py"))


def _intake(home: Path, archive: Path) -> float:
    consilium = ["-m", "deploy.cli", "site"]
    _timed([*consilium, "init", "--home", str(home)])
    return _timed(
        [*consilium, "cohort", "add", "bench", "--dicom", str(archive), "--home", str(home), "--json"]
    )


def _timed(arguments: list[str]) -> float:
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def _read_speed(cohort: Cohort) -> tuple[float, float]:
    """Bytes a second out of the store and of memory, in batches of cases of one size in random order."""
    largest = [case for case in cohort.cases if cohort.pictures(case)[0][0].shape == (512, 512)]
    draw = np.random.default_rng(SEED)
    order = [draw.choice(len(largest), BATCH) for _ in range(BATCHES)]
    cohort.verify(largest)  # from here on the store is in the page cache, as it is after a first epoch

    def read(batch: NDArray[np.int64]) -> NDArray[np.uint16]:
        stacked: NDArray[np.uint16] = np.stack([cohort.pictures(largest[at])[0][0] for at in batch])
        return stacked

    memory = np.stack([read(order[0]) for _ in range(2)])
    speeds = [
        (_speed(read, order), _speed(lambda batch: memory[int(batch[0]) % 2].copy(), order))
        for _ in range(REPEATS)
    ]
    reads, copies = zip(*speeds, strict=True)
    return statistics.median(reads), statistics.median(copies)


def _speed(read: Callable[[NDArray[np.int64]], NDArray[np.uint16]], order: list[NDArray[np.int64]]) -> float:
    start = time.perf_counter()
    size_bytes = sum(read(batch).nbytes for batch in order)
    return size_bytes / (time.perf_counter() - start)
