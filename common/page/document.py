"""The shell of a page: a head that forbids it to fetch or run anything, its sections, and its footer."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib import resources

from common.page.markup import Child, Markup, joined, tag


def document(
    title: str,
    header: Markup,
    sections: Iterable[Markup | None],
    footer: Iterable[str],
    *,
    skip: str,
    package: str,
) -> str:
    """A page as one self-contained HTML document.

    Args:
        title: Of the window.
        header: What :func:`common.page.header.header` made.
        sections: Each from :func:`section`; None are left away.
        footer: Sentences that end the page.
        skip: Words of the first link, which leads past the header to the first section.
        package: The package whose ``style.css`` follows the one of all pages.
    """
    body = tag(
        "body",
        tag("a", skip, href="#content", class_="skip"),
        header,
        tag("main", joined(sections), id="content"),
        tag("footer", joined(tag("p", sentence) for sentence in footer)),
    )
    return f"<!doctype html>\n{tag('html', _head(title, _style(package)), body, lang='en')}\n"


def section(key: str, heading: str, content: Child) -> Markup | None:
    """A section with its heading, or None if it has nothing to show.

    Args:
        key: Unique in the page; links lead to it.
        heading: A heading of the second level.
        content: What it shows.
    """
    if not content:
        return None
    named = f"{key}-heading"
    return tag("section", tag("h2", heading, id=named), content, id=key, aria_labelledby=named)


def _head(title: str, style: Markup) -> Markup:
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
        tag("title", title),
        tag("style", style),
    )


def _style(package: str) -> Markup:
    """The rules of all pages, then those of one, which therefore prevail."""
    folders = (resources.files(name) for name in (__package__, package))
    return Markup("".join(folder.joinpath("style.css").read_text(encoding="utf-8") for folder in folders))
