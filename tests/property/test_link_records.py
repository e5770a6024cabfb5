"""Any records of Flower come back as they were; anything malformed is refused, with little memory."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from common.chain import canonical
from common.errors import BlobRefused, EnvelopeRefused
from common.link.blobs import digest_of
from common.link.records import announced, described, restored

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats()
NUMBERS = st.one_of(INTEGERS, FLOATS, st.lists(INTEGERS, max_size=4), st.lists(FLOATS, max_size=4))
OTHERS = (st.booleans(), TEXTS, st.binary(max_size=9))
METRICS = st.dictionaries(TEXTS, NUMBERS, max_size=4).map(MetricRecord)
CONFIGS = st.dictionaries(
    TEXTS, st.one_of(NUMBERS, *OTHERS, *(st.lists(each, max_size=3) for each in OTHERS)), max_size=6
).map(ConfigRecord)
TYPES = ["float16", "float32", "float64", "bool", "int8", "uint8", "int64", "uint64", "complex64", ">f4"]
NDARRAYS = npst.arrays(
    st.sampled_from(TYPES), npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
)
# Not only what numpy made: Flower lets any bytes be an array.
ARRAYS = st.one_of(
    NDARRAYS.map(Array),
    st.builds(
        lambda *of: Array(*of),
        TEXTS,
        st.lists(st.integers(0, 2**63 - 1), max_size=3).map(tuple),
        TEXTS,
        st.binary(max_size=9),
    ),
)
ARRAY_RECORDS = st.dictionaries(TEXTS, ARRAYS, max_size=4).map(ArrayRecord)
RECORDS = st.dictionaries(TEXTS, st.one_of(ARRAY_RECORDS, CONFIGS, METRICS), max_size=4).map(RecordDict)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
EVIL = st.one_of(
    JSON,
    st.sampled_from(
        [-1, 0, True, 2**63, 10**30, 1e300, "", "\ud800", "nan", {"float": "nan"}, {"bytes": "=A"}]
    ),
)


def spelled(content: RecordDict) -> list[object]:
    """All of it in order, with nothing that is not equal to itself."""
    return [
        (name, type(record), [(key, type(value), _spelled(value)) for key, value in record.items()])
        for name, record in content.items()
    ]


def _spelled(value: object) -> str:
    """An array's bytes may lie in a blob."""
    return repr(
        (value.dtype, value.shape, value.stype, bytes(value.data)) if isinstance(value, Array) else value
    )


def sent(content: RecordDict) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The description after its way as JSON, and the blobs in one piece."""
    description, blobs = described(content)
    return json.loads(canonical(description)), {name: b"".join(parts) for name, parts in blobs.items()}


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document something stands."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    found = [path] if path else []
    for key, value in inner:
        deeper = places(value, (*path, key)) if isinstance(value, dict | list) else [(*path, key)]
        found += deeper
    return found


def changed(document: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return document


@given(RECORDS)
def test_records_come_back_as_they_were(content: RecordDict) -> None:
    description, blobs = sent(content)
    assert {name: len(data) for name, data in blobs.items()} == announced(description)
    assert all(digest_of([data]) == name for name, data in blobs.items())
    back = restored(description, lambda digest: memoryview(blobs[digest]))
    assert spelled(back) == spelled(content)
    assert sent(back) == (description, blobs)


@given(st.dictionaries(TEXTS, NDARRAYS, max_size=4))
def test_arrays_come_back_bit_for_bit(arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    description, blobs = sent(RecordDict({"a": ArrayRecord({n: Array(a) for n, a in arrays.items()})}))
    back = restored(description, blobs.__getitem__).array_records["a"]
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        found = back[name].numpy()
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(RECORDS.filter(len), st.data())
def test_a_changed_description_is_other_records_or_refused(content: RecordDict, data: st.DataObject) -> None:
    description, blobs = sent(content)
    path = data.draw(st.sampled_from(places(description)))

    def change(inner: Any, key: Any) -> None:
        match data.draw(st.sampled_from(["replace", "remove", "repeat"])):
            case "replace":
                inner[key] = data.draw(EVIL)
            case "remove":
                del inner[key]
            case _ if isinstance(inner, list):
                inner.append(inner[key])
            case _:
                inner[data.draw(TEXTS)] = inner[key]

    def fetched(digest: str) -> bytes:
        if digest not in blobs:
            raise BlobRefused("not here")
        return blobs[digest]

    try:
        back = restored(changed(description, path, change), fetched)
    except (EnvelopeRefused, BlobRefused):
        return
    assert spelled(restored(*_again(back))) == spelled(back)


def _again(content: RecordDict) -> tuple[dict[str, Any], Callable[[str], bytes]]:
    description, blobs = sent(content)
    return description, blobs.__getitem__


@given(JSON)
def test_other_json_is_refused(document: Any) -> None:
    for description in (document, {"content": [document]}, {"content": document, "more": 1}):
        with pytest.raises(EnvelopeRefused):
            restored(description, lambda digest: b"")


def refuses(blob: bytes) -> bool:
    """Whether a blob that was announced as it is cannot be unpacked; nothing but a refusal may come of it."""
    description = {"content": [{"kind": "arrays", "name": "a", "blob": digest_of([blob]), "size": len(blob)}]}
    try:
        back = restored(description, lambda digest: blob)
    except BlobRefused:
        return True
    # What is accepted has no other spelling.
    assert sent(back)[1] == {digest_of([blob]): blob}
    return False


def packed(rows: Any, data: bytes = b"") -> bytes:
    """A blob with this header."""
    header = json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()
    return len(header).to_bytes(8, "little") + header + data


@given(ARRAY_RECORDS, st.data())
def test_a_blob_with_other_bytes_is_other_arrays_or_refused(record: ArrayRecord, data: st.DataObject) -> None:
    ((_, blob),) = sent(RecordDict({"a": record}))[1].items()
    at = data.draw(st.integers(0, len(blob) - 1))
    flipped = bytearray(blob)
    flipped[at] ^= data.draw(st.integers(1, 255))
    refuses(bytes(flipped))
    assert refuses(blob[:at])
    refuses(blob[:at] + data.draw(st.binary(min_size=1, max_size=9)) + blob[at:])
    assert refuses(blob + b"\0")


@given(ARRAY_RECORDS.filter(len), st.data())
def test_a_changed_header_is_other_arrays_or_refused(record: ArrayRecord, data: st.DataObject) -> None:
    ((_, blob),) = sent(RecordDict({"a": record}))[1].items()
    start = 8 + int.from_bytes(blob[:8], "little")
    rows = json.loads(blob[8:start])
    path = data.draw(st.sampled_from(places(rows)))
    evil = data.draw(EVIL)
    refuses(packed(changed(rows, path, lambda inner, key: inner.__setitem__(key, evil)), blob[start:]))
    if len(path) == 2:
        assert refuses(packed(changed(rows, path, lambda inner, key: inner.pop(key)), blob[start:]))
    assert refuses(packed([*rows, rows[-1]], blob[start:] + blob[start:]))


@given(st.binary(max_size=40), JSON)
def test_bytes_that_are_no_blob_are_refused(data: bytes, document: Any) -> None:
    refuses(data)
    refuses(packed(document, data))


@given(st.integers(2**20 + 1, 2**64 - 1), st.integers(-(2**70), 2**70).filter(bool), st.integers(2, 200_000))
def test_absurd_numbers_cost_no_memory(length: int, size: int, depth: int) -> None:
    row = {"name": "a", "dtype": "float32", "shape": [2**62] * 64, "size": size, "stype": "numpy.ndarray"}
    nested = b"[" * depth
    blobs = [
        length.to_bytes(8, "little") + b"[]",
        packed([row]),
        packed([row, {**row, "name": "b", "size": -size}]),
        packed([{**row, "size": 0, "shape": [0] * 65}]),
        depth.to_bytes(8, "little") + nested,
    ]
    tracemalloc.start()
    try:
        assert all(map(refuses, blobs))
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()
