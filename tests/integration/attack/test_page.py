"""The audit's page says what attack.json says, to everybody."""

from __future__ import annotations

from dataclasses import replace

from deploy.attack.attack import Audit
from deploy.attack.finding import Verdict
from deploy.attack.page import render
from tests.unit.page_reader import (
    EVIL,
    Page,
    check_can_be_read_without_eyes,
    check_policy_admits_only_its_style,
    check_reaches_for_nothing,
)


def test_the_page_is_safe_and_can_be_read_without_eyes(audit: Audit) -> None:
    page = render(audit)
    check_reaches_for_nothing(page)
    check_policy_admits_only_its_style(page)
    check_can_be_read_without_eyes(page)


def test_names_are_escaped(audit: Audit) -> None:
    page = render(replace(audit, site=EVIL))
    assert "<script" not in page and EVIL in Page(page).text


def test_every_attack_has_a_row_and_its_words(audit: Audit) -> None:
    page = Page(render(audit))
    assert [row[0] for row in page.tables[0][1:]] == [finding.attack for finding in audit.findings]
    for finding in audit.findings:
        assert finding.observed in page.text and finding.power in page.text


def test_the_verdict_stands_at_the_top(audit: Audit) -> None:
    broken = replace(audit.findings[0], verdict=Verdict.violated)
    page = render(replace(audit, findings=(broken, *audit.findings[1:])))
    for html, word in ((render(audit), "not violated"), (page, "violated")):
        assert f"{word}</span></p><h1>" in html
