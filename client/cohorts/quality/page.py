"""The page as a whole: its sections in order, and a head that forbids it to fetch anything."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from client.cohorts.quality import gallery, sections
from client.cohorts.quality.assessment import Quality
from client.cohorts.quality.changes import changes
from client.cohorts.quality.markup import Markup, joined, prose, tag
from client.cohorts.quality.verdict import Gravity, Remark
from client.cohorts.quality.wording import number, share
from client.dicom.outcomes import Outcome

_STAYS = "This page shows patients' pictures, though no names. It stays in the hospital: do not send it on."
_LIMITS = (
    "Pseudonyms stand for patients and cases; only this site can resolve them. The page was made without "
    "network and fetches nothing. What it does not find may still be there."
)
_STATUS = {Gravity.stop: "not ready", Gravity.look: "look first", None: "ready"}
_GRAVITY = {Gravity.stop: "mend first", Gravity.look: "look at it"}


def render(quality: Quality, title: str) -> str:
    """The quality of a cohort as one self-contained HTML document.

    Args:
        quality: What :func:`~client.cohorts.quality.assess` found.
        title: Heading of the page, such as the cohort's name.
    """
    body = tag(
        "body",
        tag("a", "Skip to what to do first", href="#todo", class_="skip"),
        _header(quality, title),
        tag("main", joined(_sections(quality)), id="content"),
        tag("footer", tag("p", _STAYS), tag("p", _LIMITS)),
    )
    return f"<!doctype html>\n{tag('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Markup:
    style = Markup(resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # Even if a reader's browser met something foreign in here, it could neither run nor fetch it.
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{title}: quality of the cohort"),
        tag("style", style),
    )


def _header(quality: Quality, title: str) -> Markup:
    gravity = quality.verdict.gravity
    status = tag("span", _STATUS[gravity], class_=f"status {gravity or 'good'}")
    return tag(
        "header",
        tag("p", "Quality of a cohort", status, class_="kicker"),
        tag("h1", title),
        tag("p", quality.verdict.text, class_="lede"),
        tag("p", _STAYS, class_="stays"),
        _key_figures(quality),
    )


def _key_figures(quality: Quality) -> Markup:
    files, counts = quality.files, quality.counts
    held = files.of(Outcome.quarantined)
    named = (
        ("Cases", number(counts.cases), None),
        ("Patients", number(counts.patients), None),
        ("Files seen", number(files.seen), None),
        ("In quarantine", number(held), f"{share(held, files.seen)} of the files" if held else None),
    )
    boxes = (
        tag("div", tag("dt", name), tag("dd", value, tag("small", small) if small else None))
        for name, value, small in named
    )
    return tag("dl", joined(boxes), class_="figures")


def _sections(quality: Quality) -> list[Markup | None]:
    return [
        _section("todo", "What to do first", _remarks(quality.verdict.remarks)),
        _section("files", "Files", sections.files(quality)),
        _section("cases", "Cases and patients", sections.cases(quality)),
        _section("sizes", "Size of the pictures", sections.sizes(quality)),
        _section("brightness", "Brightness by scanner", sections.brightness(quality)),
        _section("alike", "Cases that look the same", gallery.look_alikes(quality)),
        _section("apart", "Cases that stand apart", gallery.outliers(quality)),
        _section("drift", "What has changed", changes(quality)),
    ]


def _remarks(remarks: tuple[Remark, ...]) -> Markup:
    """What was found and what to do, the gravest first."""
    if not remarks:
        return tag("p", "Nothing.")
    items = (
        tag(
            "li",
            tag("span", _GRAVITY[r.gravity], class_=f"status {r.gravity}"),
            tag("div", tag("p", tag("strong", r.text)), tag("p", prose(r.todo), " ", _more(r))),
        )
        for r in remarks
    )
    return tag("ol", joined(items), class_="remarks")


def _more(remark: Remark) -> Markup:
    return tag("a", "Show", href=f"#{remark.section}", aria_label=f"Show: {remark.text}")


def _section(key: str, heading: str, content: Markup | None) -> Markup | None:
    """A section with its heading, or None if it has nothing to show."""
    if not content:
        return None
    return tag(
        "section", tag("h2", heading, id=f"{key}-heading"), content, id=key, aria_labelledby=f"{key}-heading"
    )
