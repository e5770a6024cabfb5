"""A table of measurements registered as a cohort: every record of it is a case.

The table is read whole each time, and the cohort is what it says now.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from client.cohorts.assembly import CONTRADICTING, EMPTY
from client.cohorts.case import Case, Content, Piece, name_of
from client.cohorts.catalogue import Catalogue, CohortRow, SeenFile
from client.cohorts.home import Home
from client.cohorts.intake import begin
from client.cohorts.labels import Labels, read_labels
from client.cohorts.records import RecordCase, RecordTable, read_records
from client.cohorts.records.layout import RecordRules
from client.cohorts.rules import Rules
from client.cohorts.shelf import Shelf
from client.cohorts.store import PixelWriter
from client.dicom.outcomes import Outcome
from client.dicom.pseudonyms import Pseudonyms


def register_records(
    home: Home, name: str, table: Path, labels: Path | None, rules: Rules, reading: RecordRules
) -> CohortRow:
    """The cohort that a table of records is now.

    Raises:
        RecordsInvalid, LabelsInvalid: A table cannot be read.
        CohortDiffers: The cohort was begun with other rules or variables.
        HomeBusy: Another process is changing it.
        DiskFull, OutputUnwritable: The home cannot be written.
    """
    names = home.pseudonyms
    known = read_labels(labels, names) if labels else None
    records = read_records(table, names, reading, known)
    rules = replace(rules, sequence="steps", variables=records.variables, where=reading.where)
    with home.changing(name), closing(Catalogue(home.database)) as catalogue:
        cohort = begin(catalogue, name, rules)
        home.audit("cohort.records-begun", cohort=name, cases=len(records.cases))
        intake = catalogue.begin_intake(cohort.id)
        writer = PixelWriter(home.cohort_folder(name), cohort.stored_bytes)
        with closing(Shelf(catalogue, cohort, intake, writer)) as shelf:
            earlier = {case.name: case for case in catalogue.cases(cohort.id)}
            cases = [_since(case, earlier, intake) for case in _cases(records, shelf, rules, names)]
            status = table.stat()
            stamp = f"{status.st_size}:{status.st_mtime_ns}"
            catalogue.forget_files(cohort.id)  # an earlier table, if that had another name
            shelf.put(SeenFile(names.mark(str(table.resolve())), stamp, Outcome.case))
            shelf.commit()
        catalogue.settle(cohort.id, cases, {}, _notes(records, known))
        home.audit("cohort.records-registered", cohort=name, intake=intake, cases=len(cases))
        return catalogue.cohort(name)


def _cases(records: RecordTable, shelf: Shelf, rules: Rules, names: Pseudonyms) -> list[Case]:
    splits: dict[str, set[str]] = defaultdict(set)
    for record in records.cases:
        splits[record.patient].update({record.split} - {None, ""})  # type: ignore[arg-type]
    return [_case(record, shelf, _split(record, splits, rules, names)) for record in records.cases]


def _split(record: RecordCase, splits: dict[str, set[str]], rules: Rules, names: Pseudonyms) -> str:
    """The split that the table gives the patient, or the one that the site's key draws."""
    given = splits[record.patient]
    drawn = "test" if names.share(record.patient) < rules.test_share else "train"
    return next(iter(given)) if len(given) == 1 else drawn


def _case(record: RecordCase, shelf: Shelf, split: str) -> Case:
    array = np.column_stack([record.times, record.values.astype(np.float64)])
    content = Content((Piece(shelf.keep(array), 0),))
    return Case(name_of(record.patient, record.case), record.patient, split, record.label, content)


def _since(case: Case, earlier: dict[str, Case], intake: int) -> Case:
    before = earlier.get(case.name)
    return replace(case, intake=before.intake if before and before.digest == case.digest else intake)


def _notes(records: RecordTable, labels: Labels | None) -> dict[str, Any]:
    counts = records.counts
    notes = Counter[str]()
    notes["rows read"] = counts.rows
    notes["rows used"] = counts.used
    notes.update({f"rows left out: {reason}": count for reason, count in counts.left_out.items()})
    notes["values repeated, the last one used"] = counts.repeated
    notes["values that are missing"] = sum(counts.missing.values())
    notes["values that are no numbers"] = sum(counts.unreadable.values())
    notes["cases without label"] = counts.unlabelled
    notes["cases whose rows contradict each other"] = counts.conflicts
    if labels is not None:
        used = {record.line for record in records.cases if record.line is not None}
        notes["lines of labels without a case"] = len(labels.unused(used))
        notes[CONTRADICTING] = sum(map(len, labels.conflicts))
        notes[EMPTY] = len(labels.unlabelled)
    return {key: count for key, count in notes.items() if count}
