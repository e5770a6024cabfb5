"""Whatever an archive holds: every file ends in one way, every patient in one split, in whatever order."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from client.cohorts.assembly import Assembly
from client.cohorts.case import fingerprint
from client.cohorts.catalogue import StoredImage
from client.cohorts.labels import SPLITS, Key, Labels
from client.cohorts.rules import Rules
from client.dicom.outcomes import Outcome
from client.dicom.pixels import Display
from tests.unit.cohorts.stored import assembled, frame, labelled, stored

SMALL = st.integers(0, 2)


@st.composite
def archives(draw: st.DrawFn) -> list[StoredImage]:
    """Objects of few patients, series, names and pictures, so that they meet in every way."""
    images = []
    for file in range(draw(st.integers(0, 14))):
        patient, series, picture = f"P-{draw(SMALL)}", f"series-{draw(SMALL)}", draw(st.integers(0, 4))
        placed, count = draw(st.booleans()), draw(st.sampled_from([1, 1, 1, 2]))
        number, sop = draw(st.integers(0, 3)), f"sop-{draw(st.integers(0, 9))}"
        stack = f"{number}-{sop}" if count > 1 and not placed else ""  # as frames_of calls it
        heights = [2.0 * draw(st.integers(0, 3)) if placed else None for _ in range(count)]
        frames = [frame(number, z, part=n + 1, stack=stack) for n, z in enumerate(heights)]
        images.append(
            stored(
                file,
                frames,
                patient=patient,
                series=series,
                study=f"study-{draw(SMALL)}",
                sop=sop,
                digest=f"pixels-{count}-{picture}",
                display=Display(slope=draw(st.sampled_from([1.0, 1.0, 2.0]))),
            )
        )
    return images


@st.composite
def tables(draw: st.DrawFn) -> Labels:
    keys: list[Key] = [
        *(("patient", f"P-{n}") for n in range(3)),
        *(("study", f"study-{n}") for n in range(3)),
        *(("series", f"series-{n}") for n in range(3)),
        *(("sop", f"sop-{n}") for n in range(10)),
    ]
    said = st.tuples(st.sampled_from(["0", "1"]), st.sampled_from([None, *SPLITS]))
    return labelled(draw(st.dictionaries(st.sampled_from(keys), said, max_size=6)))


RULES = st.builds(Rules, sequence=st.sampled_from(["rows", "slices", "frames"]), test_share=st.floats(0, 1))
SHARES = st.fixed_dictionaries({f"P-{n}": st.floats(0, 1, exclude_max=True) for n in range(3)})


@given(archives(), tables(), RULES, SHARES)
def test_every_file_ends_in_one_way(
    images: list[StoredImage], labels: Labels, rules: Rules, share: dict[str, float]
) -> None:
    found = assembled(images, rules, labels, share)
    assert found.outcomes.keys() == {image.file for image in images}
    in_cases = Counter(
        source for draft in found.drafts for source in dict.fromkeys(draft.case.content.sources)
    )
    for image in images:
        outcome, _ = found.outcomes[image.file]
        # A file is in a case if and only if that is what is said of it.
        assert (outcome is Outcome.case) == (in_cases[image.instance.source] > 0)
    names = [draft.case.name for draft in found.drafts]
    assert len(set(names)) == len(names)


@given(archives(), tables(), RULES, SHARES)
def test_no_frame_is_in_two_cases(
    images: list[StoredImage], labels: Labels, rules: Rules, share: dict[str, float]
) -> None:
    found = assembled(images, rules, labels, share)
    by_sop = Counter(sop for draft in found.drafts for sop in draft.sops)
    if rules.sequence != "rows":
        assert all(count <= 2 for count in by_sop.values())  # an object has two frames at most
    owners = {
        image.instance.sop: {i.instance.patient for i in images if i.instance.sop == image.instance.sop}
        for image in images
    }
    for draft in found.drafts:
        assert all(draft.case.patient in owners[sop] for sop in draft.sops)


@given(archives(), tables(), RULES, SHARES)
def test_a_patient_is_in_one_split(
    images: list[StoredImage], labels: Labels, rules: Rules, share: dict[str, float]
) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    for draft in assembled(images, rules, labels, share).drafts:
        splits[draft.case.patient].add(draft.case.split)
    assert all(len(each) == 1 for each in splits.values())


def result(assembly: Assembly) -> Any:
    """What must not depend on the order of the files."""
    cases = assembly.cases({}, 1)
    return (
        fingerprint(cases),
        sorted((c.name, c.digest, c.label or "", c.split) for c in cases),
        assembly.notes,
    )


@given(archives(), tables(), RULES, SHARES, st.randoms(use_true_random=False))
def test_the_order_of_the_files_changes_nothing(
    images: list[StoredImage], labels: Labels, rules: Rules, share: dict[str, float], random: Any
) -> None:
    """Neither the order in which they were taken in, which gives them their numbers."""
    shuffled = [replace(i, id=n, file=n) for n, i in enumerate(random.sample(images, len(images)))]
    found, other = assembled(images, rules, labels, share), assembled(shuffled, rules, labels, share)
    assert result(found) == result(other)
    counts = [Counter(assembly.outcomes.values()) for assembly in (found, other)]
    assert counts[0] == counts[1]


@given(archives(), RULES)
def test_notes_count_the_cases_that_have_no_label(images: list[StoredImage], rules: Rules) -> None:
    found = assembled(images, rules)
    assert found.notes == ({"cases without label": len(found.drafts)} if found.drafts else {})
