"""Whatever is written into a pixel file comes back, also after interruptions at any moment."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from client.cohorts.store import ALIGNMENT, PIXEL_FILE, STORED_TYPES, Blob, PixelStore, PixelWriter
from client.dicom.pixels import digest_of

ARRAYS = npst.arrays(
    st.sampled_from(STORED_TYPES),
    npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
)
RUNS = st.lists(
    st.tuples(st.lists(ARRAYS, max_size=4), st.lists(ARRAYS, max_size=2), st.binary(max_size=70)), max_size=4
)


@given(RUNS)
def test_what_was_committed_comes_back(
    runs: list[tuple[list[NDArray[Any]], list[NDArray[Any]], bytes]],
) -> None:
    """Each run commits some arrays, writes others and is torn off in the middle of the next."""
    with TemporaryDirectory() as name:
        folder, blobs, size = Path(name), dict[str, Blob](), 0
        for kept, lost, torn in runs:
            with closing(PixelWriter(folder, size)) as writer:
                for array in kept:
                    blobs.setdefault(digest_of(array), writer.append(array, digest_of(array)))
                size = writer.sync()
                for array in lost:
                    writer.append(array, digest_of(array))
            with (folder / PIXEL_FILE).open("ab") as file:
                file.write(torn)
        store = PixelStore(folder, blobs)
        for array in (array for kept, _, _ in runs for array in kept):
            found = store.array(digest_of(array))
            assert found.dtype == array.dtype and found.shape == array.shape
            assert found.tobytes() == array.tobytes()
            assert store.intact(digest_of(array))
        assert all(blob.offset % ALIGNMENT == 0 for blob in blobs.values())


@given(ARRAYS, st.data())
def test_any_byte_that_changes_is_noticed(array: NDArray[Any], data: st.DataObject) -> None:
    if not array.nbytes:
        return
    with TemporaryDirectory() as name:
        folder, digest = Path(name), digest_of(array)
        with closing(PixelWriter(folder, 0)) as writer:
            blob = writer.append(array, digest)
            writer.sync()
        content = bytearray((folder / PIXEL_FILE).read_bytes())
        content[blob.offset + data.draw(st.integers(0, array.nbytes - 1))] ^= data.draw(st.integers(1, 255))
        (folder / PIXEL_FILE).write_bytes(content)
        assert not PixelStore(folder, {digest: blob}).intact(digest)


@given(npst.arrays(np.uint16, st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))))
def test_a_view_of_part_of_an_array_is_stored_as_it_looks(array: NDArray[Any]) -> None:
    part = array[::2, ::-1].transpose(0, 2, 1)
    with TemporaryDirectory() as name:
        with closing(PixelWriter(Path(name), 0)) as writer:
            blob = writer.append(part, digest_of(part))
            writer.sync()
        store = PixelStore(Path(name), {blob.digest: blob})
        assert np.array_equal(store.array(blob.digest), part) and store.intact(blob.digest)
