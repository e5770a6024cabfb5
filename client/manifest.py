"""A manifest: the CSV that says which picture belongs to which patient, site, split and label.

Columns ``path, site, patient_id, split, label`` and any others, of which those in ``OPTIONAL`` are read;
paths are relative to its folder. A path may name one row of an array: ``file.npz#train_images/17``.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from common.errors import ManifestInvalid, ManifestMissing, NoSuchSite, PatientInTwoSplits

COLUMNS = ("path", "site", "patient_id", "split", "label")
OPTIONAL = ("mask_path", "boxes", "time", "view", "sex", "age", "scanner")
SPLITS = ("train", "val", "test")
Condition = tuple[str, str]  # column, value


@dataclass(frozen=True, slots=True)
class Row:
    """One picture, clip, stack or record of one patient.

    Attributes:
        path: Its file.
        site: The hospital.
        patient_id: Whom it is of.
        split: train, val or test.
        label: As stored; empty only where a mask or boxes stand for it.
        line: Where it stands in the manifest.
        mask_path: File of the class of each of its pixels.
        boxes: JSON, ``[[class, top, left, bottom, right], ...]`` in pixels; of a clip one such list a frame.
        time: Until the event or the end of observation.
        view: Orders the pictures of a patient.
        sex: With ``age`` and ``scanner``, the subgroups that results are also given for.
        age: In years.
        scanner: Any text.
    """

    path: str
    site: str
    patient_id: str
    split: str
    label: str
    line: int
    mask_path: str = ""
    boxes: str = ""
    time: str = ""
    view: str = ""
    sex: str = ""
    age: str = ""
    scanner: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Rows of a manifest, with the folder that their paths start from; ``stamp`` changes with the file."""

    folder: Path
    by_site: Mapping[str, tuple[Row, ...]]
    stamp: int = 0

    @classmethod
    def of(cls, folder: Path, rows: Iterable[Row], stamp: int = 0) -> Manifest:
        """A manifest of these rows."""
        by_site: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_site[row.site].append(row)
        return cls(folder, {site: tuple(by_site[site]) for site in sorted(by_site)}, stamp)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, sorted."""
        return tuple(self.by_site)

    @property
    def rows(self) -> Iterator[Row]:
        """All rows, site by site."""
        return chain.from_iterable(self.by_site.values())

    def of_site(self, site: str) -> tuple[Row, ...]:
        """The rows of one site.

        Raises:
            NoSuchSite: There are none.
        """
        if site not in self.by_site:
            raise NoSuchSite(f"no rows of site {site!r}; the manifest has: {', '.join(self.sites[:20])}")
        return self.by_site[site]


def read_manifest(path: Path, where: Sequence[Condition] = ()) -> Manifest:
    """The manifest at ``path``, narrowed to rows whose columns have the values of ``where``.

    Raises:
        ManifestMissing: It cannot be opened.
        ManifestInvalid: A column, value or row is missing or out of place.
        PatientInTwoSplits: Names the rows.
        NoSuchSite: No row is left.
    """
    try:
        stamp = path.stat().st_mtime_ns
        return _read(path.absolute(), tuple(where), stamp)
    except OSError as error:
        raise ManifestMissing(f"{path}: {error.strerror or error}") from None


def let_go() -> None:
    """Hold no manifest any longer that was read; the next reader reads it again."""
    _read.cache_clear()


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a manifest; paths are kept as they are, and a column that no row fills is left away."""
    rows = list(rows)
    columns = (*COLUMNS, *(name for name in OPTIONAL if any(getattr(row, name) for row in rows)))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([getattr(row, name) for name in columns] for row in rows)


@lru_cache(maxsize=4)
def _read(path: Path, where: tuple[Condition, ...], stamp: int) -> Manifest:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = tuple(_rows(csv.DictReader(file), path.name, where))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestInvalid(f"{path}: {error}") from None
    if not rows:
        wanted = " and ".join(f"{column}={value}" for column, value in where)
        raise NoSuchSite(f"{path} has no rows" + (f" with {wanted}" if wanted else ""))
    _check_splits(rows)
    _check_paths(rows, path.name)
    return Manifest.of(path.parent, rows, stamp)


def _rows(reader: csv.DictReader[str], name: str, where: tuple[Condition, ...]) -> Iterable[Row]:
    columns = reader.fieldnames or ()
    for column in (*COLUMNS, *(column for column, _ in where)):
        if column not in columns:
            raise ManifestInvalid(f"{name} has no column {column!r}; it has: {', '.join(columns)}")
    read = (*COLUMNS, *(name for name in OPTIONAL if name in columns))
    for record in reader:
        line = reader.line_num
        if None in record or None in record.values():
            raise ManifestInvalid(f"{name} line {line}: wrong number of values")
        if any(record[column].strip() != value for column, value in where):
            continue
        values = {column: record[column].strip() for column in read}
        unlabelled = values.get("mask_path") or values.get("boxes")
        empty = [c for c in COLUMNS if not values[c] and not (c == "label" and unlabelled)]
        if empty or values["split"] not in SPLITS:
            reason = f"{empty[0]} is empty" if empty else f"split must be one of {', '.join(SPLITS)}"
            raise ManifestInvalid(f"{name} line {line}: {reason}")
        yield Row(**values, line=line)


def _check_paths(rows: tuple[Row, ...], name: str) -> None:
    """A picture that a site names twice counts twice, and may stand in training and in test."""
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        first = seen.setdefault((row.site, row.path), row.line)
        if first != row.line:
            raise ManifestInvalid(f"{name} lines {first} and {row.line} name the same picture")


def _check_splits(rows: tuple[Row, ...]) -> None:
    """A patient's pictures must be in one split, at whichever sites they were taken."""
    seen: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        seen[row.patient_id][row.split].append(row.line)
    for splits in seen.values():
        if len(splits) > 1:
            where = "; ".join(
                f"{split}: line {', '.join(map(str, lines[:10]))}" for split, lines in splits.items()
            )
            raise PatientInTwoSplits(f"one patient's rows are in {len(splits)} splits ({where})")
