"""Where an intake puts what it finds: pixels into the pixel file first, rows into the database after it.

A commit makes the pixels last before the rows that name them, so the database never names what is not there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from client.cohorts.catalogue import Catalogue, CohortRow, SeenFile
from client.cohorts.store import Blob, PixelWriter
from client.dicom.examination import Taken
from client.dicom.instance import Instance
from client.dicom.pixels import Display, digest_of

COMMIT_FILES, COMMIT_S = 500, 5.0
"""What was found is committed after so many files or seconds, whichever comes first."""


@dataclass(frozen=True, slots=True)
class _Image:
    instance: Instance
    display: Display
    digest: str


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
        self._files: list[tuple[SeenFile, _Image | None]] = []
        self._blobs: list[Blob] = []
        self._known = set(catalogue.blobs(cohort.id))
        self._committed = time.monotonic()

    def put(self, seen: SeenFile, taken: Taken | None = None) -> None:
        """Keep one file's result."""
        image = None
        if taken is not None:
            self.keep(taken.pixels.frames, taken.digest)
            image = _Image(taken.instance, taken.pixels.display, taken.digest)
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
        with self._catalogue.transaction() as connection:
            for blob in self._blobs:
                self._catalogue.add_blob(connection, self._cohort.id, blob)
            for seen, image in self._files:
                file = self._catalogue.add_file(connection, self._cohort.id, self._intake, seen)
                if image is not None:
                    self._catalogue.add_image(
                        connection, self._cohort.id, file, image.instance, image.digest, image.display
                    )
            self._catalogue.written(connection, self._cohort.id, size_bytes)
        self._files, self._blobs = [], []
        self._committed = time.monotonic()

    def close(self) -> None:
        """Let go of the pixel file; what was not committed is forgotten."""
        self._writer.close()
