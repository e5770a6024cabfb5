"""Codes stay only if PS3.16 lists them, and then in its words."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from client.dicom.deidentification.codes import is_coded, listed


@pytest.mark.parametrize(
    ("scheme", "value", "meaning"),
    [
        ("DCM", "113076", "Segmentation"),
        ("SCT", "12738006", "Brain structure (body structure)"),
        ("SRT", "T-A0100", "Brain structure (body structure)"),
        ("UCUM", "mm", "mm"),
    ],
)
def test_the_standards_codes_have_the_standards_words(scheme: str, value: str, meaning: str) -> None:
    assert listed(f"{scheme} ", f" {value}") == (value, scheme, meaning)


@pytest.mark.parametrize(
    ("scheme", "value"), [("99LOCAL", "113076"), ("SCT", "4711"), ("DCM", ""), ("", "Erika")]
)
def test_other_codes_are_not_listed(scheme: str, value: str) -> None:
    assert listed(scheme, value) is None


def test_an_item_with_a_code_is_coded() -> None:
    item = Dataset()
    assert not is_coded(item)
    item.URNCodeValue = "urn:lex:us:federal:codified.regulation:2013-04-25;45CFR164"
    assert is_coded(item)
