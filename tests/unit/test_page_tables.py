"""Tables have headers for rows and columns, and hold what they were given."""

import pytest

from common.page.markup import tag
from common.page.tables import Column, Row, folded, table
from tests.unit.page_reader import EVIL, Page

COLUMNS = [Column("Site"), Column("Cases"), Column("Why", words=True)]


def test_headers_cells_and_notes() -> None:
    rows = [Row("oslo", ["3", "late"]), Row(EVIL, [tag("b", "4"), None], "total")]
    page = Page(table("Missed <rounds>", COLUMNS, rows, ["A note.", None, ""]))
    assert page.tables == [[["Site", "Cases", "Why"], ["oslo", "3", "late"], [EVIL, "4", ""]]]
    assert [a.get("scope") for a in page.all("th")] == ["col"] * 3 + ["row"] * 2
    assert [a.get("class") for a in page.all("td")] == [None, "words"] * 2
    assert [a.get("class") for a in page.all("tr")] == [None, None, "total"]
    assert page.all("div")[0]["aria-label"] == "Missed <rounds>"
    assert page.all("p") == [{"class": "note"}] and page.text.endswith("A note.")


@pytest.mark.parametrize("cells", [["3"], ["3", "late", "more"]])
def test_a_row_has_a_cell_for_every_column(cells: list[str]) -> None:
    with pytest.raises(ValueError, match="zip"):
        table("x", COLUMNS, [Row("oslo", cells)])


def test_what_is_folded_is_there_for_who_asks() -> None:
    assert folded("More", tag("p", "x")) == "<details><summary>More</summary><p>x</p></details>"
