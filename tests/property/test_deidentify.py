"""Whatever an object holds and however it is nested, nothing planted in it is left."""

from __future__ import annotations

import warnings
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, Sequence, dcmread
from pydicom.config import IGNORE
from pydicom.datadict import DicomDictionary
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage, UID_dictionary  # type: ignore[attr-defined]

from client.dicom.deidentification.deidentify import deidentify
from client.dicom.deidentification.descriptors import clean, words
from client.dicom.deidentification.profile import Action, action
from client.dicom.deidentification.values import moved_date
from client.dicom.pseudonyms import Pseudonyms
from tests.unit.dicom.planted import written

PSEUDONYMS = Pseudonyms(b"p" * 32)
CANARY = "Zyxqvjk"
DIGITS = "4950516253"
TEXTS = ("LO", "SH", "ST", "LT", "UT", "UC", "PN", "AE", "CS", "UR", "AS")

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, of what is planted

TAGS = sorted(
    tag
    for tag, (vr, *_) in DicomDictionary.items()
    if 0x0008 <= tag >> 16 < 0xFFF0
    and vr in (*TEXTS, "DA", "DT", "TM", "UI", "OB", "UN", "IS", "DS", "US", "FD")
)
SEQUENCES = sorted(tag for tag, (vr, *_) in DicomDictionary.items() if vr == "SQ" and tag >> 16 >= 0x0008)


def planted(tag: int) -> DataElement:
    vr = DicomDictionary[tag][0]
    values: dict[str, Any] = {
        **dict.fromkeys(TEXTS, CANARY),
        "DA": "19490507",
        "DT": "19490507111213",
        "TM": CANARY,
        "UI": f"1.2.826.0.1.{DIGITS}.{tag}",
        "OB": CANARY.encode(),
        "UN": CANARY.encode(),
        "IS": "7",
        "DS": "1.5",
        "US": 3,
        "FD": 2.25,
    }
    return DataElement(tag, vr, values[vr], validation_mode=IGNORE)


def filled(tags: list[int], nested: list[tuple[int, list[Dataset]]]) -> Dataset:
    dataset = Dataset()
    for tag in tags:
        dataset.add(planted(tag))
    for tag, items in nested:
        dataset.add(DataElement(tag, "SQ", Sequence(items)))
    return dataset


tags = st.lists(st.sampled_from(TAGS), max_size=12)
leaves = st.builds(filled, tags, st.just([]))
objects = st.recursive(
    leaves,
    lambda inner: st.builds(
        filled, tags, st.lists(st.tuples(st.sampled_from(SEQUENCES), st.lists(inner, max_size=3)), max_size=3)
    ),
    max_leaves=6,
)


def as_instance(dataset: Dataset, implicit: bool = False) -> Dataset:
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, UID(f"1.2.826.0.1.{DIGITS}.1")
    dataset.PatientID, dataset.PatientName = CANARY, f"{CANARY}^{CANARY}"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


@given(objects, st.booleans())
def test_nothing_planted_is_left_and_the_source_stays_as_it_was(dataset: Dataset, implicit: bool) -> None:
    source = written(as_instance(dataset, implicit))
    read = dcmread(BytesIO(source))
    clean_bytes = written(deidentify(read, PSEUDONYMS))
    folded = clean_bytes.lower()
    assert CANARY.lower().encode() not in folded
    assert DIGITS.encode() not in folded
    assert b"19490507" not in folded
    assert written(read) == source
    assert written(deidentify(dcmread(BytesIO(source)), PSEUDONYMS)) == clean_bytes  # no chance, no clock


@given(objects)
def test_what_is_left_is_named_by_a_rule(dataset: Dataset) -> None:
    for element in dcmread(BytesIO(written(deidentify(as_instance(dataset), PSEUDONYMS)))).iterall():
        said = element.tag.group == 0x0012 or element.tag in (0x00280303, 0x00080100, 0x00080102, 0x00080104)
        assert said or action(element.tag) is not Action.remove
        assert not element.tag.is_private
        if element.VR == "UI":
            assert (
                str(element.value).startswith("2.25.") or element.value in UID_dictionary or not element.value
            )


@given(st.text(max_size=40))
def test_a_clean_text_is_words_of_the_vocabulary_and_short_numbers(text: str) -> None:
    for part in clean(text).split():
        letters = "".join(letter for letter in part.casefold() if letter.isalpha())
        assert part.casefold() in words() or len(part) - len(letters) <= 6
    assert clean(clean(text)) == clean(text)


@given(st.text(alphabet="Zyxqvjk^= -_./", min_size=1, max_size=64), st.sampled_from(sorted(words())))
def test_what_is_no_word_never_comes_through(text: str, word: str) -> None:
    assert set(clean(f"{text} {word} {text}").casefold().split()) <= words()


@given(st.dates(date(1901, 1, 1)), st.dates(date(1901, 1, 1)), st.integers(1, 3650))
def test_days_between_dates_stay(first: date, second: date, days: int) -> None:
    moved = [moved_date(f"{day:%Y%m%d}", days) for day in (first, second)]
    assert None not in moved
    one, other = (date.fromisoformat(str(day)) for day in moved)
    assert other - one == second - first
    assert first - one == timedelta(days=days)


def test_the_planted_would_be_seen() -> None:
    """The search that the tests above rest on finds what is there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = written(as_instance(filled(TAGS[:300], []))).lower()
    assert CANARY.lower().encode() in source and b"19490507" in source and DIGITS.encode() in source
