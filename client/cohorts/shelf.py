"""Where an intake puts what it finds: pixels into the pixel file first, rows into the database after it.

A commit makes the pixels last before the rows that name them, so the database never names what is not there.
"""

from __future__ import annotations

import time
from typing import Any

from numpy.typing import NDArray

from client.cohorts.catalogue import Catalogue, CohortRow, NewImage, SeenFile
from client.cohorts.store import Blob, PixelWriter
from client.dicom.examination import Taken
from client.dicom.pixels import digest_of

COMMIT_FILES, COMMIT_S = 500, 5.0
"""What was found is committed after so many files or seconds, whichever comes first."""


class Shelf:
    """Batches of one intake.

    Args:
        catalogue: The database.
        cohort: What is taken in.
        intake: Number of the intake.
        writer: The cohort's pixel file.
    """

    def __init__(self, catalogue: Catalogue, cohort: CohortRow, intake: int, writer: PixelWriter) -> None:
        self._catalogue, self._cohort, self._intake, self._writer = catalogue, cohort, intake, writer
        self._files: list[tuple[SeenFile, NewImage | None]] = []
        self._blobs: list[Blob] = []
        self._known = set(catalogue.blobs(cohort.id))
        self._committed = time.monotonic()

    def put(self, seen: SeenFile, taken: Taken | None = None) -> None:
        """Keep one file's result."""
        image = None
        if taken is not None:
            self.keep(taken.pixels.frames, taken.digest)
            image = NewImage(taken.instance, taken.digest, taken.pixels.display)
        self._files.append((seen, image))
        if len(self._files) >= COMMIT_FILES or time.monotonic() - self._committed > COMMIT_S:
            self.commit()

    def keep(self, array: NDArray[Any], digest: str = "") -> str:
        """Digest under which an array is stored; an array that is stored already is not stored again."""
        digest = digest or digest_of(array)
        if digest not in self._known:
            self._blobs.append(self._writer.append(array, digest))
            self._known.add(digest)
        return digest

    def commit(self) -> None:
        """Everything put so far is on the disk, then in the database."""
        size_bytes = self._writer.sync()
        # Whatever interrupts this, nothing is put a second time by the commit that then ends the intake.
        files, self._files, blobs, self._blobs = self._files, [], self._blobs, []
        with self._catalogue.transaction() as connection:
            self._catalogue.add(connection, self._cohort.id, self._intake, files, blobs, size_bytes)
        self._committed = time.monotonic()

    def close(self) -> None:
        """Let go of the pixel file; what was not committed is forgotten."""
        self._writer.close()
