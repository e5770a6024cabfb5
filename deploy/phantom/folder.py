"""What all phantoms share: names of sites, who is for testing, and a folder that appears whole or not."""

from __future__ import annotations

import csv
import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from common.errors import DiskFull, OutputExists, OutputUnwritable

NAMES = (
    *("alder", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hazel", "ivy", "juniper"),
    *("katsura", "larch", "maple", "nutmeg", "oak", "pine", "quince", "rowan", "spruce", "tamarack"),
    *("umbrella-pine", "viburnum", "willow", "xylosma", "yew", "zelkova"),
)

TEST_SHARE = 0.3


def site_name(site: int) -> str:
    """A tree, and from the second walk through the list on its number."""
    walk, place = divmod(site, len(NAMES))
    return NAMES[place] if walk == 0 else f"{NAMES[place]}-{walk + 1}"


def draw_test_patients(rng: np.random.Generator, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(patients,) whether the patient is for testing: of each class the same share, and at least one."""
    in_test = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        in_test[members[: max(1, round(TEST_SHARE * len(members)))]] = True
    return in_test


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that takes the name `out` when the block ends well, and vanishes when it does not."""
    target = out.resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputExists(f"{out} already holds something", hint="Choose another --out.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            folder = Path(scratch) / target.name  # inside, because the scratch folder itself is private
            folder.mkdir()
            yield folder
            if target.exists():
                target.rmdir()
            folder.rename(target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"no space left for {out}") from error
        raise OutputUnwritable(f"{out}: {error.strerror}") from error


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a manifest whose columns are all those that any row has."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
