"""What becomes of each attribute: DICOM PS3.15 Table E.1-1, edition 2026c, as one readable table.

``profile.csv`` beside this module holds a row for every attribute of the Basic Application Level
Confidentiality Profile, with the standard's own action and ours, and rows of our own for what the standard
leaves alone but could carry words. Of the standard's options two are used: *Retain Longitudinal Temporal
Information With Modified Dates* and *Clean Descriptors*; ``option`` names them where our action rests on one.

An attribute without a row stays only if its value representation cannot carry a name: see ``BY_VR``. So a
later edition's new attributes, unknown tags and anything a maker adds are dropped, not kept.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files

from pydicom.datadict import dictionary_VR, keyword_for_tag

EDITION = "2026c"
"""The edition of PS3.15 whose Table E.1-1 is held here."""


class Action(StrEnum):
    """What becomes of an attribute."""

    remove = "remove"
    empty = "empty"  # stays without a value (type 2)
    dummy = "dummy"  # a fixed value of its value representation (type 1)
    uid = "uid"  # another UID for each of the hospital's; the standard's own UIDs stay
    move = "move"  # date moved by the patient's days
    time = "time"  # time of day, kept if it is one
    clean = "clean"  # only words of the vocabulary stay
    model = "model"  # the same, with the words and numbers that machines are called by
    patient = "patient"  # the patient's pseudonym
    letters = "letters"  # letters that stand for the value
    nested = "nested"  # each item is de-identified by itself
    number = "number"  # kept if it is one
    pointer = "pointer"  # tags, kept if the dictionary has them
    term = "term"  # coded string, kept if made of known terms
    keep = "keep"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        tag: Eight hexadecimal digits; ``x`` for any digit, or ``private``.
        keyword: The attribute's keyword (PS3.6).
        standard: The standard's action (X, Z, D, U and their combinations, PS3.15 E.1.1); empty where the
            standard has no row.
        option: The option that our action rests on: ``dates``, ``descriptors`` or none.
        action: Ours.
    """

    tag: str
    keyword: str
    standard: str
    option: str
    action: Action


BY_VR: dict[str, Action] = {
    **dict.fromkeys(("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "DS", "IS"), Action.number),
    "AT": Action.pointer,
    "CS": Action.term,
    "UI": Action.uid,
    "SQ": Action.nested,
}
"""What becomes of an attribute without a row, by value representation; of every other one: removed.

That is text (AE LO LT PN SH ST UC UR UT), age (AS), dates and times (DA DT TM), which a row must name, and
bytes (OB OD OF OL OV OW UN), of which only the picture, its tables and its offsets have a row.
"""

PERSONAL_GROUPS = frozenset({0x0010, 0x0012, 0x0032, 0x0038, 0x0400, 0x4000, 0x4008})
"""Groups that describe patient, trial, visit, request, signature or report: without a row nothing stays."""


def _read() -> tuple[Row, ...]:
    lines = files(__package__).joinpath("profile.csv").read_text(encoding="utf-8").splitlines()[1:]
    return tuple(
        Row(tag, keyword, standard, option, Action(action))
        for tag, keyword, standard, option, action in csv.reader(lines)
    )


ROWS: tuple[Row, ...] = _read()
_ACTIONS = {int(row.tag, 16): row.action for row in ROWS if "x" not in row.tag and row.tag != "private"}


def action(tag: int) -> Action:
    """What becomes of the attribute with this tag, group in the upper 16 bits."""
    known = _ACTIONS.get(tag)
    return known if known is not None else _without_row(tag)


@lru_cache(maxsize=4096)
def _without_row(tag: int) -> Action:
    group = tag >> 16
    if group % 2 or group < 0x0008 or group in PERSONAL_GROUPS or not keyword_for_tag(tag):
        return Action.remove  # private, command and file meta, personal, or not in the dictionary
    if group & 0xFF00 in (0x5000, 0x6000):
        return Action.remove  # curves and overlays
    return BY_VR.get(dictionary_VR(tag)[:2], Action.remove)


def standard_vrs(tag: int) -> tuple[str, ...]:
    """The value representations that the dictionary allows, as ``("US", "SS")``."""
    return tuple(dictionary_VR(tag).split(" or "))
