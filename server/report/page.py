"""The page as a whole: its sections in order, and a head that forbids it to fetch anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from server.report.comparison import comparison
from server.report.contributions import contributions, remarks
from server.report.curves import curves
from server.report.glossary import glossary
from server.report.markup import Markup, joined, tag
from server.report.provenance import provenance
from server.report.quality import quality
from server.report.record import Run, parse_run
from server.report.results import results
from server.report.summary import banner, key_figures, lede

_LIMITS = "This page describes a training run for research. It does not show that the model is safe in care."


def render(run: Mapping[str, Any], study_toml: str) -> str:
    """The report of a run as one self-contained HTML document.

    Args:
        run: The content of run.json, of a run in any status.
        study_toml: The study file, shown verbatim.

    Raises:
        KeyError: The document lacks a key that its schema requires.
    """
    record = parse_run(run)
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#results", class_="skip"),
        _header(record),
        tag("main", joined(_sections(record, study_toml)), id="content"),
        tag("footer", tag("p", _LIMITS), tag("p", f"Written by Consilium {run['consilium']} from run.json.")),
    )
    return f"<!doctype html>\n{tag('html', _head(record), body, lang='en')}\n"


def _head(run: Run) -> Markup:
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
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{run.name}: training report"),
        tag("style", style),
    )


def _header(run: Run) -> Markup:
    top = tag(
        "p",
        "Consilium training report",
        tag("span", run.status, class_=f"status {run.status}"),
        class_="kicker",
    )
    title = tag("h1", run.name)
    return tag("header", top, title, tag("p", lede(run), class_="lede"), banner(run), key_figures(run))


def _sections(run: Run, study_toml: str) -> list[Markup | None]:
    evaluated = "Results" if run.final or run.latest is None else f"Results so far (round {run.latest.round})"
    toml = tag("pre", tag("code", study_toml), tabindex=0, role="region", aria_label="The study file")
    return [
        _section("results", evaluated, results(run)),
        _section("comparison", "What federating bought", comparison(run)),
        _section("rounds", "Round by round", curves(run)),
        _section("quality", "How the shared model errs", quality(run)),
        _section("contributions", "What each site contributed", contributions(run)),
        _section("notes", "Notes on the data", remarks(run.sites)),
        _section("provenance", "How it was run", provenance(run)),
        _section("study", "The study file", toml),
        _section("words", "What the words mean", glossary()),
    ]


def _section(key: str, heading: str, content: Markup | None) -> Markup | None:
    """A section with its heading, or None if it has nothing to show."""
    if not content:
        return None
    return tag(
        "section", tag("h2", heading, id=f"{key}-heading"), content, id=key, aria_labelledby=f"{key}-heading"
    )
