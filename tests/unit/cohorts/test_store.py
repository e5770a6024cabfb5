"""The pixel file: what was written comes back as a view, and what is broken is noticed."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.cohorts.store import ALIGNMENT, PIXEL_FILE, Blob, PixelStore, PixelWriter
from client.dicom.pixels import digest_of
from common.errors import CaseCorrupt, DiskFull, OutputUnwritable
from tests.unit.cohorts.archives import values

ARRAYS = [values(n, shape=(n + 1, 3, 5)) for n in range(3)]


def written(folder: Path, arrays: list[NDArray[Any]], size_bytes: int = 0) -> dict[str, Blob]:
    with closing(PixelWriter(folder, size_bytes)) as writer:
        blobs = {digest: writer.append(a, digest) for a in arrays for digest in [digest_of(a)]}
        writer.sync()
    return blobs


def test_arrays_come_back_where_they_lie(tmp_path: Path) -> None:
    store = PixelStore(tmp_path, blobs := written(tmp_path, ARRAYS))
    for array in ARRAYS:
        found = store.array(digest_of(array))
        assert found.dtype == array.dtype and np.array_equal(found, array)
        assert not found.flags.owndata and not found.flags.writeable
        assert np.shares_memory(found, store.array(digest_of(array)))
    assert all(blob.offset % ALIGNMENT == 0 for blob in blobs.values())


def test_the_file_is_for_the_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        written(tmp_path / "c", ARRAYS)
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "c", tmp_path / "c" / PIXEL_FILE)]
    assert modes == [0o700, 0o600]


def test_what_an_interruption_tore_off_is_cut_away(tmp_path: Path) -> None:
    blobs = written(tmp_path, ARRAYS[:2])
    good = max(blob.offset + blob.size_bytes for blob in blobs.values())
    with (tmp_path / PIXEL_FILE).open("ab") as file:
        file.write(b"torn" * 100)
    blobs |= written(tmp_path, ARRAYS[2:], good)
    store = PixelStore(tmp_path, blobs)
    assert all(np.array_equal(store.array(digest_of(array)), array) for array in ARRAYS)
    assert b"torn" not in (tmp_path / PIXEL_FILE).read_bytes()


@pytest.mark.parametrize("left", [0, 1, 100])
def test_a_file_that_is_too_short(tmp_path: Path, left: int) -> None:
    blobs = written(tmp_path, ARRAYS)
    size = (tmp_path / PIXEL_FILE).stat().st_size
    os.truncate(tmp_path / PIXEL_FILE, left)
    with pytest.raises(CaseCorrupt, match=f"{left} bytes"):
        PixelStore(tmp_path, blobs)
    with pytest.raises(CaseCorrupt, match=f"{left} bytes"):
        PixelWriter(tmp_path, size)
    assert (tmp_path / PIXEL_FILE).stat().st_size == left  # nothing is made up


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    blobs = written(tmp_path, ARRAYS)
    (tmp_path / PIXEL_FILE).unlink()
    with pytest.raises(CaseCorrupt):
        PixelStore(tmp_path, blobs)
    with pytest.raises(CaseCorrupt):
        PixelWriter(tmp_path, 10)
    assert not (tmp_path / PIXEL_FILE).exists()
    assert PixelStore(tmp_path, {}).intact("d") is False


@pytest.mark.parametrize("at", [0, -1])
def test_one_bit_is_noticed(tmp_path: Path, at: int) -> None:
    blobs = written(tmp_path, ARRAYS)
    blob = blobs[digest_of(ARRAYS[1])]
    data = bytearray((tmp_path / PIXEL_FILE).read_bytes())
    data[blob.offset if at == 0 else blob.offset + blob.size_bytes - 1] ^= 0x10
    (tmp_path / PIXEL_FILE).write_bytes(data)
    store = PixelStore(tmp_path, blobs)
    assert [store.intact(digest_of(array)) for array in ARRAYS] == [True, False, True]


def test_an_array_that_is_not_there(tmp_path: Path) -> None:
    store = PixelStore(tmp_path, written(tmp_path, ARRAYS))
    with pytest.raises(CaseCorrupt, match="not in the store"):
        store.array("e" * 64)
    assert not store.intact("e" * 64)


def test_a_shape_that_is_not_the_one_that_was_written(tmp_path: Path) -> None:
    """The digest is over type and shape too."""
    (blob,) = written(tmp_path, ARRAYS[:1]).values()
    wrong = Blob(blob.digest, blob.offset, "int16", blob.shape)
    assert not PixelStore(tmp_path, {blob.digest: wrong}).intact(blob.digest)


@pytest.mark.parametrize("call", ["fsync", "truncate"])
@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, OutputUnwritable)]
)
def test_what_cannot_be_written_has_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type[Exception]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(kind):
        written(tmp_path, ARRAYS)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputUnwritable):
        PixelWriter(tmp_path / "file" / "c", 0)
