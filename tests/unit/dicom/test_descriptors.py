"""Of a text only words of radiology stay; names, numbers and dates never do."""

from __future__ import annotations

import pytest

from client.dicom.deidentification.descriptors import clean, clean_model, is_term, machine_words, terms, words

COMMON_AND_NEEDED = {"brain", "colon", "gray", "head", "long", "short", "small", "white"}
"""Surnames, too, but radiology cannot do without; the patient's own names go all the same."""


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("CT Thorax", "CT THORAX"),
        ("dti_tra_dir16_PA_rot", "DTI TRA DIR16 PA ROT"),
        ("T1W/SE/1024", "T1W SE"),
        ("5/5mm Plain", "5MM PLAIN"),
        ("Schädel nativ 5,0 mm", "SCHADEL NATIV 5,0 MM"),
        ("MRI WRIST WO/CONTRAST - UNILATERAL", "MRI WRIST WO CONTRAST UNILATERAL"),
        ("120 kV", "120 KV"),
        ("Thorax Mustermann, Erika *12.03.1957", "THORAX"),
        ("Hr. Müller, Kontrolle 12/2019", "KONTROLLE"),
        ("1234567 mm", ""),
        ("12.03.1957", ""),
        ("0151 2345678", ""),
        ("山田太郎", ""),
        ("", ""),
        ("\0\n^^==", ""),
    ],
)
def test_only_words_of_the_vocabulary_and_sizes_stay(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_words_of_the_patients_name_go_even_if_the_vocabulary_has_them() -> None:
    assert clean("MR Head flair", {"head"}) == "MR FLAIR"
    assert clean_model("Vida Signa", {"vida"}) == "SIGNA"


def test_a_text_ends_with_a_whole_word_where_its_representation_ends() -> None:
    assert clean("THORAX ABDOMEN PELVIS", longest=16) == "THORAX ABDOMEN"
    assert clean("THORAX ABDOMEN P", longest=14) == "THORAX ABDOMEN"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("DISCOVERY MR750", "DISCOVERY MR750"),
        ("uMR 770", "UMR 770"),
        ("Philips Medical Systems", "PHILIPS MEDICAL SYSTEMS"),
        ("LOGIQ 700", "LOGIQ 700"),
        ("Praxis Schmidt", ""),
        ("12 345", ""),
        ("SIGNA 1234567", "SIGNA"),
    ],
)
def test_machines_keep_their_short_numbers(text: str, cleaned: str) -> None:
    assert clean_model(text) == cleaned


@pytest.mark.parametrize(
    "value",
    [
        "MONOCHROME2",
        " ORIGINAL",
        " DERIVED",
        " PRIMARY",
        " AXIAL",
        " HFS",
        " YBR_FULL_422",
        " NO",
        " YES",
        " RGB",
        " PALETTE COLOR",
        " WHOLE BODY",
        "\n    SLICE_AND_FREQ",
        " FLUID_ATTENUATED",
        " EPI_GEMS",
        " DIS3D",
        " T2_STAR",
        " FOR PRESENTATION",
        " L",
        " AFR",
        " 01",
    ],
)
def test_defined_terms_stay(value: str) -> None:
    assert is_term(value)


@pytest.mark.parametrize(
    "value", ["MUSTERMANN", "QIICR QIN IOWA", "35CMX35CM", "19570312", "4711", "HEAD JONES"]
)
def test_other_coded_strings_do_not(value: str) -> None:
    assert not is_term(value)


def test_the_vocabulary_holds_no_common_names() -> None:
    lists = pytest.importorskip("dicognito.pnanonymizer").PNAnonymizer
    names = {name.casefold() for name in (*lists._all_first_names, *lists._last_names)}
    assert words() & names == COMMON_AND_NEEDED


def test_the_vocabulary_is_written_as_it_is_looked_up() -> None:
    assert words() < machine_words() < terms()
    for word in terms():
        assert word.isascii() and word.isalnum() and word == word.casefold()
