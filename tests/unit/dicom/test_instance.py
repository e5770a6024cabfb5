"""What is kept of free text: only words that are known."""

from __future__ import annotations

import pytest

from client.dicom.instance import MAKERS, MODALITIES, modality_of, scanner_of


@pytest.mark.parametrize(
    ("maker", "code", "expected"),
    [
        ("SIEMENS", "ABCD", "Siemens ABCD"),
        ("  GE MEDICAL SYSTEMS", "", "GE"),
        ("Philips Medical Systems", "X", "Philips X"),
        ("TOSHIBA", "X", "Canon X"),
        ("Klinikum Hintertupfing", "ABCD", "other ABCD"),
        ("", "ABCD", "unknown ABCD"),
        ("   ", "", "unknown"),
        ("The Siemens of ward 7", "", "other"),
    ],
)
def test_only_known_makers_are_named(maker: str, code: str, expected: str) -> None:
    assert scanner_of(maker, code) == expected


def test_makers_are_found_by_their_lower_case() -> None:
    assert all(start == start.lower() for start in MAKERS)
    assert all(scanner_of(start.upper() + " Ltd", "") == name for start, name in MAKERS.items())


@pytest.mark.parametrize(
    ("stated", "expected"), [("CT", "CT"), ("US", "US"), ("", ""), ("ct", "other"), ("MUELLER", "other")]
)
def test_only_known_modalities_are_named(stated: str, expected: str) -> None:
    assert modality_of(stated) == expected


def test_modalities_are_code_strings() -> None:
    assert all(len(term) <= 16 and term.isupper() and term.isalnum() for term in MODALITIES)
    assert {"CT", "MR", "PT", "CR", "DX", "US", "MG", "NM", "XA", "RF", "SEG"} <= MODALITIES
