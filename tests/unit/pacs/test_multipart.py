"""Parts come out as they went in, wherever the network cuts them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.pacs.multipart import Broken, boundary_of, parts
from tests.unit.pacs.bodies import BOUNDARY, body

content = st.binary(max_size=60) | st.sampled_from([b"\r\n", b"--", b"\r\n--5f2", b"\r\n\r\n", b"--5f2-"])


def cut(whole: bytes, size: int) -> Iterator[bytes]:
    return (whole[start : start + size] for start in range(0, len(whole), size))


@given(
    st.lists(content.filter(lambda part: BOUNDARY not in part), max_size=5),
    st.integers(1, 80),
    st.sampled_from([b"", b"\r\n", b"a preamble\r\n"]),
)
def test_parts_come_out_as_they_went_in(given_parts: list[bytes], size: int, preamble: bytes) -> None:
    chunks = cut(body(given_parts, preamble), size)
    assert [b"".join(part) for part in parts(chunks, BOUNDARY)] == given_parts


@given(st.lists(content, min_size=1, max_size=3), st.integers(1, 80), st.data())
def test_a_body_that_ends_early_is_broken(given_parts: list[bytes], size: int, data: st.DataObject) -> None:
    whole = body(given_parts)
    end = data.draw(st.integers(0, len(whole) - len(b"--\r\n")))
    with pytest.raises(Broken):
        for part in parts(cut(whole[:end], size), BOUNDARY):
            for _ in part:
                pass


def test_a_part_that_is_not_read_is_skipped() -> None:
    seen = [number for number, _ in enumerate(parts(iter([body([b"a" * 100, b"b"])]), BOUNDARY))]
    assert seen == [0, 1]


def test_a_part_is_not_collected_in_memory() -> None:
    def endless() -> Iterator[bytes]:
        yield b"--" + BOUNDARY + b"\r\n\r\n"
        while True:
            yield bytes(1000)

    pieces = next(parts(endless(), BOUNDARY))
    assert max(len(next(pieces)) for _ in range(1000)) <= 2000


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', b"abc"),
        ('Multipart/Related;boundary="a b=c";type="application/dicom"', b"a b=c"),
    ],
)
def test_the_boundary_is_found(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type", ["", "text/html", "multipart/related", "multipart/form-data; boundary=a"]
)
def test_another_body_is_broken(content_type: str) -> None:
    with pytest.raises(Broken):
        boundary_of(content_type)
