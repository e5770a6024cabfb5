"""What may stay of a text: the Clean Descriptors Option (DICOM PS3.15 E.3.5), by a list of what is allowed.

Names cannot be found reliably in free text, words of radiology can: only those of ``vocabulary.txt`` stay,
and short numbers that are sizes. Everything else goes, also what would have been harmless.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import cache
from importlib.resources import files

LONGEST_TEXT = 10_240
"""Characters of a text that are looked at; what lies behind goes."""

NOBODY: frozenset[str] = frozenset()

_TOKEN = re.compile(r"[0-9]+(?:[.,][0-9]+)?[A-Za-z]*|[A-Za-z][A-Za-z0-9]*")
_NUMBER = re.compile(r"[0-9]{1,3}(?:[.,][0-9]{1,2})?")
_UNITS = frozenset(
    {"mm", "cm", "ml", "cc", "kv", "kvp", "ma", "mas", "kev", "mev", "ms", "msec", "t", "hz", "mm2"}
)
_STEM = re.compile(r"([a-z]{2,})([0-9]{1,3})")
_LONGEST_STEM_NUMBER = 2


@cache
def _sections() -> dict[str, frozenset[str]]:
    """The sections of ``vocabulary.txt``: words, equipment, terms."""
    sections: dict[str, list[str]] = {}
    for line in files(__package__).joinpath("vocabulary.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = []
        elif sections and not line.startswith("#"):
            next(reversed(sections.values())).extend(line.split())
    return {name: frozenset(words) for name, words in sections.items()}


def words() -> frozenset[str]:
    """The words that may stay in every text."""
    return _sections()["words"]


@cache
def machine_words() -> frozenset[str]:
    """The words that may stay in the name of a maker or a machine."""
    return words() | _sections()["equipment"]


@cache
def terms() -> frozenset[str]:
    """The parts of coded strings."""
    return words() | _sections()["equipment"] | _sections()["terms"]


def folded(text: str) -> str:
    """The text in lower case and without accents: ``Schädel`` becomes ``schadel``."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()


def clean(text: str, forbidden: Collection[str] = NOBODY, *, longest: int = 64) -> str:
    """The words of radiology and sizes with units in a text, in upper case, parted by blanks; often ``""``.

    Args:
        text: Free text of any kind.
        forbidden: Words in lower case that go even if the vocabulary has them: the patient's own names.
        longest: Characters that the value representation allows; words behind them go.
    """
    kept: list[str] = []
    tokens = _TOKEN.findall(folded(text[:LONGEST_TEXT]))
    for before, token, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        allowed = (
            _is_word(token, words())
            or _is_size(token, after)
            or (token in _UNITS and _NUMBER.fullmatch(before))
        )
        if allowed and token not in forbidden:
            kept.append(token.upper())
    return _joined(kept, longest)


def clean_model(text: str, forbidden: Collection[str] = NOBODY, *, longest: int = 64) -> str:
    """The words and short numbers by which makers call their machines; otherwise as ``clean``."""
    kept = [
        token.upper()
        for token in _TOKEN.findall(folded(text[:LONGEST_TEXT]))
        if token not in forbidden and (_is_machine(token) or _NUMBER.fullmatch(token))
    ]
    # Numbers without any known word are somebody's number, not a machine's name.
    return _joined(kept, longest) if any(word[0].isalpha() for word in kept) else ""


def is_term(value: str) -> bool:
    """Whether a coded string (VR CS) is made of known terms and numbers of at most two digits."""
    parts = re.split(r"[ _]+", value.strip().casefold())
    return all(part in terms() or re.fullmatch(r"[0-9]{0,2}", part) for part in parts)


def _is_word(token: str, vocabulary: frozenset[str]) -> bool:
    """Whether it is a word, or a word and a short number, as ``dir16``."""
    if token in vocabulary:
        return True
    parts = _STEM.fullmatch(token)
    return parts is not None and parts[1] in vocabulary and len(parts[2]) <= _LONGEST_STEM_NUMBER


def _is_machine(token: str) -> bool:
    """Whether it is a word for a machine, or one and a number, as ``MR750``."""
    parts = _STEM.fullmatch(token)
    return token in machine_words() or (parts is not None and parts[1] in machine_words())


def _is_size(token: str, after: str) -> bool:
    """Whether it is a number with its unit, as ``5mm``, or one before a unit."""
    if _NUMBER.fullmatch(token):
        return after in _UNITS
    number = _NUMBER.match(token)
    return number is not None and token[number.end() :] in _UNITS


def _joined(kept: list[str], longest: int) -> str:
    text = " ".join(kept)
    return text if len(text) <= longest else text[: longest + 1].rpartition(" ")[0]
