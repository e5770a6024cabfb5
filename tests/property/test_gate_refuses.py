"""Whatever a site sends, the coordinator reads it as a sound update or refuses it by a coded error."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.errors import ConsiliumError, UpdateRefused
from common.tasks import contribution_content, read_contribution, read_evaluation
from common.update import Contribution
from common.weights import add, digest
from server.gate import admit

BASE = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3, dtype=np.float32)}
DIGEST = digest(BASE)
FINITE = st.floats(-1e6, 1e6, width=32)
quick = settings(max_examples=120, deadline=None)


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


@quick
@given(hnp.arrays(np.float32, (2, 3), elements=st.floats(width=32)))
def test_what_is_taken_leaves_the_model_finite(values: np.ndarray) -> None:
    contribution = Contribution("elm", 1, DIGEST, {**BASE, "w": values}, 5, 0.5)
    found = taken(contribution_content(contribution))
    assert (found is not None) == bool(np.isfinite(values).all())
    if found is not None:
        np.testing.assert_array_equal(found.delta["w"], values)
        small = {name: array * np.float32(0.1) for name, array in found.delta.items()}
        assert all(np.isfinite(array).all() for array in add(BASE, small).values())


@quick
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


@quick
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


@quick
@given(st.sampled_from(["site", "round", "base_digest", "cases", "loss", "base_loss"]), FIELD)
def test_a_field_of_another_type_or_value_is_refused(name: str, value: Any) -> None:
    found = taken(content(**{name: value}))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    sound = {
        "site": value == "elm",
        "round": number and isinstance(value, int) and value == 1,
        "base_digest": value == DIGEST,
        "cases": number and isinstance(value, int) and value > 0,
        "loss": number and bool(np.isfinite(value)) and value >= 0 if number else False,
        "base_loss": value is None or (number and bool(np.isfinite(value)) and value >= 0),
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


@quick
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


@quick
@given(st.binary(max_size=200))
def test_no_bytes_of_an_array_break_the_reader(data: bytes) -> None:
    record = content()
    record["arrays"]["b"] = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=data)
    assert taken(record) is None


@quick
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


@settings(max_examples=200, deadline=None)
@given(HEADER)
def test_no_header_of_an_array_breaks_the_reader(header: str) -> None:
    raw = header.encode()
    data = b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + b"\0" * 12
    record = content()
    record["arrays"]["b"] = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=data)
    taken(record)


@quick
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


@quick
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
