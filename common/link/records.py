"""Flower's records as JSON that a statement carries, and blobs beside it.

Configuration and metrics stand in the description itself; of each record of arrays it has only the digest.
Such a blob is 8 bytes, the length of its header as a little-endian number; the header, canonical JSON, one
entry an array with name, type, shape, kind of serialisation and length; and the arrays' bytes in that order.

Invariants:

- What ``described`` returns, ``restored`` accepts, and makes equal records of it, in the same order.
- What arrives is read as if from a stranger: it is right in every part, or an EnvelopeRefused (description)
  or BlobRefused (blob). Nothing is set aside for a length before that many bytes are there.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    ConfigRecordValues,
    ConfigScalar,
    MetricRecord,
    MetricRecordValues,
    RecordDict,
)

from common.chain import canonical
from common.errors import BlobRefused, ConsiliumError, EnvelopeRefused
from common.link.blobs import Parts, digest_of

MOST_HEADER_BYTES = 2**20
MOST_ARRAYS = 2**14
"""In all records of one message."""
MOST_DIMENSIONS = 64
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**64 - 1  # as in Flower's own messages
_MOST_BYTES = 2**63 - 1
_LENGTH_BYTES = 8
_CONTENT = "content"
_ARRAYS, _CONFIG, _METRICS = "arrays", "config", "metrics"
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


@dataclass(frozen=True, slots=True)
class Blob:
    """A record of arrays as it travels.

    Attributes:
        digest: SHA-256 of its bytes, in hexadecimal.
        size: How many they are.
        parts: The bytes, those of the arrays where Flower keeps them.
    """

    digest: str
    size: int
    parts: Parts


@dataclass(frozen=True, slots=True)
class _Row:
    """What a blob's header says of one array; the names are those of :class:`flwr.app.Array`."""

    name: str
    dtype: str
    shape: list[int]
    stype: str
    size: int

    def __post_init__(self) -> None:
        for text in (self.name, self.dtype, self.stype):
            _check_text(text, BlobRefused)
        if type(self.shape) is not list or len(self.shape) > MOST_DIMENSIONS:
            raise BlobRefused("an array of no shape")
        if not all(map(_is_size, (*self.shape, self.size))):
            raise BlobRefused("an array of impossible size")


_Arrays = dict[str, tuple[_Row, memoryview]]
"""What a blob says of each array, and its bytes."""


def blob_of(record: ArrayRecord) -> Blob:
    """A record of arrays as it travels.

    Raises:
        BlobRefused: It is more than the link carries.
    """
    rows = [
        _Row(name, array.dtype, [int(side) for side in array.shape], array.stype, len(array.data))
        for name, array in record.items()
    ]
    header = _header(rows)
    _check_count(len(rows))
    if len(header) > MOST_HEADER_BYTES:
        raise BlobRefused(f"{len(rows)} arrays take {len(header)} bytes to be described")
    length = len(header).to_bytes(_LENGTH_BYTES, "little")
    parts = [length + header, *(array.data for array in record.values())]
    return Blob(digest_of(parts), sum(map(len, parts)), parts)


def described(
    content: RecordDict, blob_of: Callable[[ArrayRecord], Blob] = blob_of
) -> tuple[dict[str, Any], dict[str, Parts]]:
    """The records as JSON, and the bytes of each blob it names, by digest; nothing is copied.

    Args:
        content: The records.
        blob_of: What to take for a record of arrays: who sends one record to many may remember it.

    Raises:
        EnvelopeRefused: A name, number or text that the link does not carry.
        BlobRefused: More arrays than the link carries.
    """
    rows, blobs = [], {}
    _check_count(sum(len(record) for record in content.values() if isinstance(record, ArrayRecord)))
    for name, record in content.items():
        _check_text(name, EnvelopeRefused)
        if isinstance(record, ArrayRecord):
            blob = blob_of(record)
            blobs[blob.digest] = blob.parts
            rows.append({"kind": _ARRAYS, "name": name, "blob": blob.digest, "size": blob.size})
        else:
            kind = _CONFIG if isinstance(record, ConfigRecord) else _METRICS
            items = [[_spelled(key), _spelled_value(value)] for key, value in record.items()]
            rows.append({"kind": kind, "name": name, "items": items})
    return {_CONTENT: rows}, blobs


def announced(description: object) -> dict[str, int]:
    """Digests and lengths of the blobs that a description names.

    Raises:
        EnvelopeRefused: It is none.
    """
    sizes: dict[str, int] = {}
    for row in _rows(description):
        if row["kind"] == _ARRAYS and sizes.setdefault(row["blob"], row["size"]) != row["size"]:
            raise EnvelopeRefused("one blob of two lengths")
    return sizes


def inline(description: object) -> RecordDict:
    """The records that stand in a description itself: all but arrays.

    Raises:
        EnvelopeRefused: It is none.
    """
    announced(description)
    return RecordDict({row["name"]: _inline(row) for row in _rows(description) if row["kind"] != _ARRAYS})


def restored(description: object, blob: Callable[[str], bytes | memoryview]) -> RecordDict:
    """The records that a description and its blobs are of. Arrays are not copied: they lie in the blobs.

    Args:
        description: As it arrived, decoded from JSON.
        blob: Gives a blob's bytes, which are those that its digest names. Asked once for each.

    Raises:
        EnvelopeRefused: The description is none.
        BlobRefused: A blob is none; and whatever ``blob`` raises.
    """
    sizes, rows = announced(description), list(_rows(description))
    others = {row["name"]: _inline(row) for row in rows if row["kind"] != _ARRAYS}
    named = Counter(row["blob"] for row in rows if row["kind"] == _ARRAYS)
    arrays: dict[str, _Arrays] = {}
    count = 0
    for digest, size in sizes.items():
        arrays[digest] = _unpacked(memoryview(blob(digest)), size)
        count += named[digest] * len(arrays[digest])
        _check_count(count)
    return RecordDict(
        {
            row["name"]: _record(arrays[row["blob"]]) if row["kind"] == _ARRAYS else others[row["name"]]
            for row in rows
        }
    )


def _rows(description: object) -> Iterator[Mapping[str, Any]]:
    """What a description says of each record: all fields there, names all different."""
    match description:
        case {"content": list(rows), **more} if not more:
            pass
        case _:
            raise EnvelopeRefused("a description without its records")
    names = set()
    for row in rows:
        _check_row(row)
        names.add(row["name"])
        yield row
    if len(names) != len(rows):
        raise EnvelopeRefused("two records of one name")


def _check_row(row: object) -> None:
    match row:
        case {"kind": "arrays", "name": str(name), "blob": str(), "size": size, **more} if not more:
            if not _is_size(size):
                raise EnvelopeRefused("a blob of impossible size")
        case {"kind": "config" | "metrics", "name": str(name), "items": list(), **more} if not more:
            pass
        case _:
            raise EnvelopeRefused("a record of unknown kind, or with a field too few or too many")
    _check_text(name, EnvelopeRefused)


def _inline(row: Mapping[str, Any]) -> ConfigRecord | MetricRecord:
    """The record that stands in the description itself; Flower says which values it may hold."""
    record = ConfigRecord() if row["kind"] == _CONFIG else MetricRecord()
    for item in row["items"]:
        match item:
            case [str(key), value] if key not in record:
                _check_text(key, EnvelopeRefused)
            case _:
                raise EnvelopeRefused("a value without a name, or two of one name")
        try:
            record[key] = _value(value)
        except TypeError:
            raise EnvelopeRefused(f"a value that no record of {row['kind']} holds") from None
    return record


def _unpacked(view: memoryview, size: int) -> _Arrays:
    """The arrays in a blob, their bytes where they are."""
    if len(view) != size or size < _LENGTH_BYTES:
        raise BlobRefused(f"a blob of {len(view)} bytes, announced with {size}")
    length = int.from_bytes(view[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if length > MOST_HEADER_BYTES or start > size:
        raise BlobRefused(f"a blob of {size} bytes with a header of {length}")
    rows = _read_header(bytes(view[_LENGTH_BYTES:start]))
    if start + sum(row.size for row in rows) != size:
        raise BlobRefused("a blob that is longer or shorter than its arrays")
    arrays: _Arrays = {}
    for row in rows:
        arrays[row.name] = row, view[start : start + row.size]
        start += row.size
    return arrays


def _record(arrays: _Arrays) -> ArrayRecord:
    record = ArrayRecord()
    for name, (row, data) in arrays.items():
        record[name] = Array(dtype=row.dtype, shape=tuple(row.shape), stype=row.stype, data=b"")
        # Flower's constructors take ``bytes`` alone, which would be a second copy of a model for each site.
        record[name].data = data  # type: ignore[assignment]
    return record


def _check_count(arrays: int) -> None:
    if arrays > MOST_ARRAYS:
        raise BlobRefused(f"{arrays} arrays in one message")


def _header(rows: list[_Row]) -> bytes:
    return b"[%s]" % b",".join(canonical(asdict(row)) for row in rows)


def _read_header(header: bytes) -> list[_Row]:
    """What a header says, if that is the one way to say it."""
    names = {field.name for field in fields(_Row)}
    try:
        document = json.loads(header)
    except (ValueError, RecursionError):
        raise BlobRefused("a blob whose header is no JSON") from None
    if type(document) is not list or not all(type(row) is dict and row.keys() == names for row in document):
        raise BlobRefused("a blob whose header is no list of arrays")
    rows = [_Row(**row) for row in document]
    if _header(rows) != header:
        raise BlobRefused("a blob whose header is not canonical")
    if len({row.name for row in rows}) != len(rows):
        raise BlobRefused("two arrays of one name")
    return rows


def _spelled_value(value: ConfigRecordValues | MetricRecordValues) -> Any:
    return [_spelled(each) for each in value] if isinstance(value, list) else _spelled(value)


def _spelled(value: ConfigScalar) -> Any:
    """A value as JSON has it; what JSON has no word for as an object of one key."""
    if isinstance(value, bytes):
        return {"bytes": b64encode(value).decode()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, str):
        _check_text(value, EnvelopeRefused)
        return value
    if not _LEAST_INTEGER <= value <= _MOST_INTEGER:
        raise EnvelopeRefused("a number of more than 64 bits")
    return value if isinstance(value, bool) else int(value)


def _value(value: object) -> Any:
    return [_scalar(each) for each in value] if isinstance(value, list) else _scalar(value)


def _scalar(value: object) -> ConfigScalar:
    """The value that JSON stands for: the inverse of ``_spelled``."""
    match value:
        case {"bytes": str(text), **more} if not more:
            return _bytes(text)
        case {"float": str(text), **more} if not more and text in _NOT_FINITE:
            return _NOT_FINITE[text]
        case str():
            _check_text(value, EnvelopeRefused)
            return value
        case bool():
            return value
        case int() if _LEAST_INTEGER <= value <= _MOST_INTEGER:
            return value
        case float() if math.isfinite(value):
            return value
        case _:
            raise EnvelopeRefused("a value that no record holds")


def _bytes(text: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        data = b""
    if b64encode(data).decode() != text:
        raise EnvelopeRefused("bytes that are not in base 64, or not as it is written")
    return data


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number <= _MOST_BYTES


def _check_text(text: object, refused: type[ConsiliumError]) -> None:
    """A lone half of a UTF-16 pair is no text: two of them would come back as one character."""
    try:
        if not isinstance(text, str):
            raise refused("something else where text belongs")
        text.encode()
    except UnicodeEncodeError:
        raise refused("text that is none") from None
