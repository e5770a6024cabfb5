"""What a browser would make of a page, and what every page must be: safe, self-contained, accessible."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise

EVIL = '<script>alert("x")</script>&\'"'
VOID = {"meta", "link", "br", "img"}
ACTIVE = {"script", "iframe", "object", "embed", "form"}

Attributes = dict[str, str | None]


class Page(HTMLParser):
    """Text, elements and tables of a page in which every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, Attributes]] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attrs)))
        if name not in VOID:
            self.open.append(name)
        if name == "table":
            self.tables.append([])
        elif name == "tr":
            self.tables[-1].append([])
        elif name in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attrs)))

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def all(self, name: str) -> list[Attributes]:
        return [attributes for element, attributes in self.elements if element == name]

    @property
    def ids(self) -> list[str | None]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def style_of(html: str) -> str:
    """The one style sheet of a page."""
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    return str(style)


def check_reaches_for_nothing(html: str) -> None:
    """Nothing is fetched and nothing can run."""
    page = Page(html)
    assert not ACTIVE & {name for name, _ in page.elements}
    links = [a[key] or "" for _, a in page.elements for key in ("src", "href", "xlink:href") if key in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not [word for word in ("http://", "https://", "url(", "@import") if word in html]
    assert not any(key.startswith("on") or key == "style" for _, a in page.elements for key in a)


def check_policy_admits_only_its_style(html: str) -> None:
    """The content security policy forbids everything but pictures in the page and its own style sheet."""
    digest = base64.b64encode(hashlib.sha256(style_of(html).encode()).digest()).decode()
    (policy,) = [a["content"] for a in Page(html).all("meta") if "http-equiv" in a]
    assert policy is not None
    assert f"'sha256-{digest}'" in policy and "default-src 'none'" in policy and "unsafe" not in policy


def check_can_be_read_without_eyes(html: str) -> None:
    """Everything has a name, every link leads somewhere, and headings descend one level at a time."""
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert {a["href"] for a in page.all("a")} <= {f"#{i}" for i in page.ids}
    assert page.all("html") == [{"lang": "en"}]
    assert all(picture.get("alt") for picture in page.all("img"))
    for drawing in page.all("svg"):
        named = drawing.get("aria-label") or drawing.get("aria-labelledby") in page.ids
        assert drawing.get("aria-hidden") == "true" or (drawing.get("role") == "img" and named)
        assert drawing.get("aria-describedby") in [None, *page.ids]
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
