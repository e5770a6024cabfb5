"""Which subgroups of its test cases a site tells, and which it keeps so that none is worked out."""

from __future__ import annotations

import pytest

from client.manifest import Row
from client.sources import Entry
from client.subgroups import told_subgroups


def entries(*groups: tuple[int, dict[str, str]]) -> list[Entry]:
    """So many patients, one case each, of each group."""
    item = Row("a.png", "elm", "p", "test", "0", 1)
    found: list[Entry] = []
    for count, names in groups:
        found += [Entry(str(len(found) + n), "test", "0", "", item, names) for n in range(count)]
    return found


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        pytest.param({"F": 12, "M": 10}, {"F", "M"}, id="all are large"),
        pytest.param({"F": 12, "M": 9}, set(), id="the small one would be what is left"),
        pytest.param({"F": 12, "M": 11, "X": 3}, {"F"}, id="the smallest other one is hidden too"),
        pytest.param({"F": 12, "M": 11, "X": 6, "": 5}, {"F", "M"}, id="two small ones hide each other"),
        pytest.param({"F": 12, "": 15}, {"F", "not known"}, id="what is not known is a group"),
        pytest.param({"": 15}, {"not known"}, id="nothing is known"),
        pytest.param({"": 9}, set(), id="nothing is known of few"),
    ],
)
def test_small_groups_stay(sizes: dict[str, int], told: set[str]) -> None:
    cases = entries(*((count, {"sex": name} if name else {}) for name, count in sizes.items()))
    assert set(told_subgroups(cases, ["sex"], 10).get("sex", {})) == told


def test_a_kind_that_gives_few_patients_away_beside_another_is_left_out() -> None:
    cases = entries(
        (20, {"sex": "F", "scanner": "one"}),
        (20, {"sex": "M", "scanner": "two"}),
        (2, {"sex": "M", "scanner": "one"}),  # all on scanner one, less all women
    )
    assert set(told_subgroups(cases, ["sex", "scanner"], 10)) == {"sex"}
    assert set(told_subgroups(cases, ["scanner", "sex"], 10)) == {"scanner"}
    assert set(told_subgroups(cases, ["sex", "scanner"], 2)) == {"sex", "scanner"}


def test_patients_count_and_not_their_pictures() -> None:
    few = [Entry("one", "test", "0", "", Row("a.png", "elm", "p", "test", "0", 1), {"sex": "F"})] * 50
    assert told_subgroups(few, ["sex"], 2) == {}


def test_no_more_than_sixteen_are_told() -> None:
    cases = entries(*((10, {"scanner": f"s{number:02d}"}) for number in range(40)))
    assert len(told_subgroups(cases, ["scanner"], 10)["scanner"]) == 16
