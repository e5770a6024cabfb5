"""The table of attacks in the documents names what is tested, and everything that is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from common.errors import ConsiliumError

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "threat-model.md"
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
CODE = re.compile(r"`([a-z-]+)`")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if NAMED.search(line)
]


def codes(root: type[ConsiliumError] = ConsiliumError) -> set[str]:
    """The codes of all errors."""
    return {root.code}.union(*(codes(child) for child in root.__subclasses__()))


def made_attacks() -> set[tuple[str, str]]:
    """File and name of each test of this folder, but for those of this file."""
    found = set()
    for path in HERE.glob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = (each.name for each in tree.body if isinstance(each, ast.FunctionDef))
        found |= {(path.name, name) for name in names if name.startswith("test_")}
    return {(file, name) for file, name in found if file != Path(__file__).name}


def test_there_is_a_table() -> None:
    assert len(ROWS) > 50


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_row_names_a_code_and_a_test_that_asserts_it(row: list[str]) -> None:
    attack, refused, by = row
    named = CODE.findall(refused)
    assert attack and set(named) <= codes()
    assert named or refused.startswith("none")
    assert set(NAMED.findall(by)) <= made_attacks()
    assert NAMED.sub("", by).strip(", ") == ""
    source = "".join((HERE / file).read_text(encoding="utf-8") for file, _ in NAMED.findall(by))
    assert all(f'"{code}"' in source or f'"{code}: ' in source for code in named)


def test_every_attack_is_in_the_table() -> None:
    described = {test for row in ROWS for test in NAMED.findall(row[2])}
    assert made_attacks() - described == {("test_daemons.py", "test_the_logs_of_all_three_are_whole")}
