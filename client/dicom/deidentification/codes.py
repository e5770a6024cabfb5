"""Coded concepts (DICOM PS3.3 8.8) that may stay: those of PS3.16's context groups, with PS3.16's own words.

A hospital's own codes and meanings can say anything. So a code stays only if the standard itself lists it,
and what is written as its meaning is the standard's, never the file's.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from pydicom import Dataset

_LONGEST_CODE = 16
_LONGEST_MEANING = 64
_CODED = (0x00080100, 0x00080119, 0x00080120)  # CodeValue, LongCodeValue, URNCodeValue


def is_coded(item: Dataset) -> bool:
    """Whether a sequence item states a concept by its code."""
    return any(tag in item for tag in _CODED)


def listed(scheme: str, value: str) -> tuple[str, str, str] | None:
    """Code value (0008,0100), coding scheme designator (0008,0102) and PS3.16's meaning (0008,0104).

    Returns:
        None if PS3.16 does not list the code.
    """
    meaning = _meanings().get((scheme.strip(), value.strip()))
    return None if meaning is None else (value.strip(), scheme.strip(), meaning)


@cache
def _meanings() -> dict[tuple[str, str], str]:
    """The meaning of each scheme and code; SNOMED codes also under their older spelling (SRT)."""
    # Half a second to import: only once a file has codes. pydicom offers no public way from code to meaning.
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    schemes: dict[str, dict[str, dict[str, tuple[str, list[int]]]]] = cast(Any, concepts)
    found = {
        (scheme, code): _ascii(meaning)
        for scheme, keywords in schemes.items()
        for codes in keywords.values()
        for code, (meaning, _) in codes.items()
        if len(code) <= _LONGEST_CODE and code.isascii()
    }
    for older, code in mapping["SRT"].items():
        if ("SCT", code) in found:
            found["SRT", older] = found["SCT", code]
    return found


def _ascii(meaning: str) -> str:
    return meaning.encode("ascii", "ignore").decode("ascii")[:_LONGEST_MEANING].strip()
