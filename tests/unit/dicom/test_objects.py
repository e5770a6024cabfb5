"""What an object is, from its class, its contents, its modality and its image type."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from pydicom import Dataset, Sequence
from pydicom import uid as uids
from pydicom.dataset import FileMetaDataset

from client.dicom.dataset.kinds import KIND_OF_CLASS, is_segmentation, kind_of
from client.dicom.dataset.reading import read
from client.dicom.outcomes import Kind, Quarantined

PICTURES = """
ComputedRadiographyImageStorage DigitalXRayImageStorageForPresentation DigitalXRayImageStorageForProcessing
DigitalMammographyXRayImageStorageForPresentation BreastTomosynthesisImageStorage CTImageStorage
EnhancedCTImageStorage LegacyConvertedEnhancedCTImageStorage MRImageStorage EnhancedMRImageStorage
UltrasoundImageStorage UltrasoundMultiFrameImageStorage EnhancedUSVolumeStorage XRayAngiographicImageStorage
EnhancedXAImageStorage XRayRadiofluoroscopicImageStorage NuclearMedicineImageStorage RTImageStorage
PositronEmissionTomographyImageStorage EnhancedPETImageStorage SecondaryCaptureImageStorage
MultiFrameGrayscaleByteSecondaryCaptureImageStorage VLEndoscopicImageStorage VLPhotographicImageStorage
VLWholeSlideMicroscopyImageStorage OphthalmicPhotography8BitImageStorage OphthalmicTomographyImageStorage
DermoscopicPhotographyImageStorage XRay3DAngiographicImageStorage
"""

OTHERS = {
    Kind.directory: "MediaStorageDirectoryStorage",
    Kind.report: """
        BasicTextSRStorage Comprehensive3DSRStorage KeyObjectSelectionDocumentStorage EncapsulatedPDFStorage
        EncapsulatedSTLStorage XRayRadiationDoseSRStorage ProcedureLogStorage
        SpectaclePrescriptionReportStorage
    """,
    Kind.presentation: """
        GrayscaleSoftcopyPresentationStateStorage HangingProtocolStorage ColorPaletteStorage
        BasicStructuredDisplayStorage GrayscalePlanarMPRVolumetricPresentationStateStorage
    """,
    Kind.plan: """
        RTPlanStorage RTIonPlanStorage RTStructureSetStorage RTBeamsTreatmentRecordStorage
        RTPhysicianIntentStorage TomotherapeuticRadiationRecordStorage
    """,
    Kind.dose: "RTDoseStorage",
    Kind.waveform: "TwelveLeadECGWaveformStorage BasicVoiceAudioWaveformStorage HemodynamicWaveformStorage",
    Kind.registration: """
        SpatialRegistrationStorage DeformableSpatialRegistrationStorage SpatialFiducialsStorage
    """,
    Kind.annotation: """
        MicroscopyBulkSimpleAnnotationsStorage SurfaceSegmentationStorage TractographyResultsStorage
        KeratometryMeasurementsStorage
    """,
    Kind.segmentation: "SegmentationStorage",
    Kind.mapping: """
        RealWorldValueMappingStorage RawDataStorage MRSpectroscopyStorage CTDefinedProcedureProtocolStorage
    """,
    Kind.derived: "ParametricMapStorage OphthalmicThicknessMapStorage",
}


def an_object(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("name", PICTURES.split())
def test_pictures_are_pictures(name: str) -> None:
    assert kind_of(an_object(SOPClassUID=getattr(uids, name))) is None


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in OTHERS.items() for n in names.split()])
def test_other_objects_are_known_by_their_class(kind: Kind, name: str) -> None:
    # A class that the file states counts for more than the modality, which is free to be wrong.
    assert kind_of(an_object(SOPClassUID=getattr(uids, name), Modality="CT")) is kind


def test_every_kind_of_object_has_a_class_and_every_class_of_the_standard_is_known() -> None:
    by_rule = {Kind.localiser, Kind.unwanted, Kind.companion}
    assert set(KIND_OF_CLASS.values()) - {None} == set(Kind) - by_rule
    standard = {
        uid for uid in vars(uids).values() if isinstance(uid, uids.UID) and uid.name.endswith("Storage")
    }
    assert len(standard) > 150
    assert standard <= set(KIND_OF_CLASS)


def test_a_directory_is_known_by_its_meta_information() -> None:
    dataset = an_object(FileSetID="X")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = uids.MediaStorageDirectoryStorage
    assert kind_of(dataset) is Kind.directory


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"ContentSequence": Sequence([Dataset()])}, Kind.report),
        ({"WaveformSequence": Sequence([Dataset()])}, Kind.waveform),
        ({"Modality": "RTSTRUCT"}, Kind.plan),
        ({"Modality": "KO"}, Kind.report),
        ({"Modality": "SEG"}, Kind.segmentation),
        ({"Modality": "MR"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("sop_class", [None, "1.2.3.4.5"], ids=["missing", "private"])
def test_without_a_known_class_contents_and_modality_decide(
    attributes: dict[str, object], kind: Kind | None, sop_class: str | None
) -> None:
    given = attributes if sop_class is None else attributes | {"SOPClassUID": sop_class}
    assert kind_of(an_object(**given)) is kind


@pytest.mark.parametrize(
    ("modality", "image_type", "kind"),
    [
        ("CT", r"ORIGINAL\PRIMARY\LOCALIZER", Kind.localiser),
        ("CT", r"ORIGINAL\PRIMARY\LOCALIZER\CT_SOM5 TOP", Kind.localiser),
        ("MR", r"original\primary\localizer", Kind.localiser),
        ("SM", r"DERIVED\PRIMARY\LABEL\NONE", Kind.localiser),
        ("SM", r"ORIGINAL\PRIMARY\VOLUME\NONE", None),
        ("CT", r"ORIGINAL\PRIMARY\AXIAL\CT_SOM5 SPI", None),
        ("CT", r"DERIVED\SECONDARY\AXIAL\CT_SOM5 MPR", Kind.derived),
        ("CT", r"DERIVED\SECONDARY\REFORMATTED\AVERAGE", Kind.derived),
        ("CT", r"DERIVED\SECONDARY\MIP", Kind.derived),
        ("MR", r"DERIVED\SECONDARY\PROJECTION IMAGE", Kind.derived),
        ("MR", r"DERIVED\PRIMARY\DIFFUSION\ADC\NORM\DIS2D", Kind.derived),
        ("MR", r"DERIVED\PRIMARY\DIFFUSION\FA\ND", Kind.derived),
        ("MR", r"ORIGINAL\PRIMARY\ADC", Kind.derived),
        ("MR", r"DERIVED\PRIMARY\T2 MAP\ND", Kind.derived),
        ("MR", r"DERIVED\PRIMARY\PERFUSION\SUBTRACTION", Kind.derived),
        ("MR", r"ORIGINAL\PRIMARY\MPR", None),
        ("MR", r"ORIGINAL\PRIMARY\M\ND\NORM", None),
        ("MR", r"DERIVED\SECONDARY\OTHER", None),
        ("OP", r"DERIVED\PRIMARY\FA", None),
        ("CR", r"DERIVED\PRIMARY", None),
        ("DX", r"DERIVED\PRIMARY\POST_PROCESSED", None),
        ("OT", r"DERIVED\SECONDARY", None),
        ("CT", r"DERIVED\SECONDARY\SCREEN SAVE", Kind.derived),
        ("CT", r"MPR\MIP", None),  # only from the third value on
        ("CT", r"", None),
    ],
)
def test_image_type_tells_localisers_and_derived_pictures(
    modality: str, image_type: str, kind: Kind | None
) -> None:
    dataset = an_object(SOPClassUID=uids.SecondaryCaptureImageStorage, Modality=modality)
    dataset.ImageType = image_type.split("\\")
    assert kind_of(dataset) is kind


def test_label_maps_are_segmentations_and_pictures_are_not() -> None:
    assert is_segmentation(an_object(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7"))
    assert is_segmentation(an_object(Modality="SEG"))
    assert not is_segmentation(an_object(SOPClassUID=uids.CTImageStorage, Modality="SEG"))


def test_the_bag_holds_what_its_manifest_says(data_folder: Path) -> None:
    kinds: Counter[Kind | None] = Counter()
    for path in sorted((data_folder / "dicom" / "bag").iterdir()):
        try:
            kinds[kind_of(read(path.read_bytes()))] += 1
        except Quarantined:
            continue
    assert kinds == {
        None: 111,
        Kind.segmentation: 14,
        Kind.dose: 7,
        Kind.report: 1,
        Kind.plan: 3,
        Kind.derived: 2,
        Kind.directory: 2,
        Kind.mapping: 1,
        Kind.waveform: 1,
        Kind.annotation: 1,
    }
