"""Whatever a site sends, the coordinator reads it as a sound update or refuses it by a coded error."""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.errors import ConsiliumError, UpdateRefused
from common.tasks import contribution_content, read_contribution, read_evaluation
from common.update import Contribution
from common.weights import Moved, digest
from server.gate import admit

BASE = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3, dtype=np.float32)}
DIGEST = digest(BASE)
FINITE = st.floats(-1e6, 1e6, width=32)


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


GOOD_BYTES = npy(BASE["b"])


def content(**about: Any) -> RecordDict:
    fields = {"site": "elm", "round": 1, "base_digest": DIGEST, "cases": 5, "loss": 0.5, **about}
    record = contribution_content(Contribution("elm", 1, DIGEST, BASE, 5, 0.5))
    return RecordDict({**record, "about": ConfigRecord({k: v for k, v in fields.items() if v is not None})})


def taken(record: RecordDict) -> Contribution | None:
    """The contribution if it is let in; None if it is refused in the one way there is."""
    try:
        contribution = read_contribution(record)
        admit(contribution, "elm", 1, BASE, DIGEST)
    except ConsiliumError as error:
        assert error.code in ("task-invalid", "update-refused")
        return None
    return contribution


def test_what_is_sound_is_taken() -> None:
    assert taken(content()) is not None


@given(hnp.arrays(np.float32, (2, 3), elements=st.floats(width=32)))
def test_what_is_taken_leaves_the_model_finite(values: np.ndarray) -> None:
    contribution = Contribution("elm", 1, DIGEST, {**BASE, "w": values}, 5, 0.5)
    found = taken(contribution_content(contribution))
    assert (found is not None) == bool(np.isfinite(values).all())
    if found is not None:
        np.testing.assert_array_equal(found.delta["w"], values)
        small = {name: array * np.float32(0.1) for name, array in found.delta.items()}
        assert all(np.isfinite(array).all() for array in dict(Moved(BASE, small)).values())


@given(
    dtype=st.sampled_from(
        ["<f4", ">f4", "<f8", "<f2", "<i4", "<i8", "|b1", "<U3", "|S2", "<c8", "<M8[s]", "|u1"]
    ),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
def test_only_the_bases_shape_and_type_are_taken(dtype: str, shape: tuple[int, ...]) -> None:
    record = content()
    record["arrays"]["b"] = Array(np.zeros(shape, dtype=dtype))
    assert (taken(record) is not None) == (dtype == "<f4" and shape == (3,))


@given(st.dictionaries(st.sampled_from(["w", "b", "W", "", "w.", "c"]), st.just(BASE["b"]), max_size=4))
def test_only_the_bases_names_are_taken(arrays: dict[str, Any]) -> None:
    shaped = {name: BASE.get(name, array) for name, array in arrays.items()}
    record = RecordDict({**content(), "arrays": ArrayRecord({n: Array(a) for n, a in shaped.items()})})
    assert (taken(record) is not None) == (set(shaped) == set(BASE))


FIELD = st.one_of(
    st.none(),
    st.integers(-(2**62), 2**62),
    st.floats(),
    st.booleans(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.integers(0, 5), max_size=3),
)


@given(st.sampled_from(["site", "round", "base_digest", "cases", "loss", "base_loss"]), FIELD)
def test_a_field_of_another_type_or_value_is_refused(name: str, value: Any) -> None:
    found = taken(content(**{name: value}))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    sound = {
        "site": value == "elm",
        "round": number and isinstance(value, int) and value == 1,
        "base_digest": value == DIGEST,
        "cases": number and isinstance(value, int) and value > 0,
        "loss": number and 0 <= value <= 1e300,
        "base_loss": value is None or (number and 0 <= value <= 1e300),
    }
    assert (found is not None) == sound[name]


def private_content(**about: Any) -> RecordDict:
    """As :func:`content`, from private training."""
    spent = {"epsilon": 1.5, "target_delta": 1e-5, "clip_norm": 0.7, "ledger_head": f"3:{DIGEST}"}
    return content(**{"loss": None, **spent, **about})


def let_in(record: RecordDict, *, private: bool) -> bool:
    try:
        admit(read_contribution(record), "elm", 1, BASE, DIGEST, private=private)
    except ConsiliumError as error:
        assert error.code in ("task-invalid", "update-refused")
        return False
    return True


def test_what_is_private_is_taken_where_it_should_be_and_nowhere_else() -> None:
    assert let_in(private_content(), private=True) and not let_in(private_content(), private=False)
    assert let_in(content(), private=False) and not let_in(content(), private=True)


HEAD = st.from_regex(r"[0-9]{1,14}:[0-9a-f]{62,66}", fullmatch=True) | st.text(
    "0123456789abcdef:", max_size=80
)


@given(st.sampled_from(["epsilon", "target_delta", "clip_norm", "ledger_head", "loss"]), FIELD | HEAD)
def test_a_figure_of_privacy_that_is_none_is_refused(name: str, value: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))
    head = isinstance(value, str) and value.isascii() and len(value.rpartition(":")[0]) <= 12
    sound = {
        "epsilon": number and value >= 0 if number else False,
        "target_delta": number and 0 < value < 1 if number else False,
        "clip_norm": value is None or (number and value > 0),
        "ledger_head": value is None or (head and bool(re.fullmatch("[0-9]+:[0-9a-f]{64}", value))),
        "loss": value is None,
    }
    assert let_in(private_content(**{name: value}), private=True) == sound[name]


@given(st.binary(max_size=200))
def test_no_bytes_of_an_array_break_the_reader(data: bytes) -> None:
    record = content()
    record["arrays"]["b"] = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=data)
    assert taken(record) is None


@given(
    position=st.integers(0, len(GOOD_BYTES) - 1),
    put=st.binary(min_size=1, max_size=6),
    cut=st.integers(0, 12),
)
def test_no_change_of_an_arrays_bytes_breaks_the_reader(position: int, put: bytes, cut: int) -> None:
    record = content()
    data = GOOD_BYTES[:position] + put + GOOD_BYTES[position + cut :]
    record["arrays"]["b"] = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=data)
    found = taken(record)
    if found is not None:
        assert found.delta["b"].shape == (3,) and np.isfinite(found.delta["b"]).all()


HEADER = st.text("{}()[]'\":,. \n0123456789<>f4iUOdescrshapfortn_odFalseTu#\\", max_size=80)


@given(HEADER)
def test_no_header_of_an_array_breaks_the_reader(header: str) -> None:
    raw = header.encode()
    data = b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + b"\0" * 12
    record = content()
    record["arrays"]["b"] = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=data)
    taken(record)


@given(st.binary(max_size=60), st.sampled_from(["confusion", "calibration", "histogram", "scores", "labels"]))
def test_no_evaluation_breaks_the_reader(data: bytes, name: str) -> None:
    record = RecordDict(
        {
            "about": ConfigRecord({"site": "elm", "round": 1, "base_digest": DIGEST, "loss": 1.0}),
            "arrays": ArrayRecord(
                {
                    "confusion": Array(np.eye(2, dtype=np.int64)),
                    "calibration": Array(np.zeros((3, 15))),
                    "histogram": Array(np.zeros((2, 2, 512), dtype=np.int64)),
                    "scores": Array(np.zeros((0, 2))),
                    "labels": Array(np.zeros(0, dtype=np.int64)),
                }
            ),
        }
    )
    assert read_evaluation(record, 2).sums.n == 2
    record["arrays"][name] = Array(dtype="int64", shape=(2,), stype="numpy.ndarray", data=data)
    try:
        read_evaluation(record, 2)
    except ConsiliumError as error:
        assert error.code == "task-invalid"
    else:
        raise AssertionError("bytes that are no array were read as one")


@given(st.integers(-5, 5), st.text(max_size=5), st.text(max_size=5))
def test_an_update_passes_only_for_the_site_round_and_base_it_is_of(
    number: int, site: str, named: str
) -> None:
    contribution = Contribution("elm", 1, DIGEST, BASE, 5, 0.5)
    if (number, site, named) == (1, "elm", DIGEST):
        return
    try:
        admit(contribution, site, number, BASE, named)
    except UpdateRefused:
        return
    raise AssertionError("an update of another site, round or base was let in")


# Everything at once: a sound update, changed in one to four places, through the whole way of reading.

MODEL = {
    **BASE,
    "n.running_var": np.ones(3, dtype=np.float32),
    "n.num_batches_tracked": np.array(7, dtype=np.int64),
}
MODEL_DIGEST = digest(MODEL)
REGISTERED = 50
EXTREMES = st.sampled_from(
    [
        0,
        -1,
        1,
        49,
        51,
        2**31,
        2**63 - 1,
        -(2**63),
        10**9,
        0.0,
        -0.0,
        1e-320,
        1e308,
        float("nan"),
        float("inf"),
    ]
)
VALUE = st.one_of(
    FIELD, EXTREMES, st.just(MODEL_DIGEST), st.sampled_from(["elm", "Elm", "elm ", "\ud800", "\0"])
)
ABOUT_FIELDS = st.sampled_from(
    [
        "site",
        "round",
        "base_digest",
        "cases",
        "loss",
        "base_loss",
        "ledger_head",
        "clip_norm",
        "epsilon",
        "more",
    ]
)
NAMES = st.sampled_from(
    [*MODEL, "W", "w ", "b\0", "", "../w", "n.running_mean", "\ud800", "\u202ew"]
) | st.text(max_size=6)
DTYPES = [
    "<f4",
    ">f4",
    "<f8",
    "<f2",
    "<i1",
    "<i4",
    "<i8",
    ">i8",
    "<u8",
    "|b1",
    "<U3",
    "|S2",
    "<c8",
    "<M8[s]",
    "|V5",
]
SHAPES = st.sampled_from(
    [(), (0,), (1,), (3,), (4,), (1, 3), (3, 1), (2, 3), (3, 2), (6,), (0, 3), (1,) * 20]
)
HEADER_SHAPES = SHAPES | st.lists(st.sampled_from([0, 1, 3, -1, 2**20, 2**40, 2**63]), max_size=4).map(tuple)


@st.composite
def raw_arrays(draw: st.DrawFn) -> bytes:
    """Bytes in NumPy's format that lie about dtype, shape, order, version or length."""
    described = draw(
        st.sampled_from([*(repr(dtype) for dtype in DTYPES), "'|O'", "[('a', '<f4')]", "'<f4, <f4'", "3"])
    )
    order = draw(st.sampled_from(["False", "True", "None", "0"]))
    header = (
        f"{{'descr': {described}, 'fortran_order': {order}, 'shape': {draw(HEADER_SHAPES)!r}, }}".encode()
    )
    version = draw(st.sampled_from([1, 2, 3, 4, 0, 255]))
    length = draw(st.just(len(header)) | st.integers(0, 2**16 - 1))
    size = length.to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + draw(st.binary(max_size=40))


@st.composite
def arrays_sent(draw: st.DrawFn) -> Array:
    """An array of some dtype and shape, its numbers among them what no update may hold."""
    if draw(st.booleans()):
        data = draw(raw_arrays() | st.binary(max_size=60))
        kind = draw(st.sampled_from(["numpy.ndarray", "torch.Tensor", ""]))
        return Array(dtype="float32", shape=(3,), stype=kind, data=data)
    made = np.zeros(draw(SHAPES), dtype=draw(st.sampled_from(DTYPES)))
    if made.dtype.kind in "fi" and made.size:
        worst = (
            [np.nan, np.inf, -np.inf, 3e38, -1.5]
            if made.dtype.kind == "f"
            else [-8, -128, 127, 2**62, -(2**63)]
        )
        with np.errstate(all="ignore"):
            made.reshape(-1)[-1] = np.array(draw(st.sampled_from(worst))).astype(made.dtype)
    return Array(made)


def changed_about(draw: st.DrawFn, record: RecordDict) -> None:
    about = dict(record["about"])
    name, value = draw(ABOUT_FIELDS), draw(VALUE)
    if value is None:
        about.pop(name, None)
    else:
        about[name] = value
    record["about"] = ConfigRecord(about)


def changed_arrays(draw: st.DrawFn, record: RecordDict) -> None:
    arrays = dict(record.array_records["arrays"])
    if draw(st.integers(0, 3)) == 0:
        arrays.pop(draw(st.sampled_from(sorted(MODEL))), None)
    else:
        arrays[draw(NAMES)] = draw(arrays_sent())
    record["arrays"] = ArrayRecord(arrays)


def changed_bytes(draw: st.DrawFn, record: RecordDict) -> None:
    arrays = dict(record.array_records["arrays"])
    if not arrays:
        return
    name = draw(st.sampled_from(sorted(arrays)))
    data, at = arrays[name].data, draw(st.integers(0, 150))
    put, cut = draw(st.binary(max_size=6)), draw(st.integers(0, 150))
    arrays[name] = Array(
        dtype="float32", shape=(3,), stype="numpy.ndarray", data=data[:at] + put + data[at + cut :]
    )
    record["arrays"] = ArrayRecord(arrays)


@st.composite
def malformed(draw: st.DrawFn) -> RecordDict:
    """A reply that was sound before it was changed in one to four places."""
    zeros = {name: np.zeros_like(array) for name, array in MODEL.items()}
    record = contribution_content(Contribution("elm", 1, MODEL_DIGEST, zeros, 5, 0.5))
    for _ in range(draw(st.integers(1, 4))):
        draw(st.sampled_from([changed_about, changed_arrays, changed_bytes]))(draw, record)
    if draw(st.integers(0, 19)) == 0:
        name = draw(st.sampled_from(["about", "arrays"]))
        kept = {key: value for key, value in record.items() if key != name}
        other = draw(st.sampled_from([ConfigRecord({}), ArrayRecord({}), MetricRecord({"a": 1}), None]))
        record = RecordDict(kept if other is None else {**kept, name: other})
    return record


def keeps_every_promise(one: Contribution) -> bool:
    """What the gate says of an update that it lets in, looked at in another way than the gate does."""
    new = {name: MODEL[name] + one.delta[name] for name in MODEL}
    return (
        (one.site, one.round, one.base_digest) == ("elm", 1, MODEL_DIGEST)
        and type(one.cases) is int
        and one.cases in range(1, REGISTERED + 1)
        and sorted(one.delta) == sorted(MODEL)
        and all(array.shape == MODEL[name].shape for name, array in one.delta.items())
        and all(array.dtype.str == MODEL[name].dtype.str for name, array in one.delta.items())
        and all(np.isfinite(array).all() for array in one.delta.values())
        and 0 <= int(new["n.num_batches_tracked"]) <= 2**41
        and bool((new["n.running_var"] >= 0).all())
        and (one.epsilon, one.target_delta) == (None, None)
        and one.loss is not None
        and all(0 <= value < np.inf for value in (one.loss, one.base_loss or 0.0, one.clip_norm or 1.0))
    )


def refused(record: RecordDict) -> bool:
    """Whether a reply is refused, with a code; if not, it must be sound in every respect."""
    try:
        contribution = read_contribution(record)
        admit(contribution, "elm", 1, MODEL, MODEL_DIGEST, registered=REGISTERED)
    except ConsiliumError as error:
        assert error.code in ("task-invalid", "update-refused") and error.refusal().hint
        return True
    assert keeps_every_promise(contribution)
    return False


@pytest.mark.parametrize(
    "shape", ["0, 9223372036854775808", "1099511627776,", "4294967296, 4294967296", "-3,", "1e3,"]
)
def test_a_shape_that_no_memory_holds_is_refused(shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 12
    record = content()
    record["arrays"]["b"] = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=data)
    assert taken(record) is None


@given(malformed())
def test_a_malformed_update_is_refused_by_a_code_or_was_sound_after_all(record: RecordDict) -> None:
    refused(record)


@pytest.mark.slow
def test_ten_thousand_malformed_updates_meet_coded_refusals_only() -> None:
    found: Counter[bool] = Counter()

    @settings(
        max_examples=10_000,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(malformed())
    def send(record: RecordDict) -> None:
        found[refused(record)] += 1

    send()
    assert found.total() >= 10_000
    assert found[True] > 8_000  # the rest were changed into something that an update may be
