"""The documents say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from client.dicom.geometry.findings import Irregularity
from client.dicom.outcomes import Kind, Reason
from common.errors import ConsiliumError
from common.study import STRATEGY_NAMES, load_study

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def _errors(root: type[ConsiliumError]) -> list[type[ConsiliumError]]:
    return [c for child in root.__subclasses__() for c in (child, *_errors(child))]


def test_every_error_code_is_documented_with_its_exit_status_and_hint() -> None:
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    coded = [error for error in _errors(ConsiliumError) if "code" in vars(error)]
    assert coded
    for error in coded:
        assert f"| `{error.code}` | {error.exit_code} | {error.public} | {error.hint} |" in page


@pytest.mark.parametrize("codes", [Reason, Kind], ids=["reasons", "kinds"])
def test_every_outcome_is_documented_with_its_hint(codes: type[Reason] | type[Kind]) -> None:
    page = (ROOT / "docs/dicom.md").read_text(encoding="utf-8")
    assert not [code for code in codes if f"| `{code.value}` | {code.hint} |" not in page]


def test_every_irregularity_is_documented() -> None:
    page = (ROOT / "docs/geometry.md").read_text(encoding="utf-8")
    assert not [code for code in Irregularity if f"| `{code.value}` |" not in page]


def test_every_strategy_is_documented() -> None:
    page = (ROOT / "docs/strategies.md").read_text(encoding="utf-8")
    assert set(STRATEGY_NAMES) == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_named_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:client|server|common|deploy|examples|docs)/[\w./-]*)`", page.read_text(encoding="utf-8")
    )
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.name)
def test_examples_are_valid_studies(example: Path) -> None:
    load_study(example)
