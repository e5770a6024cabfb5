"""What a data protection officer files: what a cohort's patients are guaranteed, and what it rests on.

It holds names of studies, digests and noise figures, and no patient's data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from client.ledger.book import Accepting, Line
from client.ledger.guarantee import DELTAS, FALSE_ALARMS, recognised
from client.ledger.ledger import Checked, Ledger
from client.ledger.records import Carried
from client.ledger.spending import Spending, StudySpending
from client.ledger.task import Unit
from common import __version__
from common.page.wording import plural

FORMAT = 1
NEIGHBOURS = "Two cohorts are neighbours if one of them has one unit more than the other, and else the same."
MECHANISM = (
    "In each step units are drawn independently, each with the sample rate. What each contributes (its "
    "gradient, or its counts) is clipped, and Gaussian noise is added to the sum, of the noise multiplier "
    "times the clip norm (DP-SGD, Abadi et al. 2016)."
)
NOT_COVERED = (
    "Counts that are sent as they are: of cases and patients, by label, when a study begins.",
    "Counts from evaluation, unless the study pays for noise on them; then they stand above as evaluation.",
    "Studies that train without differential privacy. The hospital can rule them out in policy.toml: "
    "[privacy] required = true.",
    "The same patients in another cohort, or in another hospital: each ledger adds up one cohort only.",
    "What is true of patients in general. A model may tell that a sign goes with a disease, and so say "
    "something of people who never were in the cohort.",
    "Anything else that leaves the hospital: pictures, reports, publications, the cohort summary.",
    "Defects of the software, noise that was not secret, and a ledger of which every copy was rewritten.",
)
_OF_IMAGES = (
    "Where the unit is the image: for a patient with k images the epsilon of that study is k times as large "
    "(group privacy), and delta grows too."
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose certificate it is.

    Attributes:
        site: The site's name.
        cohort: The cohort's.
        fingerprint: The state that the cohort has now; empty where it was removed.
        patients: How many it has now; None where it was removed.
    """

    site: str
    cohort: str
    fingerprint: str = ""
    patients: int | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A ledger at one moment, added up.

    Attributes:
        holder: Whose it is.
        issued: When, ISO 8601.
        spending: What it adds up to.
        open: Reservations that were never settled.
        decisions: Those of people about this ledger.
        checked: What it was compared with.
        first: When its first entry was made; empty for none.
        last: When its last one was.
        versions: Each Consilium that wrote in it.
        carried: Reservations taken over from ledgers that were set aside, or added by a person.
        bounds: Shares of wrong suspicions, each with the share that is recognised at most.
    """

    holder: Holder
    issued: str
    spending: Spending
    open: tuple[Line, ...]
    decisions: tuple[Accepting, ...]
    checked: Checked
    first: str
    last: str
    versions: tuple[str, ...]
    carried: int
    bounds: tuple[tuple[float, float], ...]

    @property
    def units(self) -> tuple[Unit, ...]:
        """Whose presence is hidden: that of a patient, where nothing else was spent."""
        return tuple(sorted({study.unit for study in self.spending.studies})) or ("patient",)

    @property
    def protected(self) -> str:
        """The unit in a sentence."""
        return " or ".join(reversed(self.units))

    @property
    def limits(self) -> tuple[str, ...]:
        """What the guarantee does not speak of."""
        lost = sum(each.record.lost for each in self.decisions)
        words = (
            f"{plural(lost, 'line')} of an earlier ledger that could not be found again, at least. A person "
        )
        return (
            *NOT_COVERED,
            *([_OF_IMAGES] if "image" in self.units else []),
            *([f"{words}may have added what they spent."] if lost else []),
        )

    def to_dict(self) -> dict[str, Any]:
        """As ``certificate.json`` has it."""
        return {
            "certificate": FORMAT,
            "issued_at": self.issued,
            "consilium": __version__,
            "site": self.holder.site,
            "cohort": {
                "name": self.holder.cohort,
                "fingerprint": self.holder.fingerprint or None,
                "patients": self.holder.patients,
            },
            "guarantee": self._guarantee(),
            "studies": [study_document(study) for study in self.spending.studies],
            "open_reservations": [line_document(line) for line in self.open],
            "decisions": [{"time": each.time, **each.record.model_dump()} for each in self.decisions],
            "ledger": {
                **asdict(self.checked),
                "first": self.first or None,
                "last": self.last or None,
                "versions": list(self.versions),
                "carried": self.carried,
            },
            "not_covered": list(self.limits),
        }

    def _guarantee(self) -> dict[str, Any]:
        spent = self.spending
        return {
            "epsilon": finite(spent.epsilon),
            "delta": spent.delta,
            "accountant": spent.budget.accountant if spent.budget else "prv",
            "budget": asdict(spent.budget) if spent.budget else None,
            "left": finite(spent.left),
            "units": list(self.units),
            "neighbouring": NEIGHBOURS,
            "mechanism": MECHANISM,
            "recognised_at_most": [
                {"false_alarms": share, "recognised": bound} for share, bound in self.bounds
            ],
        }


def certify(ledger: Ledger, holder: Holder, issued: str) -> Certificate:
    """The ledger's certificate.

    Raises:
        LedgerBroken, LedgerRolledBack, AuditBroken: It is not the ledger that was written.
    """
    book, checked = ledger.examine()
    book.require_running()  # what a coordinator remembers would be missing in it
    curve = ledger.curve(book, DELTAS)
    return Certificate(
        holder=holder,
        issued=issued,
        spending=ledger.add_up(book),
        bounds=tuple((share, recognised(curve, share)) for share in FALSE_ALARMS),
        open=tuple(line for line in book.lines if line.is_open),
        decisions=book.decisions,
        checked=checked,
        first=book.entries[0].time if book.entries else "",
        last=book.entries[-1].time if book.entries else "",
        versions=book.versions,
        carried=sum(isinstance(line.record, Carried) for line in book.lines),
    )


def study_document(study: StudySpending) -> dict[str, Any]:
    """What a study has spent, as JSON has it."""
    return {
        **asdict(study),
        "fingerprints": list(study.fingerprints),
        "events": [asdict(event) for event in study.events],
        "epsilon": finite(study.epsilon),
        "steps": study.steps,
    }


def line_document(line: Line) -> dict[str, Any]:
    """A reservation, as JSON has it."""
    return {"reserved_at": line.time, **line.record.model_dump()}


def finite(value: float | None) -> float | None:
    """A number that JSON can hold; None for infinity."""
    return value if value is not None and math.isfinite(value) else None


def fingerprints(studies: Iterable[StudySpending]) -> tuple[str, ...]:
    """Every state of the cohort that was trained on, in order."""
    return tuple(dict.fromkeys(state for study in studies for state in study.fingerprints if state))
