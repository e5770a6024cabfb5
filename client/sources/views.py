"""Which rows of a manifest are one case, where a study looks at several views of a patient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from string import digits
from typing import Literal

from client.manifest import Row


def views_of(rows: Iterable[Row], case: Literal["patient", "phase"]) -> Iterator[tuple[Row, ...]]:
    """The rows of each case in the order of their views, else of their paths; cases by their first rows.

    Args:
        rows: Of any sites and patients.
        case: What makes a case: a patient, or a phase, whose views differ in no more than their number.
    """
    cases: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        phase = row.view.rstrip(digits) if case == "phase" else ""
        cases.setdefault((row.site, row.patient_id, phase), []).append(row)
    for own in cases.values():
        yield tuple(sorted(own, key=lambda row: (row.view, row.path)))
