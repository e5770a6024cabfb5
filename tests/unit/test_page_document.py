"""The shell of every page is safe, self-contained and accessible, and all pages have one look."""

import re
import subprocess
import sys
from importlib import resources

import pytest

from common.page.document import document, section
from common.page.drawings import drawing, ornament
from common.page.header import KeyFigure, Standing, badge, header, key_figures
from common.page.markup import tag
from tests.unit.page_reader import (
    EVIL,
    Page,
    check_can_be_read_without_eyes,
    check_policy_admits_only_its_style,
    check_reaches_for_nothing,
    style_of,
)

PAGES = ["server.report", "client.cohorts.quality"]


def page(package: str = PAGES[0], words: str = "x") -> str:
    top = header(words, badge(words, Standing.good), words, words, key_figures([KeyFigure(words, words)]))
    drawn = drawing("d", words, words, (24, 9.5), tag("rect", width=2, height=2)), ornament((12, 4), kind="k")
    parts = [section("a", words, drawn[0]), section("b", words, drawn[1]), section("c", words, None)]
    return document(words, top, parts, [words], skip=words, package=package)


@pytest.mark.parametrize("package", PAGES)
class TestShell:
    def test_reaches_for_nothing(self, package: str) -> None:
        check_reaches_for_nothing(page(package))

    def test_policy_admits_only_its_style(self, package: str) -> None:
        check_policy_admits_only_its_style(page(package))

    def test_can_be_read_without_eyes(self, package: str) -> None:
        check_can_be_read_without_eyes(page(package))

    def test_the_rules_of_all_pages_come_first(self, package: str) -> None:
        sheets = [resources.files(name) / "style.css" for name in ("common.page", package)]
        assert style_of(page(package)) == "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)

    def test_every_colour_is_known_in_light_and_in_dark(self, package: str) -> None:
        style = style_of(page(package))
        light, dark = (set(re.findall(r"(--[\w-]+):", part)) for part in style.split("@media screen", 1))
        assert light == dark and set(re.findall(r"var\((--[\w-]+)\)", style)) <= light

    def test_no_rule_is_written_twice(self, package: str) -> None:
        rules = re.findall(r"[^\s{}][^{}]*\{[^{}]*\}", style_of(page(package)))
        assert len(rules) == len(set(rules)) > 50

    def test_what_comes_from_data_is_escaped(self, package: str) -> None:
        html = page(package, EVIL)
        assert "<script" not in html and Page(html).text.count(EVIL) > 8


def test_a_section_without_content_is_left_away() -> None:
    assert section("c", "Nothing", None) is None
    assert Page(page()).ids == ["content", "a", "a-heading", "d-title", "d-words", "b", "b-heading"]


def test_the_first_link_leads_past_the_header() -> None:
    read = Page(page(words="Skip"))
    first = read.elements[[name for name, _ in read.elements].index("body") + 1]
    assert first == ("a", {"href": "#content", "class": "skip"})
    assert read.all("main") == [{"id": "content"}]


@pytest.mark.parametrize("standing", list(Standing))
def test_a_badge_has_a_colour_of_its_own(standing: Standing) -> None:
    assert badge("so", standing) == f'<span class="status {standing}">so</span>'
    rule = ".status {" if standing is Standing.warn else f".status.{standing} {{"
    assert rule in style_of(page())


def test_small_print_is_left_away_where_there_is_none() -> None:
    assert "<small>" not in key_figures([KeyFigure("Cases", "3")])
    assert "<dd>3<small>of 4</small></dd>" in key_figures([KeyFigure("Cases", "3", "of 4")])


def test_drawings_keep_their_proportions() -> None:
    shapes = Page(page()).all("svg")
    assert [shape["viewbox"] for shape in shapes] == ["0 0 24 9.5", "0 0 12 4"]
    assert (shapes[1]["width"], shapes[1]["height"]) == ("12", "4")


def test_pages_start_fast() -> None:
    code = "import sys, common.page.document, common.page.header, common.page.tables, common.page.wording;"
    code += " sys.exit(bool({'torch', 'numpy', 'server', 'client'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
