"""The coordinator learns counts, and none in which a patient could be found."""

import json

import pytest

from client.cohorts.quality import CaseFacts, FileCounts, Quality, assess, summary
from client.cohorts.quality.suppression import part, suppressed
from client.dicom.outcomes import Kind, Outcome, Reason


def cohort(
    labels: dict[str | None, int], patients: int | None = None, files: FileCounts | None = None
) -> Quality:
    names = [label for label, number in labels.items() for _ in range(number)]
    cases = [
        (
            CaseFacts(f"case-{i}", f"patient-{i % (patients or len(names))}", "train", label, "CT", "Acme"),
            None,
        )
        for i, label in enumerate(names)
    ]
    return assess(files or FileCounts(0), cases)


def test_large_cells_are_told() -> None:
    told = summary(cohort({"0": 40, "1": 20}))
    assert told["cases"] == told["patients"] == 60
    assert told["labels"] == {"0": 40, "1": 20}
    assert (told["splits"], told["modalities"]) == ({"train": 60}, {"CT": 60})


def test_a_small_cell_is_hidden_with_another_that_covers_it() -> None:
    told = summary(cohort({"0": 40, "1": 3, "2": 30}))
    assert told["labels"] == {"0": ">=10", "1": "<10", "2": 30}


def test_a_cell_that_does_not_cover_is_hidden_with_the_next() -> None:
    # 3 + 11 = 14 would say that the small one holds at most 4.
    assert suppressed({"a": 3, "b": 11, "c": 50, "d": 60}, 10) == {
        "a": "<10",
        "b": ">=10",
        "c": ">=10",
        "d": 60,
    }


def test_neither_choice_nor_order_follows_the_numbers() -> None:
    # Were the least or the greatest hidden, or the table in order of size, 49 less 40 would be told.
    told = suppressed({"z": 40, "c": 9, "a": 40, "b": 99}, 10)
    assert list(told.items()) == [("a", ">=10"), ("b", 99), ("c", "<10"), ("z", 40)]


def test_a_table_that_cannot_be_protected_is_withheld() -> None:
    assert summary(cohort({"0": 9, "1": 9, "2": 9}))["labels"] == {}
    assert suppressed({"a": 3, "b": 12}, 10) == {}
    assert suppressed({str(i): 1 for i in range(500)}, 10) == {}


def test_many_cases_of_few_patients_are_a_small_cell() -> None:
    told = summary(cohort({"0": 100}, patients=5))
    assert (told["cases"], told["patients"], told["labels"]) == (100, "<10", {})


def test_few_cases_are_told_as_few() -> None:
    told = summary(cohort({"0": 4}))
    assert (told["cases"], told["patients"], told["labels"]) == ("<10", "<10", {})


def test_files_are_told_without_their_total() -> None:
    files = FileCounts(
        1040,
        {Outcome.case: 1000, Outcome.duplicate: 4, Outcome.quarantined: 30, Outcome.other: 6},
        {Reason.truncated: 27, Reason.empty: 3},
        {Kind.report: 6},
    )
    told = summary(cohort({"0": 50}, files=files))
    assert told["files"] == {"case": 1000, "other": "<10", "duplicate": "<10", "quarantined": 30}
    reasons = told["reasons"]
    assert isinstance(reasons, dict) and set(reasons) == set(map(str, Reason))
    assert reasons["pixels-truncated"] == ">=10" and reasons["file-empty"] == reasons["decoder-hung"] == "<10"
    assert told["kinds"] == {}
    assert "1040" not in json.dumps(told)


def test_neither_a_part_nor_its_rest_is_told_if_small() -> None:
    assert [part(value, 100, 10) for value in (0, 9, 10, 90, 91, 100)] == [
        "<10",
        "<10",
        10,
        90,
        ">=10",
        ">=10",
    ]


def test_nothing_but_counts_of_known_tables_is_told() -> None:
    told = summary(cohort({"0": 40, "1": 20, None: 15}))
    assert set(told) == {
        "cases", "patients", "files", "reasons", "kinds", "labels", "splits", "modalities", "years",
        "concerns",
    }  # fmt: skip
    cells = [
        cell for table in told.values() for cell in (table.values() if isinstance(table, dict) else [table])
    ]
    assert all(isinstance(cell, int) or cell in ("<10", ">=10") for cell in cells)
    text = json.dumps(told)
    assert not any(word in text for word in ("Acme", "case-", "patient-"))


def test_another_minimum_is_kept_to() -> None:
    told = summary(cohort({"0": 40, "1": 12, "2": 45}), min_cell=20)
    assert told["labels"] == {"0": ">=20", "1": "<20", "2": 45}
    with pytest.raises(ValueError):
        summary(cohort({"0": 4}), min_cell=0)
