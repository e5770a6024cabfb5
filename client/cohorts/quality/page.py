"""The page as a whole: its header, and its sections in order."""

from __future__ import annotations

from client.cohorts.quality import gallery, sections
from client.cohorts.quality.assessment import Quality
from client.cohorts.quality.changes import changes
from client.cohorts.quality.verdict import Gravity, Remark
from client.dicom.outcomes import Outcome
from common.page.document import document, section
from common.page.header import KeyFigure, Standing, badge, header, key_figures
from common.page.markup import Markup, joined, prose, tag
from common.page.wording import number, share

_STAYS = "This page shows patients' pictures, though no names. It stays in the hospital: do not send it on."
_LIMITS = (
    "Pseudonyms stand for patients and cases; only this site can resolve them. The page was made without "
    "network and fetches nothing. What it does not find may still be there."
)
_STANDING = {Gravity.stop: Standing.stop, Gravity.look: Standing.warn, None: Standing.good}
_STATUS = {Gravity.stop: "not ready", Gravity.look: "look first", None: "ready"}
_GRAVITY = {Gravity.stop: "mend first", Gravity.look: "look at it"}


def render(quality: Quality, title: str) -> str:
    """The quality of a cohort as one self-contained HTML document.

    Args:
        quality: What :func:`~client.cohorts.quality.assess` found.
        title: Heading of the page, such as the cohort's name.
    """
    return document(
        f"{title}: quality of the cohort",
        _header(quality, title),
        _sections(quality),
        (_STAYS, _LIMITS),
        skip="Skip to what to do first",
        package=__package__,
    )


def _header(quality: Quality, title: str) -> Markup:
    gravity = quality.verdict.gravity
    status = badge(_STATUS[gravity], _STANDING[gravity])
    below = tag("p", _STAYS, class_="stays"), key_figures(_figures(quality))
    return header("Quality of a cohort", status, title, quality.verdict.text, *below)


def _figures(quality: Quality) -> tuple[KeyFigure, ...]:
    files, counts = quality.files, quality.counts
    held = files.of(Outcome.quarantined)
    return (
        KeyFigure("Cases", number(counts.cases)),
        KeyFigure("Patients", number(counts.patients)),
        KeyFigure("Files seen", number(files.seen)),
        KeyFigure("In quarantine", number(held), f"{share(held, files.seen)} of the files" if held else ""),
    )


def _sections(quality: Quality) -> list[Markup | None]:
    return [
        section("todo", "What to do first", _remarks(quality.verdict.remarks)),
        section("files", "Files", sections.files(quality)),
        section("cases", "Cases and patients", sections.cases(quality)),
        section("sizes", "Size of the pictures", sections.sizes(quality)),
        section("brightness", "Brightness by scanner", sections.brightness(quality)),
        section("alike", "Cases that look the same", gallery.look_alikes(quality)),
        section("apart", "Cases that stand apart", gallery.outliers(quality)),
        section("drift", "What has changed", changes(quality)),
    ]


def _remarks(remarks: tuple[Remark, ...]) -> Markup:
    """What was found and what to do, the gravest first."""
    if not remarks:
        return tag("p", "Nothing.")
    items = (
        tag(
            "li",
            badge(_GRAVITY[r.gravity], _STANDING[r.gravity]),
            tag("div", tag("p", tag("strong", r.text)), tag("p", prose(r.todo), " ", _more(r))),
        )
        for r in remarks
    )
    return tag("ol", joined(items), class_="remarks")


def _more(remark: Remark) -> Markup:
    return tag("a", "Show", href=f"#{remark.section}", aria_label=f"Show: {remark.text}")
