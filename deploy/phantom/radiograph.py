"""A phantom's radiograph as a DICOM object: a CR or DX image with every attribute of type 1 and 2.

CR Image (PS3.3 A.2) and Digital X-Ray Image, for presentation (PS3.3 A.26). Nothing in it depends on the
day or the library's release: identifiers are UUIDs of names, dates are counted from a fixed one.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, Sequence
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from deploy.phantom.scanner import Scanner

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "phantom.consilium.invalid")
"""The fixed root of every UID: the UUID of a name below it, written as 2.25.n (PS3.5 B.2)."""

FIRST_DAY = date(2020, 1, 1)


@dataclass(frozen=True, slots=True)
class Radiograph:
    """Which picture of whom: all that the DICOM object says beside the pixels.

    Attributes:
        seed: Of the whole set, so that two sets never share a UID.
        site: The hospital's name.
        patient_id: Also the manifest's.
        sex: F or M.
        age_years: At the examination.
        day: Of the examination, counted from `FIRST_DAY`.
        number: 1 for the patient's first picture.
    """

    seed: int
    site: str
    patient_id: str
    sex: str
    age_years: int
    day: int
    number: int

    def uid(self, *names: str | int) -> UID:
        """The UID of what these names tell apart within the patient."""
        name = "/".join(map(str, (self.seed, self.patient_id, *names)))
        return UID(f"2.25.{uuid.uuid5(NAMESPACE, name).int}")

    def dataset(self, scanner: Scanner, stored: NDArray[Any]) -> Dataset:
        """The DICOM object, ready to be saved with `enforce_file_format`."""
        dataset = Dataset()
        dataset.file_meta = self._file_meta(scanner)
        self._describe_patient(dataset)
        self._describe_study(dataset)
        _describe_equipment(dataset, scanner, self.site)
        if scanner.modality == "DX":
            _describe_dx(dataset, scanner)
        _describe_pixels(dataset, scanner, stored)
        return dataset

    def _file_meta(self, scanner: Scanner) -> FileMetaDataset:
        """File Meta Information (PS3.10 section 7.1)."""
        meta = FileMetaDataset()
        digital = scanner.modality == "DX"
        meta.MediaStorageSOPClassUID = (
            DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
        )
        meta.MediaStorageSOPInstanceUID = self.uid("image", self.number)
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if scanner.implicit_vr else ExplicitVRLittleEndian
        meta.ImplementationClassUID = UID(f"2.25.{NAMESPACE.int}")
        meta.ImplementationVersionName = "PHANTOM_1"
        return meta

    def _describe_patient(self, dataset: Dataset) -> None:
        """Patient module (PS3.3 C.7.1.1)."""
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName = f"PHANTOM^{self.patient_id.upper()}"
        dataset.PatientID = self.patient_id
        dataset.PatientBirthDate = f"{FIRST_DAY.year - self.age_years}0101"
        dataset.PatientSex = self.sex

    def _describe_study(self, dataset: Dataset) -> None:
        """Study, series, image and SOP common modules (PS3.3 C.7.2.1, C.7.3.1, C.7.6.1, C.12.1)."""
        day = (FIRST_DAY + timedelta(days=self.day)).strftime("%Y%m%d")
        dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = day
        dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = f"12{self.number:02d}00"
        dataset.StudyInstanceUID = self.uid("study")
        dataset.SeriesInstanceUID = self.uid("series")
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
        dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, self.number
        dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.Laterality = ""
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
        dataset.PatientOrientation = ["L", "F"]
        dataset.BurnedInAnnotation = "NO"
        dataset.LossyImageCompression = "00"


def _describe_equipment(dataset: Dataset, scanner: Scanner, site: str) -> None:
    """Equipment and the CR or DX series (PS3.3 C.7.5.1, C.8.1.1)."""
    dataset.Modality = scanner.modality
    dataset.Manufacturer = scanner.manufacturer
    dataset.ManufacturerModelName = scanner.model
    dataset.InstitutionName = f"PHANTOM HOSPITAL {site.upper()}"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.PixelSpacing = dataset.ImagerPixelSpacing = [round(scanner.spacing_mm, 4)] * 2


def _describe_dx(dataset: Dataset, scanner: Scanner) -> None:
    """What only a DX object holds (PS3.3 C.8.11)."""
    chest = Dataset()
    chest.CodeValue, chest.CodingSchemeDesignator, chest.CodeMeaning = "51185008", "SCT", "Chest"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = Sequence([chest])
    dataset.AcquisitionContextSequence = Sequence()
    dataset.DetectorType = "SCINTILLATOR"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if scanner.inverted else -1
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "INVERSE" if scanner.inverted else "IDENTITY"


def _describe_pixels(dataset: Dataset, scanner: Scanner, stored: NDArray[Any]) -> None:
    """Image Pixel, Modality LUT and VOI LUT modules (PS3.3 C.7.6.3, C.11.1, C.11.2)."""
    photometric = "MONOCHROME1" if scanner.inverted else "MONOCHROME2"
    pixels = np.ascontiguousarray(stored)
    dataset.set_pixel_data(pixels, photometric, scanner.bits_stored, generate_instance_uid=False)
    dataset.RescaleSlope = scanner.rescale_slope
    dataset.RescaleIntercept = scanner.rescale_intercept
    if scanner.window:
        dataset.WindowCenter, dataset.WindowWidth = scanner.window
