"""What a data manager sees of a cohort on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from client.dicom.outcomes import Outcome, hint_of

if TYPE_CHECKING:
    from client.cohorts.aside import LeftOut
    from client.cohorts.inspection import Moved
    from client.cohorts.overview import Overview

MOST_FILES = 20
MEANING = {
    Outcome.case: "in a case",
    Outcome.other: "known, no picture to train on",
    Outcome.duplicate: "duplicates",
    Outcome.quarantined: "in quarantine",
}


def show_cohort(found: Overview, aside: Sequence[LeftOut] = (), moved: Moved | None = None) -> None:
    """One cohort: its files, its cases, what was left out and why."""
    console = _console()
    console.print(Text(f"cohort {found.cohort}: cases are {found.sequence}"))
    if found.variables:
        console.print(Text(f"  {len(found.variables):>6}  variables: {', '.join(found.variables)}"))
    _files(console, found)
    _cases(console, found)
    for count, what in _remarks(found):
        console.print(Text(f"  {count:>6}  {what}"))
    if moved is not None:
        _moved(console, moved)
    _quarantine(console, aside)
    if found.trouble is None:
        console.print(Text("It can be used: ", style="green") + Text(f"--cohort SITE={found.cohort}"))
    else:
        console.print(Text.assemble(("It cannot be used: ", "bold red"), found.trouble.private))
        console.print(Text.assemble(("hint  ", "bold green"), found.trouble.hint))


def show_cohorts(found: Sequence[Overview]) -> None:
    """Every cohort in a line."""
    console = _console()
    if not found:
        console.print("no cohort yet; make one with `consilium site cohort add`")
        return
    table = _table("cohort", "cases are", "cases", "patients", "quarantine", "state")
    for each in found:
        cases = sum(sum(counts.values()) for counts in each.cases.values())
        share = f"{each.files['quarantined']} of {each.files['seen']}"
        state = "usable" if each.trouble is None else each.trouble.code
        table.add_row(each.cohort, each.sequence, str(cases), str(each.patients), share, state)
    console.print(table)


def show_left_out(reasons: Mapping[str, int]) -> None:
    """Reasons with their hints."""
    console = _console()
    for reason, files in reasons.items():
        console.print(Text(f"  {files:>6}  {reason:<22}{hint_of(reason)}"))


def _files(console: Console, found: Overview) -> None:
    console.print(Text(f"  {found.files['seen']:>6}  files seen"))
    for outcome in Outcome:
        console.print(Text(f"  {found.files[outcome]:>6}    {MEANING[outcome]}"))
        counts = {Outcome.other: found.other, Outcome.quarantined: found.quarantined}.get(outcome, {})
        for why, files in counts.items():
            console.print(Text(f"  {files:>6}      {why:<22}{hint_of(why)}"))
    if found.pixels["with_pixels"]:
        decoded = found.pixels["decoded"]
        console.print(
            Text(f"  {decoded:>6}  of {found.pixels['with_pixels']} files with pixels were decoded")
        )


def _cases(console: Console, found: Overview) -> None:
    table = _table("cases", *(label for label in _labels(found)))
    for split, counts in found.cases.items():
        table.add_row(split, *(str(counts.get(label, 0)) for label in _labels(found)))
    if found.cases:
        console.print(table)
    console.print(Text(f"  {found.patients:>6}  patients"))


def _labels(found: Overview) -> list[str]:
    return sorted({label for counts in found.cases.values() for label in counts})


def _remarks(found: Overview) -> list[tuple[int, str]]:
    irregular = [(count, f"cases with {code}") for code, count in found.irregular.items()]
    return [*irregular, *((count, what) for what, count in found.notes.items())]


def _moved(console: Console, moved: Moved) -> None:
    console.print(Text(f"  {moved.newest:>6}  cases since the last intake, against {moved.before} before:"))
    for shift in moved.shifts:
        console.print(
            Text(f"          {shift.what:<12}{shift.measure} {shift.value:.2f}  {shift.level.value}")
        )


def _quarantine(console: Console, aside: Sequence[LeftOut]) -> None:
    held = [item for item in aside if item.outcome == Outcome.quarantined]
    for item in held[:MOST_FILES]:
        console.print(Text.assemble((f"  {item.why:<22}", "yellow"), item.name))
    if len(held) > MOST_FILES:
        console.print(Text(f"  and {len(held) - MOST_FILES} more; --json names them all"))


def _console() -> Console:
    return Console(highlight=False, markup=False, soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(Text(heading), justify="left" if index == 0 else "right")
    return table
