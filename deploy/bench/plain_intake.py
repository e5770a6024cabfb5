"""The rival of ``consilium bench intake``: what somebody writes in an afternoon, in one process.

    python plain_intake.py ARCHIVE OUT

Every file is read, decoded, de-identified with dicognito, hashed and written. It stops at the first file
that is broken, and keeps no count of anything.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
from dicognito.anonymizer import Anonymizer
from pydicom import dcmread


def main(archive: Path, out: Path) -> None:
    """Take in ``archive`` into ``out``."""
    out.mkdir(parents=True)
    anonymizer = Anonymizer(seed="bench")
    for path in sorted(archive.iterdir()):
        dataset = dcmread(path)
        pixels = dataset.pixel_array
        anonymizer.anonymize(dataset)
        np.save(out / f"{hashlib.sha256(pixels.tobytes()).hexdigest()}.npy", pixels)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
