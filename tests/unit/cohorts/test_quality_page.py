"""The page is one safe, self-contained, readable document, whatever the cohort holds."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from client.cohorts.quality import CaseFacts, CasePicture, FileCounts, Quality, assess, picture_of, render
from client.cohorts.quality.assessment import SHOWN
from client.cohorts.quality.verdict import Gravity
from client.dicom.outcomes import Kind, Outcome, Reason

VOID = {"meta", "link", "br", "img"}
EVIL = '<script>alert("x")</script>&\'"'
FILES = FileCounts(
    100,
    {Outcome.case: 70, Outcome.duplicate: 5, Outcome.quarantined: 15, Outcome.other: 10},
    {Reason.truncated: 9, Reason.syntax: 6},
    {Kind.report: 10},
)


class Page(HTMLParser):
    """What a browser would make of a page: text, elements, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attrs)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attrs)))

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for element, attributes in self.elements if element == name]


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
    page = Page(render(assess(FileCounts(0), []), "Nothing"))
    ids = {a["id"] for _, a in page.elements if a.get("id")}
    assert {str(a["href"]).removeprefix("#") for a in page.all("a")} <= ids


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
    page = Page(html)
    style = re.search(r"<style>(.*?)</style>", html, re.S)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy and f"'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert not page.all("script") and "url(" not in style[1] and "@import" not in style[1]
    sources = [v for _, a in page.elements for k, v in a.items() if k in ("src", "href")]
    assert all(source and source.startswith(("data:", "#")) for source in sources)
    assert not [a for _, a in page.elements if "style" in a or any(k.startswith("on") for k in a)]


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
    page = Page(render(faulty(), "Chest"))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    assert all(a["href"] in {f"#{i}" for i in ids} for a in page.all("a"))
    assert page.all("img") and all(image.get("alt") for image in page.all("img"))
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") == "true" or {
            drawing["aria-labelledby"],
            drawing["aria-describedby"],
        } <= {*ids}
    assert len(page.all("table")) == len(page.all("caption"))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert all(b - a <= 1 for a, b in pairwise(levels))


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
