"""The page as a whole: its header, and its sections in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.page.document import document, section
from common.page.header import Standing, badge, header, key_figures
from common.page.markup import Markup, tag
from server.report.by_class import by_class
from server.report.calibrated import calibrated
from server.report.comparison import comparison
from server.report.contributions import contributions, remarks
from server.report.curves import curves
from server.report.glossary import glossary
from server.report.privacy import privacy, spent_figures, warning
from server.report.provenance import provenance
from server.report.quality import quality
from server.report.record import Run, parse_run
from server.report.results import results
from server.report.subgroups import subgroups
from server.report.summary import banner, figures, lede

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
    return document(
        f"{record.name}: training report",
        _header(record),
        _sections(record, study_toml),
        (_LIMITS, f"Written by Consilium {run['consilium']} from run.json."),
        skip="Skip to the results",
        package=__package__,
    )


def _header(run: Run) -> Markup:
    status = badge(run.status, Standing.good if run.status == "completed" else Standing.warn)
    below = banner(run), warning(run), key_figures([*figures(run), *spent_figures(run)])
    return header("Consilium training report", status, run.name, lede(run), *below)


def _sections(run: Run, study_toml: str) -> list[Markup | None]:
    evaluated = "Results" if run.final or run.latest is None else f"Results so far (round {run.latest.round})"
    toml = tag("pre", tag("code", study_toml), tabindex=0, role="region", aria_label="The study file")
    return [
        section("results", evaluated, results(run)),
        section("comparison", "What federating bought", comparison(run)),
        section("rounds", "Round by round", curves(run)),
        section("privacy", "Privacy", privacy(run)),
        section("quality", "How the shared model errs", quality(run)),
        section("calibration", "Calibrated", calibrated(run)),
        section("classes", "Class by class", by_class(run)),
        section("subgroups", "Subgroup by subgroup", subgroups(run)),
        section("contributions", "What each site contributed", contributions(run)),
        section("notes", "Notes on the data", remarks(run.sites)),
        section("provenance", "How it was run", provenance(run)),
        section("study", "The study file", toml),
        section("words", "What the words mean", glossary(run)),
    ]
