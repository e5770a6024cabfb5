"""What is kept of an object's header: this and nothing else reaches the site's database."""

from __future__ import annotations

from dataclasses import dataclass

from client.dicom.place import Frame

MAKERS = {
    "siemens": "Siemens",
    "ge medical": "GE",
    "ge healthcare": "GE",
    "philips": "Philips",
    "canon": "Canon",
    "toshiba": "Canon",
    "hitachi": "Hitachi",
    "fujifilm": "Fujifilm",
    "fuji photo": "Fujifilm",
    "uih": "United Imaging",
    "united imaging": "United Imaging",
    "neusoft": "Neusoft",
    "mindray": "Mindray",
    "samsung": "Samsung",
    "medison": "Samsung",
    "esaote": "Esaote",
    "hologic": "Hologic",
    "agfa": "Agfa",
    "carestream": "Carestream",
    "kodak": "Carestream",
    "konica": "Konica Minolta",
    "shimadzu": "Shimadzu",
    "varian": "Varian",
    "elekta": "Elekta",
    "accuray": "Accuray",
    "bruker": "Bruker",
    "supersonic": "SuperSonic",
    "acuson": "Siemens",
    "picker": "Philips",
    "marconi": "Philips",
    "lodox": "Lodox",
    "swissray": "Swissray",
    "del medical": "Del Medical",
    "consilium": "Consilium",
}
"""How a maker's name (0008,0070) begins, in lower case, and what it is called in counts.

The field is free text, and hospitals have been seen to write their own name into it; so only a known maker is
named, and any other is "other".
"""


_TERMS = """
ANN AR AU BDUS BI BMD CFM CR CT DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO
LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE
RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XC
AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS OPR ST VF SC
"""
MODALITIES = frozenset(_TERMS.split())
"""Terms of Modality (0008,0060) in PS3.3 C.7.3.1.1.1; in the last line those that are retired, and SC."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An object as it is known after its names are gone.

    Attributes:
        patient: Pseudonym of the patient.
        study: Pseudonym of the DICOM study; and so on.
        series: Pseudonymous UID.
        sop: Pseudonymous UID.
        space: Pseudonym of the frame of reference; empty if there is none.
        modality: Modality (0008,0060), CS; "other" for what the standard does not name.
        scanner: Maker, and a short letter code that tells the maker's models and devices apart.
        year: Of the acquisition, or None.
        frames: Place and time of each picture.
        source: SHA-256 of the file as it was read, in hexadecimal.
        mask: Whether its pixels are a mask.
        referenced: Pseudonyms of the objects and series that a mask was drawn on, or of what its file is
            named after.
        apart_mm: Distance between a mask's planes, if it states it.
        sex: Patient's Sex (0010,0040), CS: F, M or O; empty if it says anything else.
        age: The band of the patient's age when the picture was taken (:mod:`client.ages`); empty if unknown.
    """

    patient: str
    study: str
    series: str
    sop: str
    space: str
    modality: str
    scanner: str
    year: int | None
    frames: tuple[Frame, ...]
    source: str
    mask: bool = False
    referenced: tuple[str, ...] = ()
    apart_mm: float | None = None
    sex: str = ""
    age: str = ""


def modality_of(stated: str) -> str:
    """The modality if it is one of ``MODALITIES``; "other" for any other text, empty for none."""
    return stated if stated in MODALITIES or not stated else "other"


def scanner_of(maker: str, code: str) -> str:
    """``Siemens KQ4X``: a known maker's name and a code for the model.

    Args:
        maker: Manufacturer (0008,0070), LO, as it stands in the file.
        code: Pseudonym of the model's name: free text as well, and some hold the room's or the ward's.
    """
    lower = maker.strip().lower()
    name = next((shown for start, shown in MAKERS.items() if lower.startswith(start)), "")
    return f"{name or ('other' if lower else 'unknown')} {code}".strip()
