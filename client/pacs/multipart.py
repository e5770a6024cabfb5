"""The parts of a multipart/related body (RFC 2046, 5.1), as a stream: nothing is held but a few bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_MOST_HEAD_BYTES = 2**16


class Broken(Exception):
    """The body ended early, or is no multipart body."""


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names.

    Raises:
        Broken: It is not multipart/related, or names none.
    """
    kind, *parameters = (part.strip() for part in content_type.split(";"))
    named = {name.strip().lower(): value for name, _, value in (p.partition("=") for p in parameters)}
    boundary = named.get("boundary", "").strip().strip('"')
    if kind.lower() != "multipart/related" or not boundary:
        raise Broken("not a multipart/related body with a boundary")
    return boundary.encode("latin-1", "replace")


def parts(chunks: Iterable[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """The content of each part, in pieces; a part that is not read to its end is skipped.

    Args:
        chunks: The body, cut anywhere.
        boundary: As in Content-Type.

    Raises:
        Broken: The body ends before its last boundary.
    """
    body = _Body(chunks, b"\r\n--" + boundary)
    for _ in body.until_delimiter():  # what stands before the first part
        pass
    while body.another():
        content = body.until_delimiter()
        yield content
        for _ in content:
            pass


class _Body:
    def __init__(self, chunks: Iterable[bytes], delimiter: bytes) -> None:
        self._chunks = iter(chunks)
        self._delimiter = delimiter
        self._held = bytearray(b"\r\n")  # the first delimiter may stand at the very beginning

    def until_delimiter(self) -> Iterator[bytes]:
        """What comes before the next delimiter; the delimiter itself is taken away."""
        keep = len(self._delimiter) - 1
        while (at := self._held.find(self._delimiter)) < 0:
            ready = len(self._held) - keep
            if ready > 0:
                yield bytes(self._held[:ready])
                del self._held[:ready]
            self._more()
        content = bytes(self._held[:at])
        del self._held[: at + len(self._delimiter)]
        if content:
            yield content

    def another(self) -> bool:
        """Whether a part follows the delimiter; its header is taken away."""
        while len(self._held) < 2:
            self._more()
        if self._held[:2] == b"--":
            return False
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > _MOST_HEAD_BYTES:
                raise Broken("a part has no end of its header")
            self._more()
        del self._held[: end + 4]
        return True

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise Broken("the body ended early")
        self._held += chunk
