"""The table of docs/reliability.md has all the cases that there are, and no others."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.faults.table import ROOT, Row, collected, rows_in

PLACES = (
    "tests/faults",
    "tests/integration/test_desk.py",
    "tests/integration/rounds/test_interrupted_tasks.py",
    "tests/integration/site_link/test_sessions.py",
)
"""Where the cases are; `make reliability` runs the same."""


class Collector:
    """Takes note of the cases, which are not run."""

    def __init__(self) -> None:
        self.rows = Counter[Row]()
        self.unsaid: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.rows = collected(session.items)
        faults = [item for item in session.items if item.nodeid.startswith("tests/faults/")]
        self.unsaid = [item.nodeid for item in faults if not collected([item])]


@pytest.fixture(scope="module")
def cases() -> Collector:
    found = Collector()
    arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *PLACES]
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(io.StringIO()) as told:
        assert pytest.main(arguments, plugins=[found]) == pytest.ExitCode.OK, told.getvalue()
    return found


def test_the_table_has_the_cases_that_there_are(cases: Collector) -> None:
    assert rows_in((ROOT / "docs/reliability.md").read_text(encoding="utf-8")) == cases.rows


def test_every_case_says_what_becomes_of_the_study(cases: Collector) -> None:
    assert cases.rows and not cases.unsaid


def test_the_command_tries_them_all() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert _tried(makefile.split()) == set(PLACES)


def _tried(words: Sequence[str]) -> set[str]:
    start = words.index("--reliability")
    return {word for word in words[start:] if word.startswith("tests/")}
