"""Records survive the way to the other side; damaged ones give a TaskInvalid or a value, nothing else."""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from common.errors import TaskInvalid
from common.metrics import ClassificationSums, curves_of, metrics_of
from common.tasks import (
    ABOUT,
    ARRAYS,
    Describe,
    EvaluateTask,
    Evaluation,
    SiteDescription,
    TrainTask,
    contribution_content,
    description_content,
    evaluation_content,
    read_about,
    read_contribution,
    read_evaluation,
    read_refusal,
    refusing_site,
    task_content,
)
from common.update import Contribution
from common.weights import digest

CLASSES = ("normal", "abnormal")
int64s, floats = st.integers(-(2**63), 2**63 - 1), st.floats()
counts = st.integers(0, 10**6)
positive = st.floats(0, 1e9)
texts = st.text(max_size=8)
scalars = st.one_of(int64s, floats, texts, st.binary(max_size=8), st.booleans())
entries = st.one_of(scalars, *(st.lists(kind, max_size=3) for kind in (int64s, floats, texts, st.booleans())))

tasks = st.one_of(
    st.builds(Describe, texts),
    st.builds(EvaluateTask, texts, counts, texts),
    st.builds(
        TrainTask, texts, counts, counts, texts, positive, st.lists(positive).map(tuple), st.booleans(), texts
    ),
)
label_counts = st.lists(counts, max_size=4).map(tuple)
descriptions = st.builds(
    SiteDescription, texts, texts, texts, counts, counts, counts, counts, label_counts, label_counts
)
deltas = st.dictionaries(
    st.text("ab.", min_size=1, max_size=4),
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=2, max_side=3)),
    max_size=3,
)
maybe = st.none() | positive
contributions = st.builds(
    Contribution, texts, counts, texts, deltas, counts, maybe, maybe, maybe, maybe, maybe, st.none() | texts
)


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    cases = draw(st.integers(0, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.random((cases, 2)) + 1e-3
    sums = ClassificationSums.count(
        scores / scores.sum(axis=1, keepdims=True), rng.integers(0, 2, cases), keep_scores=draw(st.booleans())
    )
    return Evaluation(draw(texts), draw(counts), draw(texts), sums)


def content_of(value: Any) -> RecordDict:
    if isinstance(value, SiteDescription):
        return description_content(value)
    if isinstance(value, Contribution):
        return contribution_content(value)
    return evaluation_content(value) if isinstance(value, Evaluation) else task_content(value)


def read_as(value: Any, content: RecordDict) -> Any:
    """What the other side reads; a value must then be usable."""
    read_refusal(content), refusing_site(content)
    if isinstance(value, Contribution):
        return read_contribution(content)
    if not isinstance(value, Evaluation):
        return read_about(content, type(value))
    evaluation = read_evaluation(content, len(CLASSES))
    pooled = ClassificationSums.total([evaluation.sums, value.sums])
    metrics_of(pooled, CLASSES), curves_of(pooled, CLASSES)
    return evaluation


values = st.one_of(tasks, descriptions, contributions, evaluations())


@given(values)
def test_what_is_written_is_read(value: Any) -> None:
    read = read_as(value, content_of(value))
    if isinstance(value, Contribution):
        assert digest(read.delta) == digest(value.delta)
        read, value = (asdict(replace(c, delta={})) for c in (read, value))
    elif isinstance(value, Evaluation):
        mine, theirs = asdict(value), asdict(read)
        np.testing.assert_equal(theirs, mine)
        return
    assert read == value


@given(values, st.data())
def test_changed_fields_are_invalid_or_values(value: Any, data: st.DataObject) -> None:
    content = content_of(value)
    names = list(content[ABOUT])
    about = {
        **content[ABOUT],
        **data.draw(st.dictionaries(st.sampled_from(names) | texts, entries, min_size=1, max_size=3)),
    }
    for name in data.draw(st.lists(st.sampled_from(names), max_size=1)):
        del about[name]
    content[ABOUT] = ConfigRecord(about)
    try:
        read = read_as(value, content)
    except TaskInvalid:
        return
    assert type(read) is type(value)


dtypes = (
    arrays.boolean_dtypes() | arrays.integer_dtypes() | arrays.floating_dtypes() | st.just(np.dtype("U2"))
)
others = arrays.arrays(dtypes, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


@st.composite
def edited(draw: st.DrawFn, right: np.ndarray) -> np.ndarray:
    """The right array as another type or with another value in one place."""
    dtype = draw(st.sampled_from([right.dtype, *map(np.dtype, ("i8", "f8", "f4", "f2", "u1", "?"))]))
    value = draw(st.sampled_from([-1, 0, 1, 0.5, np.nan, np.inf, 1e308, 2.0**62]))
    with np.errstate(all="ignore"):
        changed = right.astype(dtype)
        if changed.size:
            changed.flat[draw(st.integers(0, changed.size - 1))] = np.float64(value).astype(dtype)
    return changed


@given(evaluations(), st.data())
def test_changed_counts_are_invalid_or_counts(value: Evaluation, data: st.DataObject) -> None:
    content = evaluation_content(value)
    name = data.draw(st.sampled_from(sorted(content[ARRAYS])))
    right = content[ARRAYS][name].numpy()
    changed = data.draw(others | edited(right))
    content[ARRAYS][data.draw(st.sampled_from([name, "more"]))] = Array(changed)
    try:
        read = read_as(value, content)
    except TaskInvalid:
        return
    assert read.sums.n >= 0


def damaged(data: bytes, places: list[tuple[int, int]]) -> bytes:
    found = bytearray(data)
    for place, byte in places:
        found[place % len(found)] = byte
    return bytes(found)


@pytest.mark.parametrize(
    "array", [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(1.0)], ids=["2d", "0d"]
)
@given(
    places=st.lists(st.tuples(st.integers(0, 90) | st.integers(0, 200), st.integers(0, 255)), max_size=3),
    cut=st.none() | st.integers(0, 200),
)
def test_damaged_bytes_are_invalid_or_an_array(
    array: np.ndarray, places: list[tuple[int, int]], cut: int | None
) -> None:
    buffer = BytesIO()
    np.save(buffer, array)
    record = Array("float32", array.shape, "numpy.ndarray", damaged(buffer.getvalue(), places)[:cut])
    content = contribution_content(Contribution("north", 1, "d", {}, 1, 0.5))
    content[ARRAYS] = ArrayRecord({"w": record})
    with warnings.catch_warnings():  # numpy warns of odd headers; in the product that is no error
        warnings.simplefilter("ignore")
        try:
            read = read_contribution(content)
        except TaskInvalid:
            return
    assert isinstance(read.delta["w"], np.ndarray)
