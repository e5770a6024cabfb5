"""Markup escapes whatever is not markup already."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.page.markup import Markup, joined, prose, tag

# What HTML cannot hold, however escaped: NUL, lone surrogates; a carriage return is read as a line feed.
TEXT = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]))


class Reader(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(name)
        self.attributes |= dict(attrs)

    def handle_data(self, data: str) -> None:
        self.words += data


@given(TEXT, TEXT)
def test_text_and_attributes_come_out_as_they_went_in(text: str, title: str) -> None:
    read = Reader(tag("p", text, title=title))
    assert (read.names, read.words, read.attributes) == (["p"], text, {"title": title})


def test_text_is_escaped_and_markup_is_kept() -> None:
    assert tag("p", "a < b", title='"') == '<p title="&quot;">a &lt; b</p>'
    assert tag("p", Markup("<i>x</i>"), None, hidden=True, id=None) == "<p hidden><i>x</i></p>"
    assert joined(["<", Markup("<br>")], " & ") == "&lt; &amp; <br>"


@pytest.mark.parametrize(
    ("made", "html"),
    [
        (tag("img", src="data:,", alt=""), '<img src="data:," alt="">'),
        (tag("meta", http_equiv="x"), '<meta http-equiv="x">'),
        (tag("rect", width=10, height=2.04, rx=2.0), '<rect width="10" height="2" rx="2"/>'),
        (tag("rect", tag("title", "x")), "<rect><title>x</title></rect>"),
        (tag("p", class_="note", hidden=False), '<p class="note"></p>'),
    ],
)
def test_elements(made: Markup, html: str) -> None:
    assert made == html


def test_commands_between_backticks_become_code() -> None:
    assert prose("Run `a < b` now") == "Run <code>a &lt; b</code> now"
