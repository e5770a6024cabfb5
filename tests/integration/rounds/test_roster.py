"""The coordinator knows nodes by the names they give themselves; a name belongs to one node at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import MessageType

from client.site import Site
from common.study import Study
from server.roster import Roster, gather, reasons

MakeGrid = Callable[..., Any]
MakeSite = Callable[..., Site]
QUERY = MessageType.QUERY


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study()


def test_sites_are_known_by_name(grid_of: MakeGrid, study: Study) -> None:
    roster = gather(grid_of(), study, 4, 1.0)
    assert roster.nodes == {"alder": 1, "birch": 2, "cedar": 3, "dogwood": 4}
    assert roster.descriptions["cedar"].train_cases == 10
    assert roster.refused == {}
    assert roster.label_counts() == [3 + 4 + 5 + 3, 3 + 4 + 5 + 2]


def test_nobody_is_asked_twice(grid_of: MakeGrid, study: Study) -> None:
    grid = grid_of()
    roster = gather(grid, study, 4, 1.0)
    roster.refresh(grid, study, 1.0)
    assert len(grid.asked) == 4


def test_gathering_waits_for_the_expected_number(grid_of: MakeGrid, site_of: MakeSite, study: Study) -> None:
    grid = grid_of(site_of("alder"))
    newcomer = threading.Timer(0.3, lambda: grid.join(2, site_of("birch")))
    newcomer.start()
    began = time.monotonic()
    roster = gather(grid, study, 2, 10.0)
    newcomer.join()
    assert 0.25 < time.monotonic() - began < 8.0
    assert set(roster.nodes) == {"alder", "birch"}


def test_gathering_goes_on_with_who_is_there(grid_of: MakeGrid, site_of: MakeSite, study: Study) -> None:
    began = time.monotonic()
    roster = gather(grid_of(site_of("alder")), study, 2, 0.3)
    assert 0.3 <= time.monotonic() - began < 5.0
    assert set(roster.nodes) == {"alder"}


def test_a_site_that_refuses_is_left_out_with_its_reason(
    grid_of: MakeGrid, make_study: Callable[..., Study]
) -> None:
    roster = gather(grid_of(), make_study(data={"min_cases": 6}), 4, 1.0)
    assert set(roster.nodes) == {"alder", "birch", "cedar"}
    assert {site: refusal.code for site, refusal in roster.refused.items()} == {"dogwood": "site-too-small"}
    told = reasons(roster.refused)
    assert told["dogwood"].startswith("site-too-small: A site has fewer cases")


def test_nodes_come_and_go(grid_of: MakeGrid, site_of: MakeSite, study: Study) -> None:
    grid = grid_of(site_of("alder"), site_of("birch"))
    roster = gather(grid, study, 2, 1.0)
    grid.leave("birch")
    grid.join(7, site_of("cedar"))
    roster.refresh(grid, study, 1.0)
    assert roster.nodes == {"alder": 1, "cedar": 7}
    assert set(roster.descriptions) == {"alder", "birch", "cedar"}
    grid.join(9, site_of("birch"))
    roster.refresh(grid, study, 1.0)
    assert roster.nodes == {"alder": 1, "birch": 9, "cedar": 7}
    assert [site for _, site in grid.asked] == ["alder", "birch", "cedar", "birch"]


def test_a_node_that_was_away_is_asked_anew(
    grid_of: MakeGrid, site_of: MakeSite, make_study: Callable[..., Study]
) -> None:
    study, grid = make_study(data={"min_cases": 6}), grid_of(site_of("alder"), site_of("dogwood"))
    roster = gather(grid, study, 2, 1.0)
    assert list(roster.refused) == ["dogwood"]
    grid.leave("dogwood")
    roster.refresh(grid, study, 1.0)
    grid.join(2, site_of("birch"))
    roster.refresh(grid, study, 1.0)
    assert roster.nodes == {"alder": 1, "birch": 2}


@pytest.mark.parametrize("order", range(3))
def test_a_second_node_with_a_name_is_left_out(
    grid_of: MakeGrid, site_of: MakeSite, study: Study, order: int
) -> None:
    grid = grid_of(site_of("alder"), site_of("birch"), site_of("birch"), order=order)
    roster = gather(grid, study, 3, 1.0)
    assert set(roster.nodes) == {"alder", "birch"}
    assert roster.nodes["birch"] in (2, 3)
    left_out = 5 - roster.nodes["birch"]
    assert {s: r.code for s, r in roster.refused.items()} == {f"birch (node {left_out})": "site-twice"}


def test_the_second_node_comes_in_when_the_first_is_gone(
    grid_of: MakeGrid, site_of: MakeSite, study: Study
) -> None:
    grid = grid_of(site_of("alder"), site_of("birch"), site_of("birch"))
    roster = gather(grid, study, 3, 1.0)
    first = roster.nodes["birch"]
    del grid.sites[first]
    roster.refresh(grid, study, 1.0)
    assert roster.nodes == {"alder": 1, "birch": 5 - first}
    assert roster.refused == {}


def test_a_site_whose_first_answer_was_lost_is_asked_again(
    grid_of: MakeGrid, faults: Any, study: Study
) -> None:
    grid = grid_of(faults={"cedar": faults.lost(QUERY)})
    roster = Roster()
    roster.refresh(grid, study, 0.1)
    assert {s: r.code for s, r in roster.refused.items()} == {"node 3": "no-reply"}
    grid.faults.clear()
    roster.refresh(grid, study, 0.1)
    assert set(roster.nodes) == {"alder", "birch", "cedar", "dogwood"}
    assert roster.refused == {}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda f: f.lost(QUERY), id="lost"),
        pytest.param(lambda f: f.late(5.0, QUERY), id="late"),
        pytest.param(lambda f: f.error(QUERY), id="error"),
        pytest.param(lambda f: f.refused(QUERY), id="refused"),
        pytest.param(lambda f: f.content(lambda c: type(c)(), QUERY), id="empty"),
        pytest.param(lambda f: f.says(QUERY, train_cases="many"), id="cases that are no number"),
        pytest.param(lambda f: f.says(QUERY, site=None), id="no name"),
        pytest.param(lambda f: f.says(QUERY, train_cases=-4), id="fewer than no cases"),
        pytest.param(lambda f: f.says(QUERY, train_labels=[5]), id="too few classes"),
        pytest.param(lambda f: f.says(QUERY, train_labels=[5, 5, 5]), id="too many classes"),
        pytest.param(lambda f: f.says(QUERY, test_labels=[1, 1, 1]), id="too many classes in the test"),
        pytest.param(lambda f: f.says(QUERY, train_labels=["5", "5"]), id="labels that are no numbers"),
        pytest.param(lambda f: f.says(QUERY, train_labels=[-5, 15]), id="fewer than no labels"),
        pytest.param(lambda f: f.says(QUERY, train_labels=[500, 500]), id="more labels than cases"),
    ],
)
def test_a_description_that_is_none_costs_that_site_alone(
    grid_of: MakeGrid, faults: Any, study: Study, fault: Callable[[Any], Any]
) -> None:
    roster = gather(grid_of(faults={"cedar": fault(faults)}), study, 4, 0.3)
    assert set(roster.nodes) == {"alder", "birch", "dogwood"}
    assert len(roster.refused) == 1
    assert roster.label_counts() == [10, 9]
    assert [len(d.notes(study.study.classes)) for d in roster.descriptions.values()] == [0, 0, 0]
