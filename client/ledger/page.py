"""The certificate as a page that a person can read, print and file: its header, and its sections in order."""

from __future__ import annotations

from client.ledger import sections
from client.ledger.certificate import Certificate
from client.ledger.guarantee import delta_words, epsilon_words
from client.ledger.spending import Spending
from common import __version__
from common.page.document import document, section
from common.page.drawings import drawing
from common.page.header import KeyFigure, Standing, badge, header, key_figures
from common.page.markup import Markup, tag
from common.page.wording import DASH, number, percent, plural

NEARLY = 0.9
"""Share of the budget from which the page warns."""

_METER = (600.0, 8.0)
_STANDING = {
    "within the budget": Standing.good,
    "nearly spent": Standing.warn,
    "over the budget": Standing.stop,
}
_NO_OPINION = "This page states a mathematical bound on what left the hospital. It is no legal opinion."


def render(certificate: Certificate, sha256: str) -> str:
    """The certificate as one self-contained HTML document.

    Args:
        certificate: What it says.
        sha256: Digest of the JSON document that belongs to it.
    """
    return document(
        f"{certificate.holder.cohort}: privacy certificate",
        _header(certificate),
        _sections(certificate, sha256),
        (_NO_OPINION, f"Written by Consilium {__version__} from the site's privacy ledger."),
        skip="Skip to the guarantee",
        package=__package__,
    )


def standing(spending: Spending) -> str:
    """How spending stands to its budget, in words."""
    share = spending.share
    if share is None or share < NEARLY:
        return "within the budget"
    return "nearly spent" if share <= 1 else "over the budget"


def _header(certificate: Certificate) -> Markup:
    spent, holder = certificate.spending, certificate.holder
    word = standing(spent)
    budget = f" of a budget of {spent.budget.epsilon:g}" if spent.budget else ""
    lede = (
        f"Private training on the cohort {holder.cohort} at {holder.site} has spent epsilon "
        f"{epsilon_words(spent.epsilon)}{budget}, at delta {delta_words(spent.delta)}. This page says what "
        f"that guarantees every {certificate.protected}, and what it does not."
    )
    below = _meter(spent, _STANDING[word]), key_figures(_figures(certificate))
    return header("Privacy certificate", badge(word, _STANDING[word]), holder.cohort, lede, *below)


def _meter(spent: Spending, colour: Standing) -> Markup | None:
    if spent.share is None:
        return None
    part = min(1.0, spent.share)
    words = f"{percent(part)} of the budget is spent."
    trough = tag("rect", width=_METER[0], height=_METER[1], rx=4, class_="trough")
    bar = tag("rect", width=_METER[0] * part, height=_METER[1], rx=4, class_=f"bar {colour}")
    return tag("div", drawing("meter", "Budget", words, _METER, trough, bar), class_="meter")


def _figures(certificate: Certificate) -> list[KeyFigure]:
    spent, budget = certificate.spending, certificate.spending.budget
    studies = {(study.study, study.study_digest) for study in spent.studies if study.study}
    patients = certificate.holder.patients
    return [
        KeyFigure("Epsilon spent", epsilon_words(spent.epsilon), f"at delta {delta_words(spent.delta)}"),
        KeyFigure("Budget", f"{budget.epsilon:g}" if budget else DASH, "policy.toml of the hospital"),
        KeyFigure("Studies", number(len(studies)), plural(sum(s.steps for s in spent.studies), "noisy step")),
        KeyFigure("Patients", DASH if patients is None else number(patients), "in the cohort now"),
    ]


def _sections(certificate: Certificate, sha256: str) -> list[Markup | None]:
    return [
        section("guarantee", "What is guaranteed", sections.guarantee(certificate)),
        section("studies", "What each study has spent", sections.studies(certificate)),
        section("open", "Reserved and never settled", sections.reserved(certificate)),
        section("limits", "What is not covered", sections.limits(certificate)),
        section("decisions", "Decisions about the ledger", sections.decisions(certificate)),
        section("evidence", "What this rests on", sections.evidence(certificate, sha256)),
        section("file", "For the file", sections.signature()),
    ]
