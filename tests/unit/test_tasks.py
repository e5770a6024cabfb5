"""Records between coordinator and sites: what is written is read, and what is not right is a TaskInvalid."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import asdict, replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from common import __version__
from common.codecs import FLOAT32, Codec, decode, encode
from common.codecs.bf16 import BF16
from common.codecs.int8 import INT8
from common.codecs.topk import TopK
from common.errors import Refusal, TaskInvalid, UpdateRefused
from common.flower import free_message
from common.metrics import ClassificationSums
from common.tasks import (
    ABOUT,
    ARRAYS,
    REFUSAL,
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
    read_description,
    read_evaluation,
    read_refusal,
    refusal_content,
    refusing_site,
    task_content,
    weights_of,
    weights_record,
)
from common.update import Contribution
from common.weights import digest

WEIGHTS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(0.5, dtype=np.float32)}
DESCRIPTION = SiteDescription("north", __version__, "cpu", 3, 2, 2, 1, (1, 2), (2, 0))
TRAIN = TrainTask("{}", 2**62, 3, "d1", 0.5, (0.5, 1.5), True, f"7:{'a' * 64}")
TASKS = [Describe("{}"), TRAIN, TrainTask("{}", 0, 1, "d1"), EvaluateTask("{}", 2, "d2"), DESCRIPTION]
CONTRIBUTION = Contribution("north", 3, "d1", WEIGHTS, cases=12, loss=0.7, base_loss=0.9)
PRIVATE = Contribution(
    "north", 3, "d1", WEIGHTS, 12, epsilon=1.5, target_delta=1e-5, clip_norm=0.8, ledger_head=f"8:{'b' * 64}"
)
OPTIONAL = ("loss", "base_loss", "epsilon", "target_delta", "clip_norm", "ledger_head")
SCORES = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.5, 0.5]])
SUMS = ClassificationSums.count(SCORES, np.array([0, 0, 1, 1]), keep_scores=True)
EVALUATION = Evaluation("north", 3, "d1", SUMS)
COUNTS = ("loss", "confusion", "calibration", "histogram", "scores", "labels")


def content_of(value: Any) -> RecordDict:
    if isinstance(value, SiteDescription):
        return description_content(value)
    if isinstance(value, Contribution):
        return contribution_content(value)
    return evaluation_content(value) if isinstance(value, Evaluation) else task_content(value)


def over_the_wire(content: RecordDict) -> RecordDict:
    """The records as Flower's serialisation gives them to the other side."""
    found = RecordDict()
    for name, record in content.items():
        if isinstance(record, ConfigRecord):
            found[name] = ConfigRecord.inflate(record.deflate())
        else:
            children = {a.object_id: Array.inflate(a.deflate(), a.children) for a in record.values()}
            found[name] = ArrayRecord.inflate(record.deflate(), children)
    return found


def pickled(content: RecordDict) -> RecordDict:
    return pickle.loads(pickle.dumps(free_message(content, "train"))).content


ways = pytest.mark.parametrize(
    "carried", [lambda c: c, over_the_wire, pickled], ids=["as-is", "wire", "pickle"]
)


# --- what is written is read


@ways
@pytest.mark.parametrize("task", TASKS, ids=lambda t: type(t).__name__)
def test_task_is_read_as_written(task: Any, carried: Any) -> None:
    assert read_about(carried(content_of(task)), type(task)) == task


@ways
@pytest.mark.parametrize("base_loss", [None, 0.25])
def test_contribution_is_read_as_written(base_loss: float | None, carried: Any) -> None:
    written = replace(CONTRIBUTION, base_loss=base_loss)
    read = read_contribution(carried(contribution_content(written)))
    assert digest(read.delta) == digest(WEIGHTS)
    assert read.delta["b"].shape == ()
    assert asdict(replace(read, delta={})) == asdict(replace(written, delta={}))


@ways
def test_private_contribution_is_read_as_written(carried: Any) -> None:
    content = contribution_content(PRIVATE)
    assert "loss" not in content[ABOUT] and "base_loss" not in content[ABOUT]
    read = read_contribution(carried(content))
    assert asdict(replace(read, delta={})) == asdict(replace(PRIVATE, delta={}))


@ways
@pytest.mark.parametrize("codec", [BF16, INT8, TopK(0.1)], ids=lambda c: c.parts[0])
def test_encoded_contribution_is_read_as_decoded(codec: Codec, carried: Any) -> None:
    delta = {"w": np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32), **WEIGHTS}
    written, arrays = replace(CONTRIBUTION, delta=delta), encode(codec, delta).arrays
    read = read_contribution(carried(contribution_content(written, arrays)), codec, delta)
    assert digest(read.delta) == digest(decode(codec, arrays, delta))
    assert asdict(replace(read, delta={})) == asdict(replace(written, delta={}))


def test_contribution_of_another_codec_is_refused() -> None:
    delta = {"w": np.ones((40, 30), np.float32)}
    content = contribution_content(CONTRIBUTION, encode(INT8, delta).arrays)
    with pytest.raises(UpdateRefused):
        read_contribution(content, BF16, delta)
    with pytest.raises(UpdateRefused):
        read_contribution(content, FLOAT32, delta)


@pytest.mark.parametrize("name", OPTIONAL)
def test_figure_that_a_contribution_need_not_have_is_none(name: str) -> None:
    content = contribution_content(replace(PRIVATE, loss=0.5, base_loss=0.5))
    del content[ABOUT][name]  # type: ignore[attr-defined]
    assert getattr(read_contribution(content), name) is None


@ways
@pytest.mark.parametrize(("cases", "keep_scores"), [(4, True), (4, False), (0, True), (0, False)])
def test_evaluation_is_read_as_written(cases: int, keep_scores: bool, carried: Any) -> None:
    sums = ClassificationSums.count(SCORES[:cases], np.array([0, 0, 1, 1])[:cases], keep_scores=keep_scores)
    read = read_evaluation(carried(evaluation_content(Evaluation("north", 3, "d1", sums))), 2)
    assert (read.site, read.round, read.base_digest) == ("north", 3, "d1")
    assert all(np.array_equal(getattr(read.sums, name), getattr(sums, name)) for name in COUNTS)
    assert read.sums.exact == sums.exact


def test_weights_are_sent_along_with_a_task() -> None:
    record = weights_record(WEIGHTS)
    contents = [task_content(TRAIN, record), task_content(EvaluateTask("{}", 3, "d1"), record)]
    assert all(content.array_records[ARRAYS] is record for content in contents)
    assert digest(weights_of(contents[0])) == digest(WEIGHTS)


def test_task_without_weights_has_none() -> None:
    with pytest.raises(TaskInvalid, match="no array record"):
        weights_of(task_content(Describe("{}")))


# --- refusals


@ways
def test_refusal_is_read_as_written(carried: Any) -> None:
    refusal = Refusal("site-empty", "A site has no training cases.", "Give it rows.")
    content = carried(refusal_content(refusal, "north"))
    assert read_refusal(content) == refusal
    assert refusing_site(content) == "north"


@pytest.mark.parametrize("value", [DESCRIPTION, TRAIN, CONTRIBUTION, EVALUATION])
def test_answer_is_no_refusal(value: Any) -> None:
    assert read_refusal(content_of(value)) is None
    assert refusing_site(content_of(value)) == ""


def test_refusal_is_cut_to_a_length_that_can_be_shown() -> None:
    content = refusal_content(Refusal("c" * 10**6, "p" * 10**6, "h" * 10**6), "s" * 10**6)
    assert {len(text) for text in asdict(read_refusal(content)).values()} == {500}  # type: ignore[arg-type]
    assert len(refusing_site(content)) == 100


@pytest.mark.parametrize("record", [{}, {"code": 3, "public": [1, 2], "hint": b"\xff", "site": 1.5}])
def test_refusal_of_any_shape_is_still_one(record: dict[str, Any]) -> None:
    content = RecordDict({REFUSAL: ConfigRecord(record)})
    refusal = read_refusal(content)
    assert refusal is not None
    assert all(isinstance(text, str) for text in [*asdict(refusal).values(), refusing_site(content)])


# --- fields that are not right

SAID = (Describe("{}"), TRAIN, EvaluateTask("{}", 2, "d2"), DESCRIPTION, CONTRIBUTION, PRIVATE, EVALUATION)
OTHER_VALUES: dict[type, list[Any]] = {
    str: [1, 1.5, True, b"x", ["x"]],
    int: ["1", 1.5, True, False, b"1", [1]],
    float: ["1", True, b"1", [1.0]],
    bool: ["yes", 1, 0.0, b"1", [True]],
    tuple: ["1", 1, 1.5, True, b"1", ["1"], [b"1"], [True, False]],
}
wrong_fields = [
    pytest.param(value, name, wrong, id=f"{type(value).__name__}.{name}={wrong!r}")
    for value in SAID
    for name, right in content_of(value)[ABOUT].items()
    for wrong in OTHER_VALUES[tuple if isinstance(right, list) else type(right)]
]


def read_as(value: Any, content: RecordDict) -> Any:
    if isinstance(value, Contribution):
        return read_contribution(content)
    if isinstance(value, Evaluation):
        return read_evaluation(content, 2)
    return read_about(content, type(value))


@pytest.mark.parametrize(("value", "name", "wrong"), wrong_fields)
def test_field_of_another_type_is_invalid(value: Any, name: str, wrong: Any) -> None:
    content = content_of(value)
    content[ABOUT][name] = wrong  # type: ignore[index]
    with pytest.raises(TaskInvalid):
        read_as(value, content)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        pytest.param(value, name, id=f"{type(value).__name__}.{name}")
        for value in SAID
        for name in content_of(value)[ABOUT]
        if name not in OPTIONAL or not isinstance(value, Contribution)
    ],
)
def test_missing_field_is_invalid(value: Any, name: str) -> None:
    content = content_of(value)
    del content[ABOUT][name]  # type: ignore[attr-defined]
    with pytest.raises(TaskInvalid):
        read_as(value, content)


@pytest.mark.parametrize("value", [Describe("{}"), TRAIN, DESCRIPTION, CONTRIBUTION, EVALUATION])
def test_record_missing_or_of_another_kind_is_invalid(value: Any) -> None:
    content = content_of(value)
    for records in ({}, {**content, ABOUT: ArrayRecord()}, {**content, ABOUT: ConfigRecord()}):
        with pytest.raises(TaskInvalid):
            read_as(value, RecordDict(records))


def test_whole_number_is_a_float_too() -> None:
    content = task_content(TRAIN)
    content[ABOUT]["proximal_mu"] = 1  # type: ignore[index]
    assert read_about(content, TrainTask).proximal_mu == 1.0


def test_field_that_is_not_known_is_passed_over() -> None:
    content = task_content(TRAIN)
    content[ABOUT]["of_a_later_release"] = 1  # type: ignore[index]
    assert read_about(content, TrainTask) == TRAIN


# --- arrays that are not right


def npy(array: NDArray[Any]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def described(shape: str = "(1,)", descr: str = "'<f4'") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n")


def archive() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.npy", npy(np.ones(2)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    {
        "nothing": b"",
        "text": b"no array",
        "pickle": pickle.dumps([1]),
        "zip archive": archive(),
        "half a zip archive": archive()[:20],
        "cut short": npy(np.ones(3))[:-1],
        "cut in the header": npy(np.ones(3))[:20],
        "version": b"\x93NUMPY\x09\x00abcd",
        "open bracket": header("{'descr': '<f4', 'fortran_order'\n"),
        "brackets": header("(" * 5000),
        "signs": header("-" * 9000 + "1"),
        "zero byte": header("{\0}"),
        "negative": described("(-3,)"),
        "no room": described("(100000000000000,)"),
        "beyond int64": described("(" + "9" * 30 + ",)"),
        "beyond int64, but empty": described("(0, " + "9" * 30 + ")"),
        "objects": described(descr="'|O'"),
        "text values": npy(np.array(["a"])),
        "dates": npy(np.zeros(1, "M8[s]")),
        "complex": npy(np.zeros(1, complex)),
        "records": npy(np.zeros(1, [("a", "<f4")])),
    }.items(),
    ids=lambda item: item[0],
)
def test_bytes_that_are_no_array_of_numbers_are_invalid(data: tuple[str, bytes]) -> None:
    record = ArrayRecord({"w": Array("float32", (1,), "numpy.ndarray", data[1])})
    with pytest.raises(TaskInvalid):
        weights_of(RecordDict({ARRAYS: record}))


def test_array_of_another_serialisation_is_invalid() -> None:
    record = ArrayRecord({"w": Array("float32", (1,), "torch.save", npy(np.ones(1)))})
    with pytest.raises(TaskInvalid):
        weights_of(RecordDict({ARRAYS: record}))


def with_arrays(**arrays: NDArray[Any] | None) -> RecordDict:
    """The good evaluation with other arrays; None leaves one away."""
    content = evaluation_content(EVALUATION)
    kept = {**{name: getattr(SUMS, name) for name in COUNTS[1:]}, **arrays}
    content[ARRAYS] = weights_record({name: a for name, a in kept.items() if a is not None})
    return content


ONE, HUGE = SUMS.confusion.astype(float), np.iinfo(np.int64).max
wrong_arrays: dict[str, dict[str, Any]] = {
    "one more": {"more": np.zeros(1)},
    **{f"without {name}": {name: None} for name in COUNTS[1:]},
    "negative confusion": {"confusion": SUMS.confusion - 1},
    "confusion NaN": {"confusion": ONE * np.nan},
    "confusion infinite": {"confusion": ONE + np.inf},
    "confusion whose sum overflows a float": {"confusion": np.full((2, 2), 1e308)},
    "confusion whose sum overflows an int": {"confusion": np.full((2, 2), HUGE)},
    "confusion in parts of a case": {"confusion": ONE + 0.25},
    "confusion of three classes": {"confusion": np.zeros((3, 3), int)},
    "confusion that broadcasts": {"confusion": np.zeros((1, 2), int)},
    "confusion of truth values": {"confusion": SUMS.confusion > 0},
    "calibration NaN": {"calibration": SUMS.calibration * np.nan},
    "calibration negative": {"calibration": SUMS.calibration - 1},
    "calibration of other bins": {"calibration": np.zeros((3, 10))},
    "histogram negative": {"histogram": SUMS.histogram - 1},
    "histogram of other bins": {"histogram": np.zeros((2, 2, 100), int)},
    "fewer scores than labels": {"scores": SCORES[:3]},
    "scores of fewer cases than counted": {"scores": SCORES[:3], "labels": SUMS.labels[:3]},
    "scores of three classes": {"scores": np.full((4, 3), 1 / 3)},
    "scores in one row": {"scores": SCORES[:, 1]},
    "scores NaN": {"scores": SCORES * np.nan},
    "scores beyond one": {"scores": SCORES * 3},
    "scores negative": {"scores": -SCORES},
    "labels without scores": {"scores": SCORES[:0]},
    "one label": {"labels": np.array(1)},
    "labels in a table": {"labels": np.zeros((4, 2), int)},
    "labels beyond the classes": {"labels": SUMS.labels + 9},
    "labels negative": {"labels": SUMS.labels - 1},
    "labels in parts": {"labels": SUMS.labels + 0.5},
    "labels of text": {"labels": np.array(["a", "b", "a", "b"])},
}


@pytest.mark.parametrize("arrays", wrong_arrays.values(), ids=wrong_arrays)
def test_evaluation_whose_counts_are_none_is_invalid(arrays: dict[str, Any]) -> None:
    with pytest.raises(TaskInvalid):
        read_evaluation(with_arrays(**arrays), 2)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -0.5])
def test_evaluation_with_an_impossible_loss_is_invalid(loss: float) -> None:
    content = evaluation_content(EVALUATION)
    content[ABOUT]["loss"] = loss  # type: ignore[index]
    with pytest.raises(TaskInvalid):
        read_evaluation(content, 2)


def test_evaluation_of_another_number_of_classes_is_invalid() -> None:
    with pytest.raises(TaskInvalid):
        read_evaluation(evaluation_content(EVALUATION), 3)


@pytest.mark.parametrize(
    ("counts", "exclusive", "fits"),
    [
        ((1, 2), True, True),
        ((2, 2), True, False),
        ((2, 2), False, True),
        ((0, 0), False, True),
        ((3, 3), False, True),
        ((4, 0), False, False),
        ((-1, 2), False, False),
    ],
)
def test_classes_add_up_to_the_cases_only_where_a_case_has_one(
    counts: tuple[int, int], exclusive: bool, fits: bool
) -> None:
    """Of 3 training cases."""
    content = description_content(replace(DESCRIPTION, train_labels=counts))
    if fits:
        assert read_description(content, 2, exclusive=exclusive).train_labels == counts
    else:
        with pytest.raises(TaskInvalid):
            read_description(content, 2, exclusive=exclusive)


# --- what a description tells its reader


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        ({"test_labels": (1, 1)}, []),
        ({}, ["all test cases have one class: normal"]),
        ({"train_labels": (0, 3)}, ["all training cases have one class: abnormal"]),
        ({"test_cases": 0, "test_labels": (0, 0)}, ["no test cases"]),
        ({"version": "9.9"}, [f"runs Consilium 9.9, the coordinator {__version__}"]),
    ],
)
def test_description_notes_what_a_reader_should_know(changes: dict[str, Any], notes: list[str]) -> None:
    found = replace(DESCRIPTION, **changes).notes(("normal", "abnormal"))
    assert set(notes) <= set(found)
    assert bool(notes) == bool(found)
