"""A round closes when enough sites have answered; what comes later counts with less weight, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.site import Site
from server.journal import Journal
from server.study_run import run_study
from tests.faults.conftest import Runs
from tests.faults.late_grid import ForgetfulLateGrid, LateGrid
from tests.faults.test_coordinator_killed import outcome

SITES = ("alder", "birch", "cedar", "dogwood")
PROMPT = SITES[:3]
ONCE = {("dogwood", 1): 2}
"""Dogwood's first update comes when the second round has begun."""

MakeGrid = Callable[..., Any]


@pytest.fixture
def make_grid(site_of: Callable[[str], Site]) -> MakeGrid:
    """A Grid of the four hospitals."""

    def make(late: Any = ONCE, kind: type[ForgetfulLateGrid] = LateGrid, **options: Any) -> ForgetfulLateGrid:
        return kind([site_of(name) for name in SITES], late, **options)

    return make


@pytest.fixture
def late(runs: Runs, make_study: Callable[..., Any]) -> Callable[..., Runs]:
    """Runs of three rounds that close when three of four sites have answered."""

    def make(**federation: Any) -> Runs:
        given = {"rounds": 3, "enough": 0.75, "late_rounds": 1, "deadline_s": 20.0, **federation}
        return runs.of(make_study(federation=given))

    return make


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    return list(outcome(folder)["rounds"])


@pytest.mark.fault(
    "a hospital answers after its round has closed, and the study lets late updates count",
    "the update counts in the next round, with its weight over the root of 1 + rounds late; once",
)
def test_a_late_update_counts_in_the_round_in_which_it_comes(
    late: Callable[..., Runs], make_grid: MakeGrid
) -> None:
    runs, grid = late(), make_grid()
    runs.go("run", grid)
    first, second, third = rounds_of(runs.folder / "run")
    assert first["contributed"] == list(PROMPT)
    assert first["missing"] == {"dogwood": "late: the round closed with 3 updates"}
    assert second["contributed"] == list(SITES) and second["missing"] == {}
    weight = 5 / sqrt(2)  # dogwood has five training cases
    assert second["late"] == {"dogwood": {"trained_for": 1, "rounds_late": 1, "weight": weight}}
    assert "dogwood" in second["scores"], "the gate judges it with the others"
    assert third["contributed"] == list(SITES) and "late" not in first | third
    assert sorted(n for site, n in grid.trained if site == "dogwood") == [1, 3], "it was not asked meanwhile"


@pytest.mark.fault(
    "a hospital answers after its round has closed, and the study takes no late updates",
    "its task is called off when the round closes, and the run's record says `late`",
)
def test_a_study_that_takes_none_calls_the_task_off(late: Callable[..., Runs], make_grid: MakeGrid) -> None:
    runs, grid = late(late_rounds=0), make_grid()
    runs.go("run", grid)
    entries = rounds_of(runs.folder / "run")
    assert [each["contributed"] for each in entries] == [list(PROMPT), list(SITES), list(SITES)]
    assert entries[0]["missing"] == {"dogwood": "late: the round closed with 3 updates"}
    assert grid.taken_back == [("dogwood", 1, "late")]


@pytest.mark.fault(
    "a late answer over a Grid that cannot call tasks off",
    "it is refused with the reason `late`, in the record of the round in which it came",
)
def test_a_late_answer_that_nobody_could_call_off_is_refused(
    late: Callable[..., Runs], make_grid: MakeGrid
) -> None:
    runs, grid = late(late_rounds=0), make_grid(kind=ForgetfulLateGrid)
    runs.go("run", grid)
    _, second, _ = rounds_of(runs.folder / "run")
    told = "late: the update of round 1 came in round 2; late_rounds is 0"
    assert second["late"] == {"dogwood": {"refused": told}}
    assert second["contributed"] == list(SITES), "its answer to the round's own task counts"


@pytest.mark.fault(
    "a hospital does not come to an end of its training for longer than late updates are taken",
    "its task is called off, the record says so, and it is asked again in the next round",
)
def test_who_is_too_late_is_called_off_and_asked_again(
    late: Callable[..., Runs], make_grid: MakeGrid
) -> None:
    runs, grid = late(), make_grid({("dogwood", 1): 9})
    runs.go("run", grid)
    _, second, third = rounds_of(runs.folder / "run")
    assert second["missing"] == {"dogwood": "late: still at round 1"}
    told = "late: the update of round 1 did not come; late_rounds is 1"
    assert second["late"] == {"dogwood": {"refused": told}}
    assert grid.taken_back == [("dogwood", 1, "late")]
    assert third["contributed"] == list(SITES)


@pytest.mark.fault(
    "the same, in a simulation, which keeps no journal",
    "the model is bit-equal to that of a run with one",
)
def test_without_a_journal_on_the_disk_it_is_the_same(late: Callable[..., Runs], make_grid: MakeGrid) -> None:
    runs = late()
    runs.go("durable", make_grid())
    run_study(make_grid(kind=ForgetfulLateGrid), runs.plan("fleeting"))
    assert outcome(runs.folder / "fleeting") == outcome(runs.folder / "durable")


# The coordinator is killed

WRITES = 35
LATE_WRITES = range(12, 20)
"""From the beginning of the round in which the late update comes until its model is written down."""


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    """What a quiet run came to, once there was one."""
    return {}


@pytest.mark.fault(
    "nothing goes wrong in a study that takes late updates",
    "a run writes down as many steps as there are cases of a coordinator that is killed",
)
def test_an_undisturbed_run_writes_all_of_this(late: Callable[..., Runs], make_grid: MakeGrid) -> None:
    assert late().go("run", make_grid()).writes == WRITES


@pytest.mark.fault(
    "the coordinator is killed between the arrival of a late update, the journal and the round's close",
    "it counts once, in the same round: the model is bit-equal to that of a quiet run",
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "write",
    [n if n in LATE_WRITES else pytest.param(n, marks=pytest.mark.slow) for n in range(1, WRITES + 1)],
)
def test_a_late_update_counts_once_wherever_the_coordinator_is_killed(
    late: Callable[..., Runs], make_grid: MakeGrid, undisturbed: dict[str, Any], write: int, after: bool
) -> None:
    runs = late()
    if not undisturbed:
        runs.go("whole", make_grid())
        undisturbed["outcome"] = outcome(runs.folder / "whole")
        undisturbed["model"] = (runs.folder / "whole/model.safetensors").read_bytes()
    grid = make_grid()
    runs.go("cut", grid, dies_at=write, after=after)
    runs.go("cut", grid)
    assert outcome(runs.folder / "cut") == undisturbed["outcome"]
    assert (runs.folder / "cut/model.safetensors").read_bytes() == undisturbed["model"]
    assert len(set(grid.trained)) == len(grid.trained), "nothing is trained twice"


# The gate


@pytest.mark.fault(
    "a late update is one that would have been refused in time",
    "it is refused all the same, with the same code",
)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(lambda f: f.says(base_digest="0" * 64), "update-refused", id="another base"),
        pytest.param(lambda f: f.says(round=2), "update-refused", id="another round"),
        pytest.param(lambda f: f.says(cases=10**9), "update-refused", id="weight"),
        pytest.param(lambda f: f.says(steps=5), "update-refused", id="steps that the study did not ask for"),
        pytest.param(
            lambda f: f.arrays(lambda a: {n: x * np.float32(1e6) for n, x in a.items()}),
            "update-refused",
            id="length",
        ),
        pytest.param(lambda f: f.refused(), "policy", id="refusal"),
    ],
)
def test_a_late_update_is_judged_as_any_other(
    late: Callable[..., Runs], make_grid: MakeGrid, faults: Any, fault: Callable[[Any], Any], code: str
) -> None:
    runs, grid = late(rounds=2), make_grid(faults={"dogwood": fault(faults)})
    runs.go("run", grid)
    _, second = rounds_of(runs.folder / "run")
    assert second["contributed"] == list(PROMPT)
    assert second["missing"]["dogwood"].startswith(f"{code}: ")


@pytest.mark.fault(
    "an update is refused while a round waits for enough of them",
    "it does not count among them: the round waits for another",
)
def test_an_update_that_the_gate_refuses_is_not_enough(
    late: Callable[..., Runs], make_grid: MakeGrid, faults: Any
) -> None:
    wild = faults.arrays(lambda arrays: {n: a * np.float32(1e6) for n, a in arrays.items()})
    runs = late(rounds=1)
    runs.go("run", make_grid({}, slow={"dogwood": 3}, faults={"alder": wild}))
    (entry,) = rounds_of(runs.folder / "run")
    assert entry["contributed"] == ["birch", "cedar", "dogwood"]
    assert entry["missing"]["alder"].startswith("update-refused: ")


# Who decides when a round closes


@pytest.mark.fault(
    "enough hospitals have answered for the study, and fewer than `min_sites`",
    "the round waits",
)
def test_min_sites_holds_whatever_is_enough(late: Callable[..., Runs], make_grid: MakeGrid) -> None:
    runs = late(rounds=1, enough=0.1, min_sites=4)
    runs.go("run", make_grid({}, slow={"dogwood": 3, "cedar": 2}))
    (entry,) = rounds_of(runs.folder / "run")
    assert entry["contributed"] == list(SITES)


@pytest.mark.fault(
    "half of the hospitals are still at the round before",
    "the round waits for their late updates where it has too few without",
)
def test_a_round_that_needs_them_waits_for_latecomers(late: Callable[..., Runs], make_grid: MakeGrid) -> None:
    """With half of the sites at work, the other half is asked, and is too few without a late update."""
    runs = late(rounds=2, enough=0.5, min_sites=2)
    both = {("cedar", 1): 2, ("dogwood", 1): 2}
    grid = make_grid(both)
    grid.late[("birch", 2)] = 9
    runs.go("run", grid)
    first, second = rounds_of(runs.folder / "run")
    assert first["contributed"] == ["alder", "birch"]
    assert second["contributed"] == ["alder", "cedar", "dogwood"]
    assert second["missing"] == {"birch": "late: the round closed with 3 updates"}


IN_THE_SECOND_ROUND = 13
"""The write after which all is known of the second round but what its sites answer."""


@pytest.mark.fault(
    "somebody asks while a hospital is still at an earlier round",
    "`consilium study status` names it, the round that it is at, and since when",
)
def test_the_status_names_who_is_still_at_work(late: Callable[..., Runs], make_grid: MakeGrid) -> None:
    runs = late()
    runs.go("run", make_grid(), dies_at=IN_THE_SECOND_ROUND, after=True)
    with Journal(runs.folder / "run/journal.db") as journal:
        state = journal.state("run")
    assert state is not None and state.course is not None
    assert (state.course.number, state.course.asked) == (2, PROMPT)
    assert {site: reason for site, (reason, _) in state.refused.items()} == {
        "dogwood": "late: still at round 1"
    }


@pytest.mark.fault(
    "somebody asks after an update came too late",
    "`consilium study status` names whose it was",
)
def test_the_status_names_whose_update_was_too_late(late: Callable[..., Runs], make_grid: MakeGrid) -> None:
    runs = late(late_rounds=0)
    grid = make_grid(kind=ForgetfulLateGrid)
    runs.go("run", grid, dies_at=IN_THE_SECOND_ROUND + 1)
    with Journal(runs.folder / "run/journal.db") as journal:
        state = journal.state("run")
    assert state is not None and list(state.late) == ["dogwood"] and not state.refused
