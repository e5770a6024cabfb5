"""What one look showed, with what to do about it: a line of a check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from common.errors import ConsiliumError, OutputUnwritable

Level = Literal["ok", "WARN", "FAIL", "-"]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do where nothing is wrong yet, or where nobody can say that it is.

    Attributes:
        code: A short word that stays the same, or an error's code.
        remedy: What to do.
    """

    code: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step showed.

    Attributes:
        step: Which.
        said: What was found, for the person at this machine.
        error: What is wrong; None if nothing is.
        advice: What to do although nothing is wrong; None if nothing.
        looked: Whether it was looked at; otherwise ``said`` says why not.
    """

    step: str
    said: str
    error: ConsiliumError | None = None
    advice: Advice | None = None
    looked: bool = True

    @classmethod
    def failed(cls, step: str, error: ConsiliumError) -> Finding:
        """A step that an error ended."""
        return cls(step, error.private, error)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; something may be advised."""
        return self.error is None

    @property
    def level(self) -> Level:
        """How bad it is; ``-`` for what was not looked at."""
        if self.error is not None:
            return "FAIL"
        if self.advice is not None:
            return "WARN"
        return "ok" if self.looked else "-"

    @property
    def code(self) -> str:
        """Of what is wrong or advised, or nothing."""
        return self.error.code if self.error else self.advice.code if self.advice else ""

    @property
    def remedy(self) -> str:
        """What to do about it, or nothing."""
        return self.error.hint if self.error else self.advice.remedy if self.advice else ""


@dataclass(frozen=True, slots=True)
class Section:
    """Findings that belong together.

    Attributes:
        name: What they are about.
        findings: In their order.
    """

    name: str
    findings: tuple[Finding, ...]


def taken(step: str, look: Callable[[], Finding | Iterable[Finding]]) -> tuple[Finding, ...]:
    """What a look showed; an error that ended it is what it showed.

    Args:
        step: What to call it, where it ends in an error.
        look: Gives one finding or several.
    """
    try:
        found = look()
        return (found,) if isinstance(found, Finding) else tuple(found)
    except ConsiliumError as error:
        return (Finding.failed(step, error),)
    except OSError as error:
        return (Finding.failed(step, OutputUnwritable(f"{error.filename}: {error.strerror}", hint=_FILES)),)


_FILES = "Run this as the user whom the home belongs to, and mend the permissions of the file named above."


def passed_over(because: str, *steps: str) -> tuple[Finding, ...]:
    """Steps that were not looked at, and why not."""
    return tuple(Finding(step, f"not looked at, because {because}", looked=False) for step in steps)


def first_failure(sections: Iterable[Section]) -> ConsiliumError | None:
    """What is wrong by the first step that failed; None if none did."""
    found = (finding.error for section in sections for finding in section.findings)
    return next((error for error in found if error is not None), None)
