"""What each task asks of a study's labels and sequence; what this release has no model for is refused."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidValue
from common.study import Study, digest, parse_study, to_canonical
from tests.fitting_models import model_for

TASKS = ("classification", "segmentation", "detection", "generation", "risk")
TWO = {"0": "none", "1": "lesion"}


def of(task: str, labels: dict[str, str] = TWO, kind: str = "", **head: Any) -> Study:
    kind = kind or ("rows" if task == "generation" else "frames")
    sequence: dict[str, Any] = {"kind": kind}
    if kind == "steps":
        sequence["variables"] = {"HR": {"centre": 80.0, "scale": 20.0}}
    study = {"name": "x", "task": task, "labels": labels, **head}
    return parse_study({"study": study, "sequence": sequence, "model": model_for(task, kind)})


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_a_study(task: str) -> None:
    assert of(task).study.task == task


@pytest.mark.parametrize(
    ("task", "labels", "word"),
    [
        ("classification", {"0": "a"}, "at least two different"),
        ("classification", {"0": "a", "1": "a"}, "at least two different"),
        ("segmentation", {"0": "ground"}, "the background and at least one"),
        ("segmentation", {str(n): f"c{n}" for n in range(255)}, "at most 254"),
        ("detection", {}, "at least one"),
        ("generation", {}, "at least one"),
        ("risk", {"0": "a"}, "exactly two"),
        ("risk", {"0": "a", "1": "b", "2": "c"}, "exactly two"),
    ],
)
def test_labels_that_a_task_cannot_use(task: str, labels: dict[str, str], word: str) -> None:
    with pytest.raises(InvalidValue, match=f"study.labels: .*{word}"):
        of(task, labels)


@pytest.mark.parametrize("task", ["detection", "generation"])
def test_one_class_is_enough_where_nothing_is_told_apart(task: str) -> None:
    assert of(task, {"1": "nodule"}).study.classes == ("nodule",)


@pytest.mark.parametrize(
    ("task", "kind", "word"),
    [
        ("segmentation", "steps", "segmentation is of pictures"),
        ("generation", "steps", "generation is of pictures"),
        ("detection", "rows", "frames, slices or patches, not rows"),
        ("detection", "views", "frames, slices or patches, not views"),
        ("detection", "steps", "frames, slices or patches, not steps"),
    ],
)
def test_sequences_that_a_task_cannot_be_about(task: str, kind: str, word: str) -> None:
    with pytest.raises(InvalidValue, match=word):
        of(task, kind=kind)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "classification"])
def test_several_labels_belong_to_classification(task: str) -> None:
    with pytest.raises(InvalidValue, match="several_labels belongs to classification"):
        of(task, several_labels=True)


@pytest.mark.parametrize("stored", ["a|b", "-", " - "])
def test_a_stored_label_must_not_read_as_several_or_none(stored: str) -> None:
    with pytest.raises(InvalidValue, match="cannot be one stored label"):
        of("classification", {"0": "a", stored: "b"}, several_labels=True)


@pytest.mark.parametrize(
    ("stored", "indices"),
    [("e", (0,)), ("p|e", (0, 1)), (" e | p ", (0, 1)), ("e|e", (0,)), ("-", ()), ("e|x", None), ("", None)],
)
def test_several_labels_of_a_case(stored: str, indices: tuple[int, ...] | None) -> None:
    head = of("classification", {"e": "effusion", "p": "pneumonia"}, several_labels=True).study
    assert head.class_indices(stored) == indices
    assert not head.one_class_a_case


@pytest.mark.parametrize("key", ["several_labels", "max_boxes", "every"])
def test_a_younger_key_is_in_the_text_of_a_study_only_where_it_says_something(key: str) -> None:
    plain = of("classification", kind="steps")
    assert f'"{key}"' not in to_canonical(plain)
    document = plain.model_dump()
    table, value = {"several_labels": ("study", True), "max_boxes": ("data", 3), "every": ("sequence", 2.0)}[
        key
    ]
    document[table][key] = value
    changed = parse_study(document)
    assert f'"{key}"' in to_canonical(changed) and digest(changed) != digest(plain)
