"""Nothing that an intake keeps names anybody; and real archives, whose every file is accounted for."""

from __future__ import annotations

import random
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from client.cohorts.home import Home
from client.cohorts.rules import Rules
from client.cohorts.store import PIXEL_FILE
from client.dicom.archive import find
from client.dicom.outcomes import Outcome
from tests.unit.cohorts.archives import (
    labels_of,
    laid,
    outcomes,
    picture,
    report,
    same,
    taken,
    whole,
)
from tests.unit.dicom.planted import PLANTED, everything, leaks

# What is kept


def test_nothing_under_the_home_names_a_person_or_a_file(home: Home, tmp_path: Path) -> None:
    """Planted in folders, names of files and archives, tables of labels and every field of the headers."""
    family, given, town, number = PLANTED[:4]
    dataset = everything()
    dataset.ImageType = ["ORIGINAL", "PRIMARY", family.upper()]
    broken = picture(number, "broken", PixelData=b"\0", PatientName=f"{family}^{given}")
    folder = laid(
        tmp_path / town / f"{family}_{given}", [dataset, broken, report(number), b"", b"x"], prefix=number
    )
    with zipfile.ZipFile(folder / f"{given}.zip", "w") as packed:
        picture(number, "zipped").save_as(tmp_path / "z", enforce_file_format=True)
        packed.write(tmp_path / "z", f"{town}/{family}.dcm")
    (folder / f"{town}.db").symlink_to(folder / f"{number}0000")
    table = labels_of(tmp_path / f"{family}.csv", f"{number},1,train {family},0,test")
    cohort = taken(home, tmp_path / town, labels=table, rules=Rules(allow_burned_in=True, keep_derived=True))
    assert len(cohort.cases) == 2 and cohort.seen == 7
    secrets = (*PLANTED, str(tmp_path), "IM0000", "1.2.826.0.1.3680043", f"{number}0001")
    found = {
        str(path): leaks(path.read_bytes() + str(path.relative_to(home.folder)).encode(), secrets)
        for path in home.folder.rglob("*")
        if path.is_file() and path.name != PIXEL_FILE
    }
    assert len(found) >= 5 and not any(found.values()), found
    assert not leaks((home.cohort_folder("c") / PIXEL_FILE).read_bytes(), secrets)


# Real archives


def identifiers(path: Path) -> set[str]:
    """What in a header names somebody or something, as far as it is long enough to be looked for."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        dataset = dcmread(path, force=True, stop_before_pixels=True)
        texts = (str(element.value) for element in dataset if element.VR in ("PN", "UI", "LO", "SH", "LT"))
        return {text for text in texts if len(text) >= 10 and not text.startswith("1.2.840.10008")}
    return set()


def test_the_bag_of_real_files(home: Home, tmp_path: Path, data_folder: Path) -> None:
    """Files of every kind, broken ones among them: whatever each is, all are accounted for."""
    bag = data_folder / "dicom" / "bag"
    files = len(list(find([bag])))
    for sequence in ("rows", "slices"):
        cohort = taken(home, bag, name=sequence, rules=Rules(sequence))
        assert cohort.seen == files == sum(outcomes(cohort).values())
        assert cohort.of(Outcome.case).total() >= 25
        cohort.verify(cohort.cases)
    whole(home, "rows")
    secrets = {str(bag)}.union(*map(identifiers, bag.iterdir()))
    content = home.database.read_bytes()
    assert len(secrets) > 200 and not [secret for secret in secrets if secret.encode() in content]


@pytest.mark.parametrize(
    ("name", "sequence", "cases", "steps"),
    [("mr_ge_fmri", "slices", 4, 15), ("mr_ge_fmri", "frames", 15, 4), ("ct_ge_head", "slices", 1, 3)],
)
def test_real_series_in_any_order(
    home: Home, tmp_path: Path, data_folder: Path, name: str, sequence: Any, cases: int, steps: int
) -> None:
    files = sorted((data_folder / "dicom" / "series" / name).iterdir())
    rules = Rules(sequence)
    first = taken(home, *files, rules=rules)
    assert [len(case.content.pieces) for case in first.cases] == [steps] * cases
    shuffled = random.Random(1).sample(files, len(files))
    taken(home, *shuffled[::2], name="d", rules=rules)
    same(first, taken(home, *shuffled, name="d", rules=rules))
