"""The table of docs/reliability.md: what goes wrong, what becomes of the study, and whether it did.

A test says it with ``@pytest.mark.fault("what goes wrong", "what becomes of the study")``. Cases that say the
same are one row. Run with ``--reliability PAGE``, the tests write the table between two marks of that page: a
row with a case that failed, or that could not be tried, says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

OPTION = "--reliability"
MARK, PROPERTY = "fault", "consilium-fault"
BEGIN, END = "<!-- cases: `make reliability` writes them -->", "<!-- end of the cases -->"
HEAD = ("What goes wrong", "What becomes of the study", "Cases", "Tried by", "Seconds")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """What cases say that are tried together.

    Attributes:
        file: Where they are, from the root of the repository.
        what: What goes wrong.
        becomes: What becomes of the study.
        slow: Whether they are left out of `make check`.
    """

    file: str
    what: str
    becomes: str
    slow: bool


@dataclass
class Tried:
    """What came of a row's cases."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    why: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        """How many passed of how many, and what is wrong with the others."""
        told = [f"{self.passed} of {self.passed + self.failed + self.skipped} passed"]
        if self.failed:
            told.append(f"**{self.failed} failed**")
        if self.skipped:
            told.append(f"{self.skipped} not tried: {'; '.join(sorted(self.why))}")
        return ", ".join(told)


def row_of(item: pytest.Item) -> Row | None:
    """The row that a test is a case of; None for one that is of none."""
    mark = item.get_closest_marker(MARK)
    if mark is None:
        return None
    what, becomes = mark.args
    file = item.path.relative_to(ROOT).as_posix()
    return Row(file, what, becomes, item.get_closest_marker("slow") is not None)


def collected(items: Iterable[pytest.Item]) -> Counter[Row]:
    """How many cases each row has."""
    return Counter(row for item in items if (row := row_of(item)) is not None)


def table_of(tried: Mapping[Row, Tried]) -> str:
    """The table."""
    lines = [HEAD, ["---"] * len(HEAD)]
    for row, found in sorted(tried.items()):
        seconds = f"{math.ceil(found.seconds)}{', slow' if row.slow else ''}"
        lines.append((row.what, row.becomes, str(found), f"`{row.file}`", seconds))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def rows_in(page: str) -> Counter[Row]:
    """The rows of a page's table, each with how many cases it tells of."""
    found = Counter[Row]()
    _, _, rest = page.partition(BEGIN)
    for line in rest.partition(END)[0].strip().splitlines()[2:]:
        what, becomes, told, file, seconds = (cell.strip() for cell in line.strip("|").split(" | "))
        found[Row(file.strip("`"), what, becomes, seconds.endswith("slow"))] = int(told.split()[2])
    return found


def with_table(page: str, table: str) -> str:
    """A page with another table between its two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise pytest.UsageError(f"the page has no place for a table: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


class Reporter:
    """Writes down what comes of each case, wherever it runs; of several processes, the one that is asked.

    Args:
        page: What the table is written to in the end; None for nothing.
    """

    def __init__(self, page: Path | None) -> None:
        self.page = page
        self.tried: dict[Row, Tried] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Have each case carry its row, to the process that reports."""
        for item in items:
            if (row := row_of(item)) is not None:
                item.user_properties.append((PROPERTY, [row.file, row.what, row.becomes, row.slow]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of a step of a case."""
        told = dict(report.user_properties).get(PROPERTY)
        if not isinstance(told, list):
            return
        found = self.tried.setdefault(Row(*told), Tried())
        found.seconds += report.duration
        if report.failed:
            found.failed += 1
            found.passed -= report.when == "teardown"
        elif report.skipped:
            found.skipped += 1
            found.why.add(str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr))
        elif report.when == "call":
            found.passed += 1

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        if self.page is not None and self.tried:
            text = self.page.read_text(encoding="utf-8")
            self.page.write_text(with_table(text, table_of(self.tried)), encoding="utf-8")
