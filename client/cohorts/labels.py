"""Labels of a site's pictures: which patient, study, series or instance is what.

Identifiers become pseudonyms while the table is read, so none is in a :class:`Labels`. A row that contradicts
another gives no label, and neither does the other: which is right only the hospital can say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from client.cohorts.sheet import Sheet, open_sheet, plain
from client.dicom.pseudonyms import Pseudonyms
from common.errors import LabelsInvalid

Level = Literal["patient", "study", "series", "sop"]
Key = tuple[Level, str]  # and the pseudonym

LEVELS: tuple[Level, ...] = ("sop", "series", "study", "patient")
"""The finest first."""

SPLITS = ("train", "val", "test")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "patient": ("patientid", "patient", "recordid"),
    "study": ("studyuid", "studyinstanceuid"),
    "series": ("seriesuid", "seriesinstanceuid"),
    "sop": ("sopuid", "sopinstanceuid"),
    "label": ("label",),
    "split": ("split",),
}
"""Spellings of each column, as :func:`client.cohorts.sheet.plain` writes them."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a case is.

    Attributes:
        value: As the table has it, without blanks around it.
        split: train, val, test, or None where the table leaves that to the site.
        line: Where it stands in the table first.
    """

    value: str
    split: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Labels:
    """The table of labels.

    Attributes:
        by_key: The labels that hold.
        lines: Every line that says what the first of them says already, by that first.
        conflicts: Lines that contradict each other, together.
        unlabelled: Lines without a label; they say nothing.
    """

    by_key: Mapping[Key, Label]
    lines: Mapping[int, tuple[int, ...]]
    conflicts: tuple[tuple[int, ...], ...] = ()
    unlabelled: tuple[int, ...] = ()

    def of(self, patient: str, study: str = "", series: str = "", sop: str = "") -> Label | None:
        """The label of an instance by its pseudonyms; the finest that the table names wins."""
        names = {"patient": patient, "study": study, "series": series, "sop": sop}
        for level in LEVELS:
            label = self.by_key.get((level, names[level]))
            if label is not None:
                return label
        return None

    def unused(self, used_lines: Collection[int]) -> tuple[int, ...]:
        """The lines of labels that no case has; ``used_lines`` are those of the labels that cases have."""
        first = {label.line for label in self.by_key.values()}.difference(used_lines)
        return tuple(sorted(line for number in first for line in self.lines[number]))

    def to_rows(self) -> Iterator[dict[str, Any]]:
        """The labels that hold, as rows for a database: level, key, value, split, line."""
        for (level, key), label in self.by_key.items():
            yield {
                "level": level,
                "key": key,
                "value": label.value,
                "split": label.split,
                "line": label.line,
            }

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Labels:
        """What :meth:`to_rows` gave; conflicts and lines without a label are not among it."""
        by_key = {(r["level"], r["key"]): Label(r["value"], r["split"], r["line"]) for r in rows}
        return cls(by_key, {label.line: (label.line,) for label in by_key.values()})


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    key: Key
    patient: str  # pseudonym; empty where the row does not say
    value: str
    split: str | None


def read_labels(path: Path, pseudonyms: Pseudonyms) -> Labels:
    """The table of labels at ``path``.

    Its columns: ``label``, optionally ``split``, and one or more of ``patient_id``, ``study_uid``,
    ``series_uid`` and ``sop_uid``, of which the finest that a row fills decides. The spellings are those of
    ``COLUMNS``; other columns are passed over.

    Raises:
        LabelsInvalid: Names the line and the column, and no value.
    """
    known = {spelling for spellings in COLUMNS.values() for spelling in spellings}
    with open_sheet(path, known, LabelsInvalid) as sheet:
        columns = _columns(sheet)
        rows = [_row(sheet, columns, line, values, pseudonyms) for line, values in sheet.lines()]
    labelled = [row for row in rows if row.value]
    conflicts = tuple(dict.fromkeys((*_split_patients(labelled), *_contradictions(labelled))))
    dropped = {line for lines in conflicts for line in lines}
    groups = _grouped((row.key, row) for row in labelled if row.line not in dropped)
    return Labels(
        by_key={key: _merged(same) for key, same in groups.items()},
        lines={same[0].line: tuple(row.line for row in same) for same in groups.values()},
        conflicts=conflicts,
        unlabelled=tuple(row.line for row in rows if not row.value),
    )


def _columns(sheet: Sheet) -> dict[str, int]:
    """Where each column stands."""
    found: dict[str, int] = {}
    for index, column in enumerate(sheet.columns):
        for name, spellings in COLUMNS.items():
            if plain(column) in spellings:
                if name in found:
                    raise LabelsInvalid(f"{sheet.name} line 1: column {name!r} stands there twice")
                found[name] = index
    if "label" not in found:
        raise LabelsInvalid(f"{sheet.name} line 1: there is no column 'label'")
    if not found.keys() & set(LEVELS):
        names = "patient_id, study_uid, series_uid or sop_uid"
        raise LabelsInvalid(f"{sheet.name} line 1: there is no column {names}")
    return found


def _row(
    sheet: Sheet, columns: Mapping[str, int], line: int, values: list[str], pseudonyms: Pseudonyms
) -> _Row:
    if len(values) != len(sheet.columns):
        raise LabelsInvalid(
            f"{sheet.name} line {line}: {len(values)} values stand under {len(sheet.columns)} columns"
        )
    texts = {name: values[index].strip() for name, index in columns.items()}
    split = texts.get("split", "").lower() or None
    if split is not None and split not in SPLITS:
        raise LabelsInvalid(f"{sheet.name} line {line}: column 'split' is none of {', '.join(SPLITS)}")
    level = next((level for level in LEVELS if texts.get(level)), None)
    if level is None:
        raise LabelsInvalid(f"{sheet.name} line {line}: every identifier's column is empty")
    patient = pseudonyms.patient(texts["patient"]) if texts.get("patient") else ""
    key = patient if level == "patient" else pseudonyms.uid(texts[level])
    return _Row(line, (level, key), patient, texts["label"], split)


def _grouped(rows: Iterable[tuple[Any, _Row]]) -> dict[Any, list[_Row]]:
    groups: dict[Any, list[_Row]] = defaultdict(list)
    for key, row in rows:
        groups[key].append(row)
    return groups


def _split_patients(rows: Iterable[_Row]) -> Iterator[tuple[int, ...]]:
    """Lines of each patient who is put into two splits."""
    for same in _grouped((row.patient, row) for row in rows if row.patient).values():
        if len({row.split for row in same if row.split}) > 1:
            yield tuple(row.line for row in same)


def _contradictions(rows: Iterable[_Row]) -> Iterator[tuple[int, ...]]:
    """Lines of each key that has two labels or two splits."""
    for same in _grouped((row.key, row) for row in rows).values():
        if len({row.value for row in same}) > 1 or len({row.split for row in same if row.split}) > 1:
            yield tuple(row.line for row in same)


def _merged(same: list[_Row]) -> Label:
    """What rows of one key say that do not contradict each other."""
    return Label(same[0].value, next((row.split for row in same if row.split), None), same[0].line)
