"""The sections of the certificate's page."""

from __future__ import annotations

from collections.abc import Mapping

from client.ledger.book import Line
from client.ledger.certificate import MECHANISM, NEIGHBOURS, Certificate, fingerprints
from client.ledger.guarantee import at_most, epsilon_words
from client.ledger.spending import StudySpending
from common.page.markup import Child, Markup, joined, prose, tag
from common.page.tables import Column, Row, table
from common.page.wording import DASH, moment, number, percent, plain, plural

_WORST = (
    "At worst: for somebody who sees all that it sent, knows all other patients and computes without limit. "
    "Had it sent nothing, both columns would be equal. Nothing that others do later changes these bounds."
)
_UNITS = {
    ("patient",): "The patient: each is protected with all cases.",
    ("image",): "The image. A patient with several images is protected less; see below.",
    ("image", "patient"): "By study, the patient with all cases or the single image. A patient with several "
    "images is protected less by the latter; see below.",
}
_STUDY = (
    Column("Study", True),
    Column("For", True),
    Column("Unit", True),
    Column("Rounds"),
    Column("Steps"),
    Column("Noise multiplier"),
    Column("Sample rate"),
    Column("Epsilon alone"),
)


def guarantee(certificate: Certificate) -> Markup:
    """What holds for one patient, in words and numbers."""
    spent = certificate.spending
    words = (
        "Whatever anybody concludes from all that private training sent, they would have concluded nearly "
        f"the same if any one {certificate.protected} had not been in the cohort. “Nearly” is what epsilon "
        "bounds: the smaller, the closer. Delta is the small probability that the bound leaves open."
    )
    rows = [Row(percent(share), [at_most(bound)]) for share, bound in certificate.bounds]
    columns = (
        Column("Wrongly suspected, of those who were not in", True),
        Column("Recognised, of those who were"),
    )
    told = table("How well anybody could tell who was in the cohort", columns, rows, [_WORST])
    accountant = spent.budget.accountant if spent.budget else "prv"
    facts: dict[str, Child] = {
        "Unit": _UNITS[certificate.units],
        "Neighbouring relation": NEIGHBOURS,
        "Mechanism": MECHANISM,
        "Composition": f"All steps there ever were, together, by Opacus' accountant {accountant.upper()}.",
    }
    return joined([tag("p", words), tag("div", told, class_="narrow"), _facts("The guarantee", facts)])


def studies(certificate: Certificate) -> Markup:
    """Each study by itself, and all together."""
    spent = certificate.spending
    steps = number(sum(event.steps for event in spent.events))
    rows = [_study(study) for study in spent.studies]
    rows.append(Row("All together", ["", "", "", steps, "", "", epsilon_words(spent.epsilon)], "total"))
    note = (
        f"Epsilon at delta {spent.delta:g}; a study's own report may use another delta. Epsilons do not add "
        "up: the accountant composes all steps, which costs less than the sum."
    )
    return table("Studies that trained privately on the cohort", _STUDY, rows, [note])


def _study(study: StudySpending) -> Row:
    days = " to ".join(dict.fromkeys((study.first[:10], study.last[:10])))
    cells = [
        joined([study.purpose, tag("small", days)]),
        study.unit,
        number(study.rounds),
        _each([number(event.steps) for event in study.events]),
        _each([plain(event.noise_multiplier) for event in study.events]),
        _each([plain(event.sample_rate) for event in study.events]),
        epsilon_words(study.epsilon),
    ]
    return Row(study.study or "added by a person", cells)


def _each(values: list[str]) -> Markup:
    return joined([tag("div", value) for value in values] or [DASH])


def reserved(certificate: Certificate) -> Markup | None:
    """Reservations that were never settled; None if there are none."""
    if not certificate.open:
        return None
    words = (
        "A process ended before it settled these, or is still at work. Nothing was sent on them yet; they "
        "count whole all the same, above and for ever. Only the same task may still use them."
    )
    columns = (Column("Study", True), Column("Reserved", True), Column("Round"), Column("Steps"))
    rows = [_reservation(line) for line in certificate.open]
    return joined([tag("p", words), table("Open reservations", columns, rows)])


def _reservation(line: Line) -> Row:
    record = line.record
    return Row(record.study, [moment(line.time), number(record.round), number(record.steps)])


def limits(certificate: Certificate) -> Markup:
    """What the guarantee does not speak of."""
    return tag("ul", joined(tag("li", prose(item)) for item in certificate.limits), class_="limits")


def decisions(certificate: Certificate) -> Markup | None:
    """When people decided how the ledger goes on; None if they never had to."""
    if not certificate.decisions:
        return None
    words = (
        "The ledger was once not what had been written, or spending was added by hand. A person decided how "
        "to go on; all spending that could still be found counts whole."
    )
    columns = (Column("When", True), Column("By", True), Column("Why", True), Column("Set aside", True))
    rows = [
        Row(moment(each.time), [each.record.by, each.record.reason, each.record.aside or DASH])
        for each in certificate.decisions
    ]
    return joined([tag("p", words), table("Decisions", columns, rows)])


def evidence(certificate: Certificate, sha256: str) -> Markup:
    """What was looked at, and how it can be told from other certificates."""
    checked, holder = certificate.checked, certificate.holder
    entries = plural(checked.entries, "entry", "entries")
    span = f", {moment(certificate.first)} to {moment(certificate.last)}" if checked.entries else ""
    told = checked.told
    log = "" if told is None else f"; {number(told)} of them are in the audit log, which knows of no other"
    seen = fingerprints(certificate.spending.studies)
    facts: dict[str, Child] = {
        "Site": holder.site,
        "Cohort": holder.cohort,
        "Cohort as it is now": tag("code", holder.fingerprint) if holder.fingerprint else "removed",
        "States trained on": joined([tag("code", state) for state in seen], ", ") if seen else None,
        "Issued": moment(certificate.issued),
        "Ledger": entries + span,
        "Verified": f"each entry with the one before, the last with the head{log}",
        "Head of the ledger": tag("code", checked.head),
        "Taken over or added": plural(certificate.carried, "reservation") if certificate.carried else None,
        "Written by": ", ".join(f"Consilium {version}" for version in certificate.versions),
        "certificate.json (SHA-256)": tag("code", sha256),
    }
    return _facts("What this rests on", facts)


def signature() -> Markup:
    """Where a person signs."""
    return tag("div", joined(tag("p", words) for words in ("Name", "Date", "Signature")), class_="file")


def _facts(caption: str, facts: Mapping[str, Child]) -> Markup:
    rows = (
        tag("tr", tag("th", name, scope="row"), tag("td", value, class_="words"))
        for name, value in facts.items()
        if value
    )
    inner = tag("table", tag("caption", tag("span", caption)), tag("tbody", joined(rows)))
    return tag("div", inner, class_="scroll facts")
