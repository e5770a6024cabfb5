"""Which objects are pictures to train on, and what the others are, before anything is decoded.

The SOP class decides; where it is missing or unknown, what the object holds and its modality do. Of the
pictures, localisers and those computed from others are told by Image Type (0008,0008). That the first value
is DERIVED is not enough: a CR that was compressed with losses is DERIVED too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary

from client.dicom.dataset.header import holds, text, texts
from client.dicom.outcomes import Kind

_CLASSES: tuple[tuple[str, Kind], ...] = (
    (r"MediaStorageDirectory", Kind.directory),
    (r"(SR|Report|ProcedureLog|Document|AssessmentResults)Storage|SRStorageTrial|^Encapsulated", Kind.report),
    (r"PresentationState|^HangingProtocol|^ColorPalette|StructuredDisplay", Kind.presentation),
    (r"^Standalone(Overlay|ModalityLUT|VOILUT)|^StoredPrint", Kind.presentation),
    (r"^RTDose", Kind.dose),
    (r"^RT(?!Image)|Radiation(Record)?Storage", Kind.plan),
    (r"Waveform|^Standalone\w*Curve", Kind.waveform),
    (r"Registration|Fiducials|^Stereometric", Kind.registration),
    (r"^Surface|^Tractography|Annotation|Measurements|LensCalculations", Kind.annotation),
    (r"^Segmentation", Kind.segmentation),
    (r"^RealWorldValue|^RawData|Spectroscopy|ProcedureProtocol|^ProtocolApproval", Kind.mapping),
    (r"^Inventory|^Implant|^GenericImplant|QuadrupoleResonance|^DICOS[23]DAIT", Kind.mapping),
    (r"^Parametric|ThicknessMap|TopographyMap|EnFace|BscanVolumeAnalysis|^Hardcopy", Kind.derived),
)
"""Parts of a SOP class's name in the standard (PS3.6 Table A-1, without blanks), and what such objects are.

The first that is found counts; a storage class in which none is found holds pictures.
"""

_FURTHER_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.7": Kind.segmentation,  # Label Map Segmentation, younger than the dictionary
    "1.3.12.2.1107.5.9.1": Kind.mapping,  # Siemens CSA Non-Image: raw data
}

_CONTENTS: tuple[tuple[str, Kind], ...] = (
    ("DirectoryRecordSequence", Kind.directory),
    ("ContentSequence", Kind.report),
    ("EncapsulatedDocument", Kind.report),
    ("GraphicAnnotationSequence", Kind.presentation),
    ("StructureSetROISequence", Kind.plan),
    ("FractionGroupSequence", Kind.plan),
    ("DoseGridScaling", Kind.dose),
    ("WaveformSequence", Kind.waveform),
    ("RegistrationSequence", Kind.registration),
    ("SegmentSequence", Kind.segmentation),
)
"""Attributes that only one kind of object has, for objects without a class that is known."""

_MODALITIES: tuple[tuple[str, Kind], ...] = (
    ("SR KO DOC", Kind.report),
    ("PR", Kind.presentation),
    ("RTPLAN RTSTRUCT RTRECORD RTINTENT RTRAD RTSEGANN PLAN", Kind.plan),
    ("RTDOSE", Kind.dose),
    ("ECG HD EPS AU EEG EMG EOG RESP POS", Kind.waveform),
    ("REG FID", Kind.registration),
    ("ANN SMR OAM IOL VA KER LEN SRF OPV", Kind.annotation),
    ("SEG", Kind.segmentation),
    ("RWV", Kind.mapping),
)
"""Modality (0008,0060) of the same objects (PS3.3 C.7.3.1.1.1), the last thing to go by."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Leaves out pictures by a value of Image Type.

    Attributes:
        kind: What they are.
        words: Pattern that one of the values from the third on has to match as a whole.
        modalities: Where the word has this meaning; empty for everywhere.
        original_too: Also where the first value says ORIGINAL.
    """

    kind: Kind
    words: str
    modalities: frozenset[str] = frozenset()
    original_too: bool = True


RULES = (
    Rule(Kind.localiser, r"LOCALI[SZ]ER|SCOUT|TOPOGRAM|SURVIEW"),
    # Of a slide, the label may show a name, and the others show where the picture lies.
    Rule(Kind.localiser, r"LABEL|OVERVIEW|THUMBNAIL", frozenset({"SM"})),
    # Some scanners call a first reconstruction MPR; it is one where it says ORIGINAL.
    Rule(Kind.derived, r"(.*[ _])?(MPR|CPR|REFORMATTED|RESAMPLE|RESAMPLED)([ _].*)?", original_too=False),
    Rule(Kind.derived, r"CSAPARALLEL|CSARADIAL|CURVED", original_too=False),
    Rule(Kind.derived, r"PROJECTION IMAGE|(.*[ _])?(MIP|MINIP|MAXIP|MNIP)([ _].*)?|M(AX|IN)_IP"),
    Rule(Kind.derived, r"VOLUME.?RENDER(ING|ED)|VRT|SSD|3D RENDERING", original_too=False),
    Rule(Kind.derived, r"SUB|SUBTRACT(ION|ED)?|(.*[ _])SUBTRACT(ION|ED)?", original_too=False),
    # Derived pixel contrast, the fourth value of an enhanced object (PS3.3 C.8.16.1.4).
    Rule(Kind.derived, r"MAXIMUM|MINIMUM|MEAN|MEDIAN|STD_DEVIATION|DIVISION", original_too=False),
    Rule(Kind.derived, r"MULTIPLICATION|QUANTITY", original_too=False),
    # Maps of diffusion, of perfusion, and of relaxation.
    Rule(Kind.derived, r"E?ADC|E?ADC[ _].*|FA|COLFA|RA|EXP|TENSOR|DIFFUSION.?MAP", frozenset({"MR"})),
    Rule(Kind.derived, r"R?R?CB[FV]|MTT|TTP|T?MAX|PBP|K_?TRANS|PERFUSION.?MAP.*", frozenset({"MR", "CT"})),
    Rule(
        Kind.derived,
        r"(T1|T2|T2.?STAR|R2|R2.?STAR|B0|B1)[ _]MAP|FIELD.?MAP|FF|FAT.?FRACTION",
        frozenset({"MR"}),
    ),
    Rule(Kind.derived, r"DRR|BLANK|FLUENCE", frozenset({"RTIMAGE"})),
    # Pictures of a screen with numbers on it.
    Rule(Kind.derived, r"SCREEN.?SAVE|DOSE_?INFO|PATIENT.?PROTOCOL|CSA REPORT|.*DOSE.?REPORT.*"),
)
"""Which pictures are left out, unless the person who takes them in asks for them."""


def kind_of(dataset: Dataset) -> Kind | None:
    """What the object is if it is no picture to train on; None if it is one, or cannot be told from one."""
    kind = _by_class(dataset)
    return kind if kind is not None else _by_rule(dataset)


def is_segmentation(dataset: Dataset) -> bool:
    """Whether the object's values are labels of segments."""
    return _by_class(dataset) is Kind.segmentation


def _storage_classes() -> Mapping[str, Kind | None]:
    """What each storage class of the standard holds; None for pictures."""
    found: dict[str, Kind | None] = {}
    for uid, (_, sort, _, _, keyword) in UID_dictionary.items():
        if sort == "SOP Class" and re.search(r"Storage(\w*)$", keyword) and "Commitment" not in keyword:
            found[uid] = next((kind for pattern, kind in _CLASSES if re.search(pattern, keyword)), None)
    return MappingProxyType(found | _FURTHER_CLASSES)


KIND_OF_CLASS = _storage_classes()
"""What the objects of each known storage class are, by UID; None for pictures."""


def _by_class(dataset: Dataset) -> Kind | None:
    """By SOP Class UID (0008,0016); a DICOMDIR has it in its file meta information only."""
    meta = getattr(dataset, "file_meta", None) or Dataset()
    sop_class = text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID") or ""
    return KIND_OF_CLASS[sop_class] if sop_class in KIND_OF_CLASS else _by_content(dataset)


def _by_content(dataset: Dataset) -> Kind | None:
    for keyword, kind in _CONTENTS:
        if holds(dataset, keyword):
            return kind
    modality = text(dataset, "Modality")
    return next((kind for names, kind in _MODALITIES if modality in names.split()), None)


def _by_rule(dataset: Dataset) -> Kind | None:
    values = [value.upper() for value in texts(dataset, "ImageType")]
    modality = text(dataset, "Modality") or ""
    for rule in RULES:
        if rule.modalities and modality not in rule.modalities:
            continue
        if values[:1] == ["ORIGINAL"] and not rule.original_too:
            continue
        if any(re.fullmatch(rule.words, value) for value in values[2:]):
            return rule.kind
    return None
