"""De-identified against other programs and on real files: nothing they remove stays, and readers read it.

The laxness that is left is named here with its reason, and any other fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.pixels.utils import pixel_array
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from client.dicom.deidentification.deidentify import deidentify
from client.dicom.deidentification.descriptors import terms
from client.dicom.deidentification.profile import ROWS, Action, action
from client.dicom.outcomes import Quarantined
from client.dicom.pseudonyms import Pseudonyms
from tests.unit.dicom.planted import everything, written

PSEUDONYMS = Pseudonyms(b"o" * 32)
SHORTEST = 5
"""Characters of a value whose bytes are searched for; shorter ones stand in any file by chance."""

TIMES = {row.keyword for row in ROWS if row.action is Action.time}
"""Times of day stay under the option *Modified Dates*; days move by 1 to 3650, times by none."""

CLEANED = {row.keyword for row in ROWS if row.action is Action.clean}
"""Descriptions stay under the option *Clean Descriptors* where all their words are of the vocabulary."""

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's and the oracles', of broken values


def real_files(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / "dicom").rglob("*")) if path.is_file()]


def cleaned(folder: Path) -> Iterator[tuple[Path, Dataset, Dataset]]:
    """Each file that can be de-identified, as read and as de-identified."""
    for path in real_files(folder):
        source = dcmread(path, force=True)
        try:
            yield path, source, deidentify(source, PSEUDONYMS)
        except Quarantined:
            continue


def by_dicom_anonymizer(dataset: Dataset) -> None:
    module = pytest.importorskip("dicomanonymizer.simpledicomanonymizer")
    actions = partial(module.initialize_actions, "dicomfields_2026c")
    module.anonymize_dataset(dataset, base_rules_gen=actions)


def by_dicognito(dataset: Dataset) -> None:
    pytest.importorskip("dicognito.anonymizer").Anonymizer(seed="fixed").anonymize(dataset)


def laxer(source: Dataset, theirs: Dataset, ours: Dataset) -> set[str]:
    """Keywords of attributes that they changed and we left as they were."""
    found = set()
    for element in source:
        if element.VR == "SQ":
            continue
        before = str(element.value)
        changed = element.tag not in theirs or str(theirs[element.tag].value) != before
        if before and changed and element.tag in ours and str(ours[element.tag].value) == before:
            found.add(element.keyword)
    return found


@pytest.mark.parametrize("oracle", [by_dicom_anonymizer, by_dicognito])
def test_nothing_stays_of_the_whole_dictionary_that_they_take(oracle: Callable[[Dataset], None]) -> None:
    source = everything()
    theirs = deepcopy(source)
    oracle(theirs)
    assert laxer(source, theirs, deidentify(source, PSEUDONYMS)) <= TIMES


@pytest.mark.parametrize("oracle", [by_dicom_anonymizer, by_dicognito])
def test_nothing_stays_of_real_files_that_they_take(
    oracle: Callable[[Dataset], None], data_folder: Path
) -> None:
    compared = 0
    for path, source, ours in cleaned(data_folder):
        theirs = deepcopy(source)
        try:
            oracle(theirs)
        except Exception:  # a broken file is too much for them
            continue
        compared += 1
        assert laxer(source, theirs, ours) <= TIMES | CLEANED, path.name
    assert compared > 100


def originals(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Keyword and value of all that the profile takes away or replaces, nested ones and private ones too."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # unreadable: there is no value to look for
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from originals(item)
        elif element.VR in ("LO", "SH", "ST", "LT", "UT", "UC", "PN", "AE", "UI", "UR", "DA", "DT"):
            taken = action(tag) not in (Action.clean, Action.model, Action.term, Action.time)
            for value in str(element.value).split("\\") if taken else []:
                yield keyword_for_tag(tag) or str(element.tag), value


def is_common(keyword: str, value: str) -> bool:
    """Whether a value is no sign of its file: the standard's, pydicom's, or words of radiology."""
    of_standard = keyword == "CodeMeaning" or value.startswith(
        ("1.2.840.10008.", PYDICOM_IMPLEMENTATION_UID[:-2])
    )
    return (
        of_standard
        or len(value.strip("0")) < SHORTEST
        or set(re.findall(r"\w+", value.casefold())) <= terms()
    )


def test_no_original_value_is_found_in_the_bytes_of_real_files(data_folder: Path) -> None:
    found = []
    for path, source, ours in cleaned(data_folder):
        bare = deepcopy(ours)
        for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            bare.pop(keyword, None)
        data, kept = written(bare).lower(), {str(element.value) for element in ours.iterall()}
        for keyword, value in originals(source):
            if not is_common(keyword, value) and value not in kept and value.lower().encode() in data:
                found.append((path.name, keyword))
    assert found == []


def test_real_files_are_written_read_and_show_the_same(data_folder: Path) -> None:
    pictures = 0
    for path, source, ours in cleaned(data_folder):
        back = dcmread(BytesIO(written(ours)))
        assert len(list(back.iterall())) >= len(back), path.name
        try:
            before = pixel_array(source)
        except Exception:  # not to be decoded before, either
            continue
        pictures += 1
        np.testing.assert_array_equal(pixel_array(back), before, err_msg=path.name)
    assert pictures > 150


def test_dcmtk_reads_them(data_folder: Path, tmp_path: Path) -> None:
    dcmdump = shutil.which("dcmdump")
    if dcmdump is None:
        if os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
            pytest.fail("dcmdump of DCMTK is not installed")
        pytest.skip("needs dcmdump of DCMTK")
    for number, (_, _, ours) in enumerate(cleaned(data_folder)):
        (tmp_path / f"{number:03d}.dcm").write_bytes(written(ours))
    done = subprocess.run([dcmdump, "-q", "+sd", str(tmp_path)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_value_is_quoted_in_warnings_or_errors(data_folder: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for path in real_files(data_folder):
            source = dcmread(path, force=True)
            before = len(caught)
            try:
                deidentify(source, PSEUDONYMS)
            except Quarantined as refused:
                assert set(str(refused)) <= set("abcdefghijklmnopqrstuvwxyz-:, SOP")
            assert len(caught) == before, path.name
