"""docs/cohorts.md describes ``policy.toml`` as it is: every key, its default, and codes that there are."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from client.cohorts.settings import POLICY_TEMPLATE, ConsentPolicy, Policy, PrivacyPolicy, StudyPolicy
from common.contract import METRICS
from common.errors import ConsiliumError

PAGE = (Path(__file__).parents[3] / "docs" / "cohorts.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## What the hospital allows")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*) \| (.*)\|$", SECTION, re.MULTILINE)
TABLES = ("privacy", "consent", "studies")


def keys() -> dict[str, object]:
    """Each key of the policy with its default."""
    kinds: tuple[type[BaseModel], ...] = (Policy, PrivacyPolicy, ConsentPolicy, StudyPolicy)
    fields = {name: field.default for kind in kinds for name, field in kind.model_fields.items()}
    return {name: default for name, default in fields.items() if name not in TABLES}


def test_every_key_has_a_row_and_no_other_has() -> None:
    assert sorted(name.removesuffix(".NAME") for name, *_ in ROWS) == sorted(keys())


@pytest.mark.parametrize(("name", "shown"), [(name, shown) for name, shown, *_ in ROWS])
def test_a_default_is_the_programs(name: str, shown: str) -> None:
    default = keys()[name.removesuffix(".NAME")]
    if default is None or default == {}:
        assert shown == "none"
    elif default == METRICS:
        assert shown == "all"
    else:
        written = list(default) if isinstance(default, tuple) else default
        assert json.loads(shown.strip("`")) == written


def test_the_codes_are_those_of_errors() -> None:
    codes = {code for *_, refused in ROWS for code in re.findall(r"`([a-z-]+)`", refused)}
    assert len(codes) == 7
    assert {ConsiliumError.of_code(code).code for code in codes} == codes


def test_the_strict_hospital_is_a_policy() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    policy = Policy.model_validate(tomllib.loads(example))
    assert policy.privacy.required and policy.consent.approvers == 2
    assert set(policy.studies.metrics) == {"test-loss", "confusion", "calibration", "score-histogram"}


def test_the_template_fits_on_a_screen() -> None:
    assert max(map(len, POLICY_TEMPLATE.splitlines())) <= 110
