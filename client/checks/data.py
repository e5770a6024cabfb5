"""Whether the site's data is ready: its cohorts, the privacy that is left of each, what was agreed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from client.cohorts.cohort import open_cohorts
from client.cohorts.home import Home
from client.cohorts.overview import Overview, overview
from client.consent import Consents
from client.consent.check import require_code
from client.consent.standing import Standing
from client.ledger import Spending
from common.checks import Advice, Finding, taken
from common.errors import BudgetSpent, ConsiliumError

LOW = 0.1
"""Share of a budget below which little is left."""

_ADD = "Take pictures or a table in: `consilium site cohort add NAME --dicom DIR`."
_LOW = "See `consilium site ledger show`; a study that needs more than is left is refused."


@dataclass(frozen=True, slots=True)
class Study:
    """A contract that was proposed, and how it stands.

    Attributes:
        digest: The contract's.
        name: The study's.
        standing: How it stands.
    """

    digest: str
    name: str
    standing: Standing


def studies(consents: Consents, now: datetime) -> tuple[Study, ...]:
    """Every contract that was received.

    Raises:
        AuditBroken, HomeInvalid: Nobody can say how they stand.
    """
    known = consents.known()
    return tuple(Study(digest, name, consents.state(digest, now)) for digest, name in known.items())


def overviews(home: Home) -> tuple[Overview, ...]:
    """Every cohort in counts.

    Raises:
        HomeInvalid, CaseCorrupt: What is there cannot be read.
    """
    return tuple(overview(cohort, home.policy.quarantine_limit) for cohort in open_cohorts(home))


def cohorts(found: tuple[Overview, ...], in_use: frozenset[str]) -> Iterator[Finding]:
    """Whether each cohort can be trained on.

    Args:
        found: All of them.
        in_use: Those that a study was approved for: one of these that cannot be used is a failure, as is
            the only one that there is.
    """
    if not found:
        yield Finding("cohort", "there is none", advice=Advice("no-cohort", _ADD))
    usable = any(each.trouble is None for each in found)
    for each in found:
        step = f"cohort {each.cohort}"
        if each.trouble is None:
            yield Finding(step, cases_of(each))
        elif each.cohort in in_use or not usable:
            yield Finding.failed(step, each.trouble)
        else:
            yield Finding(step, each.trouble.private, advice=Advice(each.trouble.code, each.trouble.hint))


def cases_of(found: Overview) -> str:
    """How many cases of how many patients a cohort has, and what was left out."""
    splits = ", ".join(f"{sum(labels.values())} {split}" for split, labels in found.cases.items())
    aside = sum(found.quarantined.values())
    left_out = f"; {aside} of {found.files['seen']} files in quarantine" if aside else ""
    return f"{splits} cases of {found.patients} patients{left_out}"


def agreed(consents: Consents, found: tuple[Study, ...]) -> Iterator[Finding]:
    """Whether what was approved can run with the code that is installed, and what waits for a decision."""
    open_ones = [each for each in found if each.standing.status in ("proposed", "approved")]
    if not open_ones:
        yield Finding("studies", "none was proposed that still holds")
    for each in open_ones:
        yield from taken(f"study {each.name}", partial(_one, consents, each))


def _one(consents: Consents, study: Study) -> Finding:
    step, contract = f"study {study.name}", consents.contract(study.digest)
    until = f"contract {study.digest[:12]} until {contract.expires[:10]}"
    said = f"{study.standing.status}, {until}"
    if study.standing.status == "approved":
        said = f"approved for cohort {study.standing.cohort}, {until}"
    try:
        require_code(contract)
    except ConsiliumError as error:
        return Finding(step, f"{said}; {error.private}", advice=Advice(error.code, error.hint))
    return Finding(step, said)


def budgets(home: Home) -> Iterator[Finding]:
    """What private training has left of each cohort.

    Raises:
        AuditBroken: Nobody can say of which cohorts something was spent.
    """
    names = home.ledgers()
    if not names:
        yield Finding("budget", "nothing was spent of any cohort yet")
    for name in names:
        yield from taken(f"budget {name}", partial(_spent, home, name))


def _spent(home: Home, cohort: str) -> Finding:
    return judged_budget(cohort, home.ledger(cohort).spent())


def judged_budget(cohort: str, spent: Spending) -> Finding:
    """Whether enough privacy of a cohort is left."""
    step, left, budget = f"budget {cohort}", spent.left, spent.budget
    if left is None or budget is None:
        return Finding(step, f"epsilon {spent.epsilon:.3g} spent, no budget")
    said = f"epsilon {spent.epsilon:.3g} of {budget.epsilon:g} spent, {left:.3g} left"
    if left <= 0.0:
        return Finding(step, said, advice=Advice(BudgetSpent.code, BudgetSpent.hint))
    if left < LOW * budget.epsilon:
        return Finding(step, said, advice=Advice("budget-low", _LOW))
    return Finding(step, said)
