"""The sections of the page that show pictures: look-alikes and outliers."""

from __future__ import annotations

from client.cohorts.quality.assessment import SHOWN, Quality, shown_pairs
from client.cohorts.quality.charts import picture
from client.cohorts.quality.counts import UNLABELLED
from client.cohorts.quality.facts import CaseFacts
from client.cohorts.quality.lookalikes import Issue, LookAlike
from client.cohorts.quality.outliers import Figure, Oddity, Outlier
from common.page.markup import Child, Markup, joined, tag
from common.page.tables import Column, Row, folded, table
from common.page.wording import number, plain, plural

_LISTED = 200
_TITLES = {
    Issue.two_splits: "The same picture in two splits",
    Issue.two_patients: "The same picture under two patients",
    Issue.two_labels: "The same picture with two labels",
    Issue.repeated: "The same picture twice",
}
_WORDS = {
    Issue.two_splits: "in two splits",
    Issue.two_patients: "two patients",
    Issue.two_labels: "two labels",
    Issue.repeated: "repeated",
}
_FIGURES = {
    Figure.blank: ("nothing to see", ""),
    Figure.brightness: ("brightness", ""),
    Figure.contrast: ("contrast", ""),
    Figure.size: ("size", " pixels"),
    Figure.frames: ("number of frames", ""),
    Figure.frame_spacing: ("frame spacing", " mm"),
    Figure.pixel_spacing: ("pixel spacing", " mm"),
}


def look_alikes(quality: Quality) -> Markup:
    """Pairs that show the same picture, by what is wrong with that."""
    pairs = quality.look_alikes.pairs
    if not pairs:
        return tag("p", "No two cases show the same picture where they should not.")
    parts: list[Child] = [
        tag(
            "p",
            "Found by the pixels, whatever the names say: the very same ones, or pictures whose middle "
            "frames have the same layout and the same fine structure. Look at each pair before you decide.",
            class_="note",
        )
    ]
    parts += [_issue(quality, issue) for issue in Issue]
    return joined([*parts, _all_pairs(quality)])


def _issue(quality: Quality, issue: Issue) -> Markup | None:
    shown = shown_pairs(quality.look_alikes, issue)
    if not shown:
        return None
    extent = quality.look_alikes.extents[issue]
    words = (
        f"{plural(extent.pairs, 'pair')} of {plural(extent.cases, 'case')} and "
        f"{plural(extent.patients, 'patient')}."
    )
    if extent.same_pairs:
        words += f" The very same pixels in {number(extent.same_pairs)}."
    if extent.pairs > len(shown):
        words += f" {number(len(shown))} are shown here; a pair with several faults is shown under the first."
    cards = tag("div", joined(_pair(quality, pair) for pair in shown), class_="pairs")
    return joined([tag("h3", _TITLES[issue]), tag("p", words), cards])


def _pair(quality: Quality, pair: LookAlike) -> Markup:
    sides = (
        tag("div", _thumbnail(quality, facts), _facts(facts), class_="side")
        for facts in (pair.first, pair.second)
    )
    return tag(
        "figure", tag("div", joined(sides), class_="sides"), tag("figcaption", _verdict(pair)), class_="card"
    )


def _verdict(pair: LookAlike) -> str:
    """What a pair has in common and what is wrong with it, in a line."""
    alike = "the very same pixels" if pair.same_pixels else f"likeness {pair.likeness:.2f}"
    return f"{alike}: {', '.join(_WORDS[issue] for issue in pair.issues)}"


def _facts(facts: CaseFacts) -> Markup:
    label = UNLABELLED if facts.label is None else facts.label
    lines = (tag("strong", facts.case), f"patient {facts.patient}", f"{facts.split or 'no split'}, {label}")
    return tag("div", joined(tag("span", line) for line in lines), class_="facts")


def _all_pairs(quality: Quality) -> Markup | None:
    pairs = quality.look_alikes.pairs[:_LISTED]
    rows = [Row(p.first.case, [p.second.case, p.first.patient, p.second.patient, _verdict(p)]) for p in pairs]
    columns = [Column(name, words=True) for name in ("Case", "Case", "Patient", "Patient", "What")]
    word = f"The {plural(len(rows), 'pair')} that are most alike, as a table"
    return folded(word, table("Cases that look the same", columns, rows))


def outliers(quality: Quality) -> Markup:
    """Cases that stand apart, with what they stand apart by."""
    found = quality.outliers
    if not found:
        return tag("p", "No case stands far apart from the others.")
    words = (
        f"{plural(len(found), 'case stands', 'cases stand')} far from the others of the same modality. That "
        "is no error by itself: a small child, a lateral view, an implant or another protocol looks so too."
    )
    cards = tag("div", joined(_outlier(quality, outlier) for outlier in found[:SHOWN]), class_="apart")
    rows = [
        Row(o.facts.case, [o.facts.patient, "; ".join(map(_oddity, o.oddities))]) for o in found[:_LISTED]
    ]
    columns = [Column(name, words=True) for name in ("Case", "Patient", "Why")]
    word = f"The first {len(rows)} as a table" if len(found) > len(rows) else "All as a table"
    listed = folded(word, table("Cases that stand apart", columns, rows))
    return joined([tag("p", words, class_="note"), cards, listed])


def _outlier(quality: Quality, outlier: Outlier) -> Markup:
    reasons = tag("figcaption", joined(tag("span", _oddity(o)) for o in outlier.oddities))
    inner = tag("div", _thumbnail(quality, outlier.facts), _facts(outlier.facts), class_="side")
    return tag("figure", inner, reasons, class_="card")


def _oddity(oddity: Oddity) -> str:
    """``brightness 0.82, usually 0.48``."""
    name, unit = _FIGURES[oddity.figure]
    if oddity.figure is Figure.blank:
        return name
    return f"{name} {plain(oddity.value)}{unit}, usually {plain(oddity.typical)}{unit}"


def _thumbnail(quality: Quality, facts: CaseFacts) -> Markup:
    return picture(quality.thumbnails.get(facts.case), f"Middle frame of case {facts.case}")
