"""The sites of a run on this machine have ledgers: their own, their hospital's, or a copy of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from client.cohorts.home import Home, create_home
from client.ledger import Ledger, Task
from client.private_round import ledger_of
from client.site import Site
from common.errors import BudgetUnused, LedgerBroken, LedgerRolledBack
from common.private.event import Event
from common.study import Study
from deploy.ledgers import check_budgets, rehearsing, with_ledgers

MakeStudy = Callable[..., Study]
PRIVACY = {"noise_multiplier": 1.0}
EVENT = Event(4.0, 1.0, 1)


@pytest.fixture
def private(make_study: MakeStudy) -> Study:
    return make_study(privacy=PRIVACY)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create_home(tmp_path / "home", "elm")


def spend(ledger: Ledger, number: int = 1) -> None:
    task = Task("study", "d" * 64, number, "b" * 64, "chest", "f")
    ledger.settle(ledger.reserve(task, EVENT, 1e-5), 1)


def test_virtual_hospitals_have_ledgers_and_budgets_of_their_own(private: Study, tmp_path: Path) -> None:
    elm, fir = with_ledgers([Site("elm"), Site("fir")], [100, 10], private, tmp_path, {"elm": 2.0, "": 9.0})
    assert Path(elm.ledger).parent == Path(fir.ledger).parent == tmp_path / "ledgers"
    assert (elm.budget_epsilon, fir.budget_epsilon) == (2.0, 9.0)
    assert elm.budget_delta == pytest.approx(100**-1.1) and fir.budget_delta == 0.01
    assert elm.noise_seed < 0


def test_without_a_budget_nothing_is_refused(private: Study, tmp_path: Path) -> None:
    (site,) = with_ledgers([Site("elm")], [100], private, tmp_path, {})
    assert ledger_of(site).budget is None


def test_a_plain_study_has_no_ledgers(make_study: MakeStudy, tmp_path: Path) -> None:
    sites = [Site("elm")]
    assert with_ledgers(sites, [100], make_study(), tmp_path, {}) == sites
    assert rehearsing(sites, make_study(), tmp_path, 0) == sites
    assert not list(tmp_path.iterdir())


def test_a_cohort_pays_from_its_hospital_s_ledger(private: Study, home: Home, tmp_path: Path) -> None:
    site = Site("elm", home=str(home.folder), cohort="chest")
    assert with_ledgers([site], [100], private, tmp_path, {}) == [site]
    assert ledger_of(site).path == home.ledger("chest").path


def test_a_rehearsal_goes_on_in_a_copy_with_seeded_noise(private: Study, home: Home, tmp_path: Path) -> None:
    own = home.ledger("chest")
    spend(own)
    before = own.path.read_bytes()
    site = Site("elm", home=str(home.folder), cohort="chest")
    (copy,) = rehearsing([site], private, tmp_path / "run", 0)
    rehearsed = ledger_of(copy)
    assert rehearsed.head == own.head and rehearsed.budget == own.budget
    assert copy.noise_seed >= 0
    spend(rehearsed, 2)
    assert own.path.read_bytes() == before and rehearsed.spent().epsilon > own.spent().epsilon


def test_a_broken_ledger_is_not_rehearsed_with(private: Study, home: Home, tmp_path: Path) -> None:
    own = home.ledger("chest")
    spend(own)
    own.path.write_bytes(own.path.read_bytes().replace(b"4.0", b"9.0"))
    with pytest.raises(LedgerBroken):
        rehearsing([Site("elm", home=str(home.folder), cohort="chest")], private, tmp_path / "run", 0)


def test_a_ledger_that_lost_entries_is_not_rehearsed_with(private: Study, home: Home, tmp_path: Path) -> None:
    own = home.ledger("chest")
    spend(own)
    own.path.unlink()
    own.path.with_suffix(".head").unlink()
    with pytest.raises(LedgerRolledBack):
        rehearsing([Site("elm", home=str(home.folder), cohort="chest")], private, tmp_path / "run", 0)


@pytest.mark.parametrize(
    ("budgets", "virtual", "privacy"),
    [
        ({"": 1.0}, ["elm"], None),
        ({"": 1.0}, ["elm"], {"sites": {"noise_multiplier": 1.0, "planned_sites": 3}}),
        ({"fir": 1.0}, ["elm"], PRIVACY),
        ({"": 1.0}, [], PRIVACY),
    ],
)
def test_a_budget_that_nobody_would_keep_to_is_refused(
    make_study: MakeStudy, budgets: Mapping[str, float], virtual: list[str], privacy: object
) -> None:
    study = make_study(**({} if privacy is None else {"privacy": privacy}))
    with pytest.raises(BudgetUnused):
        check_budgets(budgets, virtual, study)


def test_budgets_pass_that_somebody_keeps_to(private: Study) -> None:
    check_budgets({"": 1.0, "elm": 2.0}, ["elm", "fir"], private)
    check_budgets({}, [], private)
