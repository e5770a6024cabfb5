"""Flower's records on the link: their form is fixed, and what the link does not carry is refused."""

from __future__ import annotations

import tracemalloc
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from common.chain import canonical
from common.errors import BlobRefused, DiskFull, EnvelopeRefused
from common.link.blobs import Parts, digest_of
from common.link.records import (
    MOST_ARRAYS,
    MOST_HEADER_BYTES,
    Blob,
    announced,
    blob_of,
    described,
    restored,
)

GOLDEN_HEADER = (
    b'[{"dtype":"float16","name":"w","shape":[2,1],"size":3,"stype":"numpy.ndarray"},'
    b'{"dtype":"bool","name":"b","shape":[],"size":1,"stype":"other"}]'
)
GOLDEN_BLOB = b"\x8f\0\0\0\0\0\0\0" + GOLDEN_HEADER + b"abc" + b"d"
GOLDEN_DESCRIPTION = (
    b'{"content":[{"blob":"25ac0ef3","kind":"arrays","name":"z","size":155},{"items":[["rate",0.5],'
    b'["b",{"bytes":"AP8="}],["l",[true,false]],["x",{"float":"-inf"}]],"kind":"config","name":"a"},'
    b'{"items":[["n",7]],"kind":"metrics","name":"m"}]}'
)


class Colour(IntEnum):
    RED = 3


def pair(**records: Any) -> tuple[dict[str, Any], dict[str, Parts]]:
    return described(RecordDict(records))


def arrays_row(data: bytes, **changes: Any) -> dict[str, Any]:
    return {"kind": "arrays", "name": "a", "blob": digest_of([data]), "size": len(data), **changes}


def inline_row(*items: Any, kind: str = "config", **changes: Any) -> dict[str, Any]:
    return {"kind": kind, "name": "c", "items": list(items), **changes}


def never(digest: str) -> bytes:
    raise AssertionError(digest)


def many_empty(count: int) -> ArrayRecord:
    record = ArrayRecord()
    for number in range(count):
        record[str(number)] = Array("", (), "", b"")
    return record


def test_the_form_is_fixed() -> None:
    record = ArrayRecord()
    record["w"] = Array("float16", (2, 1), "numpy.ndarray", b"abc")
    record["b"] = Array("bool", (), "other", b"d")
    settings = ConfigRecord({"rate": 0.5, "b": b"\0\xff", "l": [True, False], "x": float("-inf")})
    description, blobs = pair(z=record, a=settings, m=MetricRecord({"n": 7}))
    ((digest, parts),) = blobs.items()
    assert b"".join(parts) == GOLDEN_BLOB and digest == digest_of([GOLDEN_BLOB])
    assert canonical(description).replace(digest.encode(), b"25ac0ef3") == GOLDEN_DESCRIPTION


def test_the_bytes_of_arrays_are_not_copied() -> None:
    record = ArrayRecord({name: Array(np.zeros(1000)) for name in "ab"})
    ((_, parts),) = pair(a=record)[1].items()
    assert [part is array.data for part, array in zip(parts[1:], record.values(), strict=True)] == [True] * 2


def test_equal_records_are_one_blob_that_is_asked_for_once() -> None:
    record = ArrayRecord({"w": Array(np.arange(3))})
    content = RecordDict({"a": record, "b": ArrayRecord(dict(record))})
    description, blobs = described(content)
    asked: list[str] = []

    def blob(digest: str) -> bytes:
        asked.append(digest)
        return b"".join(blobs[digest])

    back = restored(description, blob)
    assert back == content and asked == list(blobs) == list(announced(description))
    back.array_records["a"]["w"].data = b""
    assert back.array_records["b"]["w"].data == record["w"].data


def test_a_record_sent_to_many_is_hashed_once_where_the_caller_remembers_it() -> None:
    record = ArrayRecord({"w": Array(np.arange(3))})
    known = blob_of(record)
    changed = Blob("0" * 64, known.size, known.parts)
    assert described(RecordDict({"a": record}), lambda _: changed)[1] == {"0" * 64: known.parts}


def test_numbers_that_are_more_than_numbers_come_back_as_plain_ones() -> None:
    content = RecordDict({"c": ConfigRecord({"e": Colour.RED, "f": np.float64(0.1)})})
    back = restored(described(content)[0], never).config_records["c"]
    assert [(type(value), value) for value in back.values()] == [(int, 3), (float, 0.1)]


@pytest.mark.parametrize(
    "content",
    [
        {"c": ConfigRecord({"n": 2**64})},
        {"c": ConfigRecord({"n": [0, -(2**63) - 1]})},
        {"m": MetricRecord({"n": 10**5000})},
        {"c": ConfigRecord({"t": "\ud83d\ude00"})},
        {"c": ConfigRecord({"\ud800": 1})},
        {"\udfff": ConfigRecord()},
    ],
)
def test_what_would_not_come_back_is_not_sent(content: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeRefused):
        described(RecordDict(content))


@pytest.mark.parametrize(
    "array",
    [
        Array("float32", (-1,), "numpy.ndarray", b""),
        Array("float32", (1,) * 65, "numpy.ndarray", b""),
        Array("\ud800", (), "numpy.ndarray", b""),
        Array("x" * MOST_HEADER_BYTES, (), "numpy.ndarray", b""),
    ],
)
def test_arrays_that_would_be_refused_are_not_sent(array: Array) -> None:
    record = ArrayRecord()
    record["w"] = array
    with pytest.raises(BlobRefused):
        blob_of(record)


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        {},
        arrays_row(b"", kind="array"),
        arrays_row(b"", name=None),
        arrays_row(b"", name="\ud800"),
        arrays_row(b"", blob=None),
        arrays_row(b"", size=-1),
        arrays_row(b"", size=True),
        arrays_row(b"", size=8.0),
        arrays_row(b"", size=2**63),
        arrays_row(b"", more=0),
        {"kind": "arrays", "name": "a", "size": 8},
        inline_row(items=None),
        inline_row(more=0),
        inline_row(["k"]),
        inline_row(["k", 1, 2]),
        inline_row([1, 1]),
        inline_row("kv"),
        inline_row(["\ud800", 1]),
        inline_row(["k", 1], ["k", 1]),
        inline_row(["k", None]),
        inline_row(["k", {}]),
        inline_row(["k", [[1]]]),
        inline_row(["k", [1, "a"]]),
        inline_row(["k", float("nan")]),
        inline_row(["k", 2**64]),
        inline_row(["k", "\ud800"]),
        inline_row(["k", {"float": "1.0"}]),
        inline_row(["k", {"float": "nan", "bytes": ""}]),
        inline_row(["k", {"bytes": "AP9="}]),
        inline_row(["k", {"bytes": "AP8"}]),
        inline_row(["k", {"bytes": "A P8="}]),
        inline_row(["k", {"bytes": "é"}]),
        inline_row(["k", {"bytes": 1}]),
        inline_row(["k", True], kind="metrics"),
        inline_row(["k", "text"], kind="metrics"),
        inline_row(["k", {"bytes": ""}], kind="metrics"),
        inline_row(["k", [1, 0.5]], kind="metrics"),
    ],
)
def test_a_malformed_description_is_refused_before_any_blob_is_asked_for(row: Any) -> None:
    with pytest.raises(EnvelopeRefused):
        restored({"content": [arrays_row(b"", name="first"), row]}, never)


@pytest.mark.parametrize(
    "description",
    [
        None,
        [],
        {},
        {"content": None},
        {"content": [], "more": 0},
        {"content": [inline_row(), inline_row()]},
        {"content": [arrays_row(b""), arrays_row(b"", name="b", size=9)]},
    ],
)
def test_a_description_is_a_list_of_different_records(description: Any) -> None:
    for read in (announced, lambda description: restored(description, never)):
        with pytest.raises(EnvelopeRefused):
            read(description)


def test_a_blob_of_another_length_than_announced_is_refused() -> None:
    description = {"content": [arrays_row(GOLDEN_BLOB, size=len(GOLDEN_BLOB) - 1)]}
    with pytest.raises(BlobRefused):
        restored(description, lambda digest: GOLDEN_BLOB)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"size":3', b'"size":4'),
        (b'"size":3', b'"size":-3'),
        (b'"size":1', b'"size":true'),
        (b'"name":"b"', b'"name":"w"'),
        (b'"name":"b"', b'"name":"\\ud800"'),
        (b'"name":"b"', b'"name":null'),
        (b'"name":"b"', b'"name":"\\u0062"'),
        (b'"name":"b"', b'"name":"a","name":"b"'),
        (b'"shape":[2,1]', b'"shape":[2,-1]'),
        (b'"shape":[2,1]', b'"shape":[2,1.0]'),
        (b'"shape":[2,1]', b'"shape":{}'),
        (b'"shape":[2,1]', b'"shape": [2,1]'),
        (b'"shape":[]', b'"shape":[NaN]'),
        (b'"dtype":"bool",', b""),
        (b'"dtype":"bool"', b'"dtype":"bool","more":0'),
        (b'"dtype":"bool"', b'"dtype":"b\xff"'),
        (GOLDEN_HEADER, b"{}"),
        (GOLDEN_HEADER, b"[[]]"),
        (GOLDEN_HEADER, b""),
        (GOLDEN_HEADER, GOLDEN_HEADER.decode().encode("utf-16")),
    ],
)
def test_a_blob_with_a_changed_header_is_refused(old: bytes, new: bytes) -> None:
    header = GOLDEN_HEADER.replace(old, new)
    assert header != GOLDEN_HEADER
    blob = len(header).to_bytes(8, "little") + header + b"abcd"
    with pytest.raises(BlobRefused):
        restored({"content": [arrays_row(blob)]}, lambda digest: blob)


def test_what_the_store_says_of_a_blob_is_passed_on() -> None:
    def full(digest: str) -> bytes:
        raise DiskFull(digest)

    with pytest.raises(DiskFull):
        restored({"content": [arrays_row(GOLDEN_BLOB)]}, full)


def test_one_message_holds_so_many_arrays_and_no_more() -> None:
    few, many = many_empty(MOST_ARRAYS), many_empty(MOST_ARRAYS + 1)
    assert blob_of(few).size < MOST_HEADER_BYTES
    with pytest.raises(BlobRefused):
        blob_of(many)
    with pytest.raises(BlobRefused):
        pair(a=many_empty(MOST_ARRAYS // 2), b=many_empty(MOST_ARRAYS // 2 + 1))


def test_a_blob_named_often_and_a_header_full_of_nothing_cost_little_memory() -> None:
    blob = b"".join(blob_of(many_empty(1000)).parts)
    often = {"content": [arrays_row(blob, name=str(number)) for number in range(5000)]}
    header = b"[" + b"[]," * (MOST_HEADER_BYTES // 3 - 1) + b"[]]"
    nothing = len(header).to_bytes(8, "little") + header
    tracemalloc.start()
    try:
        for description, data in ((often, blob), ({"content": [arrays_row(nothing)]}, nothing)):
            with pytest.raises(BlobRefused):
                restored(description, lambda digest, data=data: data)
        assert tracemalloc.get_traced_memory()[1] < 48 * 2**20
    finally:
        tracemalloc.stop()
