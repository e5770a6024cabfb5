"""Whatever lies in folders and archives, each thing is told of once, and broken bytes end as a reason."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from client.dicom.archive import Found, close_archives, find, read_bytes
from client.dicom.outcomes import Quarantined, Reason

LIMIT = 10_000
Files = dict[str, bytes]

names = st.text("abcä/. ", min_size=1, max_size=6).map(lambda name: f"m{name}x")
contents = st.binary(min_size=1, max_size=2000)
files = st.dictionaries(names, contents, min_size=1, max_size=6)


def zipped(content: Files) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(content: Files) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def tgz(content: Files) -> bytes:
    return gzip.compress(tarred(content), 1, mtime=0)


PACKS = {".zip": zipped, ".tar": tarred, ".tgz": tgz}


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        try:
            yield Path(name).resolve()
        finally:
            close_archives()


def content_of(found: Found) -> bytes | Reason:
    try:
        return read_bytes(found, LIMIT)
    except Quarantined as refused:
        return refused.reason


@given(files, st.sampled_from(sorted(PACKS)), st.data())
def test_members_come_out_as_they_went_in_whichever_is_asked_first(
    content: Files, suffix: str, data: st.DataObject
) -> None:
    with folder() as place:
        (place / f"a{suffix}").write_bytes(PACKS[suffix](content))
        found = list(find([place]))
        assert [f.member for f in found] == list(content)
        assert len({f.locator for f in found}) == len(found)
        for item in data.draw(st.lists(st.sampled_from(found), max_size=12)):
            assert read_bytes(item, LIMIT) == content[str(item.member)]


@given(files, st.sampled_from(sorted(PACKS)), st.data())
def test_a_damaged_archive_ends_as_reasons_and_never_as_another_content(
    content: Files, suffix: str, data: st.DataObject
) -> None:
    whole = bytearray(PACKS[suffix](content))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = whole[: data.draw(st.integers(1, len(whole)))] if data.draw(st.booleans()) else whole
    with folder() as place:
        (place / f"a{suffix}").write_bytes(cut)
        found = list(find([place]))
        assert found and len({f.locator for f in found}) == len(found)
        assert found == list(find([place]))
        for item in found:
            read = content_of(item)
            assert not item.reason or read is item.reason
            # A plain tar has no checksum over what its members hold.
            assert suffix != ".zip" or isinstance(read, Reason) or read in content.values()


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Paths with what each is: a file, or a link to any path of the tree, itself or nothing."""
    paths = draw(st.lists(st.text("ab", min_size=1, max_size=3).map("/".join), min_size=1, max_size=8))
    ends = [f"{path}.{number}" for number, path in enumerate(paths)]
    targets = st.sampled_from(["", *ends, *(path.rpartition("/")[0] or "." for path in ends), "nowhere"])
    return [(end, draw(targets)) for end in ends]


@given(trees())
def test_each_real_file_is_found_once(tree: list[tuple[str, str]]) -> None:
    with folder() as place:
        for path, target in tree:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            if target:
                (place / path).symlink_to(place / target)
            else:
                (place / path).write_bytes(path.encode())
        found = list(find([place]))
        usable = [f for f in found if not f.repeat and f.reason is None]
        real = {str(p) for p in place.rglob("*") if p.is_file() and not p.is_symlink()}
        assert sorted(f.locator for f in usable) == sorted(real)
        assert {read_bytes(f, LIMIT).decode() for f in usable} == {p for p, target in tree if not target}
        assert len({f.locator for f in found}) == len(found)
        assert len(found) >= len(tree)
