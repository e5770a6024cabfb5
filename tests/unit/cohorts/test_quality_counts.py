"""Cases, patients, files and sizes are counted right."""

import pytest

from client.cohorts.quality import CaseFacts, FileCounts
from client.cohorts.quality.counts import Cell, Dimension, count
from client.cohorts.quality.sizes import sizes
from client.dicom.outcomes import Kind, Outcome, Reason

CASES = [
    CaseFacts("C1", "A", "train", "0", "CT", "One", 2020, (10, 64, 64), (5.0, 1.0, 1.0), ("gap", "gap")),
    CaseFacts("C2", "A", "train", "1", "CT", "One", 2021, (20, 64, 32), None),
    CaseFacts("C3", "B", "test", "1", "CT", "Two", 2019, (30, 64, 64), (None, 2.0, 0.0)),
    CaseFacts("C4", "B", "train", None),
]


def test_cases_and_patients_of_each_kind() -> None:
    counts = count(CASES)
    assert (counts.cases, counts.patients) == (4, 2)
    assert counts.by[Dimension.label] == (Cell("1", 2, 2), Cell("0", 1, 1), Cell("without a label", 1, 1))
    assert counts.by[Dimension.split] == (Cell("train", 3, 2), Cell("test", 1, 1))
    assert counts.by[Dimension.scanner] == (Cell("One", 2, 1), Cell("Two", 1, 1), Cell("unknown", 1, 1))
    assert [cell.name for cell in counts.by[Dimension.year]] == ["2019", "2020", "2021", "unknown"]
    assert counts.label_by_split[("1", "test")] == 1
    assert counts.cases_a_patient == {2: 2}


def test_a_finding_counts_once_for_a_case() -> None:
    assert count(CASES).findings == (Cell("gap", 1, 1),)


def test_a_patient_in_two_splits_is_named() -> None:
    assert count(CASES).split_patients == ("B",)


def test_sizes_are_of_those_that_state_them() -> None:
    found = {measure.name: measure for measure in sizes(CASES[:3])}
    assert found["frames"].values[0::2] == (10, 20, 30)
    assert found["columns (pixels)"].values[0] == 32
    assert found["between rows (mm)"].known == 2
    assert (found["between columns (mm)"].known, found["between columns (mm)"].values[2]) == (1, 1.0)
    assert sizes([]) == ()


def test_file_counts_add_up() -> None:
    files = FileCounts(
        5, {Outcome.case: 2, Outcome.quarantined: 2, Outcome.other: 1}, {Reason.empty: 2}, {Kind.report: 1}
    )
    assert (files.of(Outcome.case), files.of(Outcome.duplicate)) == (2, 0)


@pytest.mark.parametrize(
    ("seen", "outcomes", "reasons", "kinds"),
    [
        (3, {Outcome.case: 2}, {}, {}),
        (2, {Outcome.quarantined: 2}, {Reason.empty: 1}, {}),
        (2, {Outcome.other: 2}, {}, {Kind.plan: 3}),
        (2, {Outcome.case: 2}, {Reason.empty: 1}, {}),
    ],
)
def test_file_counts_that_do_not_add_up_are_refused(
    seen: int, outcomes: dict[Outcome, int], reasons: dict[Reason, int], kinds: dict[Kind, int]
) -> None:
    with pytest.raises(ValueError, match="add up"):
        FileCounts(seen, outcomes, reasons, kinds)
