"""The page is one safe, self-contained, readable document, whatever the cohort holds."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from client.cohorts.quality import CaseFacts, CasePicture, FileCounts, Quality, assess, picture_of, render
from client.cohorts.quality.assessment import SHOWN
from client.cohorts.quality.verdict import Gravity
from client.dicom.outcomes import Kind, Outcome, Reason
from tests.unit.page_reader import (
    EVIL,
    Page,
    check_can_be_read_without_eyes,
    check_policy_admits_only_its_style,
    check_reaches_for_nothing,
)

FILES = FileCounts(
    100,
    {Outcome.case: 70, Outcome.duplicate: 5, Outcome.quarantined: 15, Outcome.other: 10},
    {Reason.truncated: 9, Reason.syntax: 6},
    {Kind.report: 10},
)


def picture(seed: int, brightness: float = 1.0) -> CasePicture:
    coarse = np.random.default_rng(seed).random((16, 16)).astype(np.float32)
    image = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)
    return picture_of(np.clip(np.asarray(image), 0, 1)[None] * np.float32(brightness))


def clean(number: int = 60) -> list[tuple[CaseFacts, CasePicture | None]]:
    """A cohort with nothing to remark."""
    return [
        (
            CaseFacts(
                f"C-{i}", f"P-{i}", "test" if i % 4 == 0 else "train", str(i % 2), "DX", "Acme", 2020 + i % 3,
                (1, 64, 64), (None, 0.2, 0.2), (), (f"digest {i}",),
            ),
            picture(i),
        )
        for i in range(number)
    ]  # fmt: skip


def faulty() -> Quality:
    """A cohort with a fault of every sort, compared with a clean one."""
    cases = clean()
    first, second = cases[1][0], cases[2][0]
    cases.append((replace(first, case="C-leak", split="test", patient="P-leak"), picture(1)))
    cases.append((replace(second, case="C-twin", patient="P-twin", pixel_digests=()), picture(2, 0.9)))
    cases.append((replace(second, case="C-label", label="1"), picture(2)))
    cases.append((replace(second, case="C-again"), picture(2)))
    cases.append((CaseFacts("C-blank", "P-1", "test", None), picture_of(np.zeros((1, 8, 8), np.float32))))
    cases.append((replace(second, case="C-big", patient="P-big", shape=(1, 9000, 9000)), picture(99)))
    cases.append((replace(second, case="C-odd", findings=("missing-slices",), split=""), None))
    then = assess(FILES, [(replace(f, scanner="Old"), p) for f, p in clean()]).reference
    return assess(FILES, cases, then)


def test_a_clean_cohort_is_called_ready() -> None:
    quality = assess(FileCounts(60, {Outcome.case: 60}), clean())
    assert (quality.verdict.gravity, quality.verdict.remarks) == (None, ())
    text = Page(render(quality, "Chest")).text
    assert "ready" in text and "not ready" not in text and "What has changed" not in text


def test_an_empty_cohort_stops_and_is_still_a_page() -> None:
    quality = assess(FileCounts(2, {Outcome.quarantined: 2}, {Reason.empty: 2}), [])
    assert quality.verdict.gravity is Gravity.stop
    assert "The cohort holds no case." in Page(render(quality, "Nothing")).text


def test_links_of_an_empty_cohort_lead_somewhere() -> None:
    check_can_be_read_without_eyes(render(assess(FileCounts(0), []), "Nothing"))


def test_every_fault_is_told_the_gravest_first() -> None:
    quality = faulty()
    remarks = quality.verdict.remarks
    assert [r.gravity for r in remarks] == sorted((r.gravity for r in remarks), key="stop look".index)
    assert [r.gravity for r in remarks].count(Gravity.stop) == 2
    text = Page(render(quality, "Chest")).text
    for words in (
        "1 patient has cases in more than one split", "such as training and test: 1 pair, 1 of them",
        "are of two patients", "have two labels", "more than once", "1 case has no label",
        "1 case is in no split", "15 files are in quarantine", "most often because of pixels-truncated",
        "1 case shows nothing", "1 case stands apart", "missing-slices (1)", "changed much: scanners",
        "It stays in the hospital",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": "0"}, "All labelled cases have the same label."),
        ({"split": "train"}, "There is no case to test with."),
        ({"split": "test"}, "There is no case to train on."),
        ({"split": ""}, None),
    ],
)
def test_what_is_missing_is_told(change: dict[str, str], words: str | None) -> None:
    cases = [(replace(facts, **change), p) for facts, p in clean()]  # type: ignore[arg-type]
    found = [r.text for r in assess(FileCounts(0), cases).verdict.remarks]
    assert found == ([words] if words else [])


def test_few_patients_and_rare_labels_are_told() -> None:
    cases = [(replace(facts, label="rare" if facts.case == "C-1" else "usual"), p) for facts, p in clean()]
    assert [r.text for r in assess(FileCounts(0), cases).verdict.remarks] == [
        "1 label is rarer than 5\N{NO-BREAK SPACE}%: rare."
    ]
    assert "of 12 patients only" in assess(FileCounts(0), clean(12)).verdict.remarks[0].text


def test_nothing_is_fetched_and_nothing_can_run() -> None:
    html = render(faulty(), "Chest")
    check_reaches_for_nothing(html)
    check_policy_admits_only_its_style(html)


def test_what_comes_from_data_is_escaped() -> None:
    cases = [
        (replace(f, case=f"{EVIL}{i}", patient=f"{EVIL}{i % 9}", label=EVIL, scanner=EVIL, modality=EVIL,
                 split=f"{EVIL}{i % 2}", findings=(EVIL,)), p)
        for i, (f, p) in enumerate([*clean(), *clean(5)])
    ]  # fmt: skip
    html = render(assess(FILES, cases, assess(FILES, cases).reference), EVIL)
    assert "<script" not in html
    assert EVIL in Page(html).text


def test_the_page_can_be_read_without_eyes() -> None:
    html = render(faulty(), "Chest")
    check_can_be_read_without_eyes(html)
    page = Page(html)
    assert page.all("img")
    drawings = [a for a in page.all("svg") if a.get("aria-hidden") != "true"]
    assert drawings and all({a["aria-labelledby"], a["aria-describedby"]} <= {*page.ids} for a in drawings)


def test_only_the_pictures_shown_are_kept() -> None:
    cases = [(replace(facts, pixel_digests=()), p) for facts, p in clean(30)]
    copies = [(replace(f, case=f"copy {f.case}", patient=f"other {f.patient}"), p) for f, p in cases]
    quality = assess(FileCounts(0), [*cases, *copies])
    assert len(quality.look_alikes.pairs) == 30
    assert len(quality.thumbnails) == 2 * SHOWN
    assert len(Page(render(quality, "x")).all("img")) == 2 * SHOWN


def test_records_without_pictures_have_a_page_too() -> None:
    quality = assess(FileCounts(0), [(facts, None) for facts, _ in clean()])
    assert quality.histograms == () and quality.thumbnails == {}
    assert "Brightness by scanner" not in Page(render(quality, "Records")).text


def test_the_same_cohort_gives_the_same_page() -> None:
    assert render(faulty(), "Chest") == render(faulty(), "Chest")
