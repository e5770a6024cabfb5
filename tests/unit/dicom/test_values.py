"""Dates move by whole days, times stay times, numbers are nothing but numbers."""

from __future__ import annotations

import struct

import pytest
from pydicom.valuerep import IS, DSfloat

from client.dicom.deidentification.values import is_number, moved_date, moved_datetime, spells, time_of_day


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("20040301", "20040229"),
        ("2004.03.01", "20040229"),
        (" 20040101 ", "20031231"),
        ("10000101", "09991231"),
        ("00010101", None),  # there is no day before it
        ("20040230", None),
        ("2004-03-01", None),
        ("20040301-20040401", None),
        ("Mustermann", None),
        ("", None),
    ],
)
def test_a_date_moves_or_goes(value: str, moved: str | None) -> None:
    assert moved_date(value, 1) == moved


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("20040301", "20040229"),
        ("20040301123456.123456", "20040229123456.123456"),
        ("20040301123456+0100", "20040229123456"),
        ("2004", None),
        ("200403011", None),
        ("20040301 Erika", None),
    ],
)
def test_a_date_with_time_moves_or_goes(value: str, moved: str | None) -> None:
    assert moved_datetime(value, 1) == moved


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("12", "12"),
        ("123456.5", "123456.5"),
        ("12:34:56", "123456"),
        ("2460", None),
        ("Erika", None),
        ("", None),
    ],
)
def test_a_time_of_day_is_one_or_goes(value: str, kept: str | None) -> None:
    assert time_of_day(value) == kept


@pytest.mark.parametrize("value", [1, -2.5, DSfloat("1.50 "), DSfloat("-1e-3"), IS("+7"), b"\x01\0\x02\0"])
def test_numbers_are_numbers(value: object) -> None:
    assert is_number(value)


@pytest.mark.parametrize("value", ["Erika", "1 2", "", b"Mustermann", None, "nan"])
def test_all_else_is_none(value: object) -> None:
    assert not is_number(value)


@pytest.mark.parametrize(
    ("vr", "code", "text"),
    [
        ("US", "H", b"Erika "),
        ("UL", "I", b"Mustermann\0\0"),
        ("FD", "d", b"Mustermann^Erika"),
        ("SS", ">h", b"Erika^"),
    ],
)
def test_letters_are_seen_in_numbers(vr: str, code: str, text: bytes) -> None:
    order, code = (code[0], code[1]) if len(code) == 2 else ("<", code)
    assert spells(vr, struct.unpack(f"{order}{len(text) // struct.calcsize(code)}{code}", text))


@pytest.mark.parametrize(
    ("vr", "numbers"),
    [
        ("US", [512]),
        ("US", [256, 0, 0, 256]),
        ("UL", [0x20202020]),
        ("FL", [12.078]),
        ("FD", [1.5, 1000.0]),
        ("US", []),
    ],
)
def test_numbers_spell_nothing(vr: str, numbers: list[float]) -> None:
    assert not spells(vr, numbers)
