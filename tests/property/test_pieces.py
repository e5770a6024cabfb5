"""A piece of a blob travels in a message that protobuf would make and read just so."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from common.link.link_pb2 import BlobChunk
from common.link.pieces import decoded, encoded

PIECES = st.tuples(
    st.text(max_size=70), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=300)
)


@given(piece=PIECES)
def test_the_bytes_are_protobufs(piece: tuple[str, int, int, bytes]) -> None:
    digest, offset, size, data = piece
    message = BlobChunk(digest=digest, offset=offset, size=size, data=data).SerializeToString()
    assert encoded(*piece) == message
    found = decoded(message)
    assert (found.digest, found.offset, found.size, bytes(found.data)) == piece


@given(one=PIECES, other=PIECES, more=st.binary(max_size=20))
def test_whatever_comes_is_read_as_protobuf_reads_it(
    one: tuple[str, int, int, bytes], other: tuple[str, int, int, bytes], more: bytes
) -> None:
    """Fields twice, in another order, unknown ones, and bytes that are no message."""
    for message in (encoded(*one) + encoded(*other), more + encoded(*one), encoded(*one) + more, more):
        try:
            chunk = BlobChunk.FromString(message)
        except DecodeError:
            with pytest.raises(DecodeError):
                decoded(message)
            continue
        found = decoded(message)
        told = (chunk.digest, chunk.offset, chunk.size, chunk.data)
        assert (found.digest, found.offset, found.size, bytes(found.data)) == told
