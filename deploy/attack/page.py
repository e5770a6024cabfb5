"""The audit as a page: what is claimed, what each attack showed, and what it could have shown."""

from __future__ import annotations

from common.page.document import document, section
from common.page.header import KeyFigure, Standing, badge, header, key_figures
from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, table
from common.page.wording import number, plain, plural
from deploy.attack.attack import Audit
from deploy.attack.finding import CONFIDENCE, CONVICTION, Finding, Verdict

_STANDING = {
    Verdict.not_violated: Standing.good,
    Verdict.indication: Standing.warn,
    Verdict.violated: Standing.stop,
}
_SIMULATION = "A simulation: the noise was seeded, so no model that was trained here may be used."
_LIMITS = (
    "A lower bound that stays below the claim does not prove the claim: it says that these attacks did not "
    "break it. That batches are drawn as the accountant assumes is taken as claimed."
)


def render(audit: Audit) -> str:
    """The audit as one self-contained HTML document."""
    return document(
        f"{audit.study}: privacy audit",
        _header(audit),
        (
            section("attacks", "What attacks showed", _table(audit)),
            section("power", "What they saw, and what they could have seen", _details(audit)),
        ),
        (_SIMULATION, _LIMITS),
        skip="Skip to the attacks",
        package=__package__,
    )


def _header(audit: Audit) -> Markup:
    claim, broken = audit.claim, audit.violations
    status = badge("violated", Standing.stop) if broken else badge("not violated", Standing.good)
    strongest = max(audit.findings, key=lambda finding: finding.epsilon)
    return header(
        "Privacy audit",
        status,
        f"{audit.study} at {audit.site}",
        f"Claimed is epsilon {plain(claim.epsilon)} at delta {plain(claim.delta)} for each of "
        f"{plural(claim.units, claim.unit)}. "
        f"The strongest attack ({strongest.attack}) shows at least {plain(strongest.epsilon)}.",
        key_figures(
            (
                KeyFigure("Claimed epsilon, at most", plain(claim.epsilon), f"by {claim.accountant.upper()}"),
                KeyFigure("Shown, at least", plain(strongest.epsilon), f"with {CONFIDENCE:.0%} confidence"),
                KeyFigure(
                    "Noise multiplier", plain(claim.noise_multiplier), f"clip norm {claim.clip_norm:g}"
                ),
                KeyFigure("Steps", number(claim.steps), f"sample rate {claim.sample_rate:g}"),
            )
        ),
    )


def _table(audit: Audit) -> Markup:
    columns = [
        Column("Attack", words=True),
        Column("Source", words=True),
        Column("Observations"),
        Column("Epsilon, at least"),
        Column("Could have shown"),
        Column("Claim", words=True),
    ]
    rows = (Row(finding.attack, _cells(finding)) for finding in audit.findings)
    notes = (
        f"Bounds hold with {CONFIDENCE:.0%} confidence. The claim counts as violated where a bound with "
        f"{CONVICTION:.2%} confidence exceeds it.",
    )
    return table("Lower bounds on epsilon", columns, rows, notes)


def _cells(finding: Finding) -> tuple[str | Markup, ...]:
    return (
        finding.source,
        number(finding.observations),
        plain(finding.epsilon),
        plain(finding.visible),
        badge(str(finding.verdict), _STANDING[finding.verdict]),
    )


def _details(audit: Audit) -> Markup:
    return joined(
        joined((tag("h3", finding.attack), tag("p", f"Seen: {finding.observed}."), tag("p", finding.power)))
        for finding in audit.findings
    )
