"""A site's ledgers: where they lie, what the policy allows, and that they outlive their cohorts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from client.cohorts.home import POLICY_FILE, Home
from client.cohorts.removal import remove_cohort
from client.cohorts.settings import CohortBudget, Policy, PrivacyPolicy
from client.ledger import Budget, Task
from common.audit import AuditLog
from common.errors import HomeInvalid, LedgerRolledBack
from common.private.event import Event
from tests.unit.cohorts.archives import laid, taken, volume

MakeTask = Callable[..., Task]
STEP = Event(4.0, 0.1, 2)


def with_policy(home: Home, text: str) -> Home:
    (home.folder / POLICY_FILE).write_text(text)
    return Home(home.folder)


def spend(home: Home, cohort: str, task: Task) -> None:
    ledger = home.ledger(cohort)
    ledger.settle(ledger.reserve(task, STEP, 1e-5), 2)


def test_a_ledger_has_its_place_its_budget_and_its_witness(home: Home, task: MakeTask) -> None:
    ledger = home.ledger("chest")
    assert ledger.path == home.folder / "ledgers" / "chest.jsonl"
    assert ledger.budget == Budget(8.0, 1e-5, "prv") and ledger.name == "chest"
    spend(home, "chest", task())
    assert [entry.event for entry in AuditLog(home.folder / "audit.jsonl").entries()][-2:] == [
        "ledger.reserved",
        "ledger.settled",
    ]
    assert home.ledger("chest").verify().told == 2


@pytest.mark.parametrize("name", ["", "..", "../chest", "a/b", ".c", "c" * 65])
def test_a_name_does_not_lead_out_of_the_home(home: Home, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        home.ledger(name)


def test_ledgers_are_named_as_long_as_anything_knows_them(home: Home, task: MakeTask) -> None:
    assert home.ledgers() == ()
    for name in ("chest", "knee.left", "x.jsonl"):
        spend(home, name, task())
    assert home.ledgers() == ("chest", "knee.left", "x.jsonl")
    home.ledger("chest").path.unlink()
    home.ledger("chest").path.with_suffix(".head").unlink()
    assert home.ledgers() == ("chest", "knee.left", "x.jsonl")
    with pytest.raises(LedgerRolledBack):
        home.ledger("chest").verify()


# The policy


def test_a_policy_of_before_has_a_budget(home: Home) -> None:
    assert with_policy(home, "min_cell = 5\n").policy.privacy == PrivacyPolicy()
    assert with_policy(home, "").ledger("chest").budget == Budget(8.0, 1e-5, "prv")


def test_a_cohort_may_have_a_budget_of_its_own(home: Home) -> None:
    text = '[privacy]\nepsilon = 4.0\naccountant = "rdp"\n[privacy.cohorts.chest]\nepsilon = 1.5\n'
    site = with_policy(home, text + '[privacy.cohorts."knee.left"]\ndelta = 1e-7\n')
    assert site.ledger("chest").budget == Budget(1.5, 1e-5, "rdp")
    assert site.ledger("knee.left").budget == Budget(4.0, 1e-7, "rdp")
    assert site.ledger("skull").budget == Budget(4.0, 1e-5, "rdp")
    assert site.policy.privacy.cohorts["chest"] == CohortBudget(epsilon=1.5)


def test_the_template_shows_every_setting(home: Home) -> None:
    text = (home.folder / POLICY_FILE).read_text()
    assert all(f"{name} = " in text for name in PrivacyPolicy.model_fields if name != "cohorts")
    assert "[privacy.cohorts.NAME]" in text and home.policy == Policy()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[privacy]\nepsilon = 0.0", "epsilon"),
        ("[privacy]\nepsilon = inf", "epsilon"),
        ("[privacy]\ndelta = 1.0", "delta"),
        ("[privacy]\ndelta = 0.0", "delta"),
        ('[privacy]\naccountant = "gdp"', "accountant"),
        ("[privacy]\nepsilom = 1.0", "epsilom"),
        ("[privacy.cohorts.chest]\nepsilon = -1.0", "epsilon"),
        ("[privacy.cohorts.chest]\nrequired = true", "required"),
        ('[privacy.cohorts."a/b"]\nepsilon = 1.0', "a/b"),
    ],
)
def test_what_a_policy_may_not_say(home: Home, text: str, word: str) -> None:
    with pytest.raises(HomeInvalid) as caught:
        _ = with_policy(home, text).policy
    assert word in caught.value.private


# Removal


def test_a_ledger_outlives_its_cohort(home: Home, tmp_path: Path, task: MakeTask) -> None:
    archive = laid(tmp_path / "in", volume("Anna", "1", 2))
    taken(home, archive, name="chest")
    spend(home, "chest", task(1))
    remove_cohort(home, "chest")
    assert not home.cohort_folder("chest").exists()
    taken(home, archive, name="chest")
    spend(home, "chest", task(2))
    assert home.ledger("chest").study_events("a" * 64) == (Event(4.0, 0.1, 4),)
    assert home.ledger("chest").verify().told == 4
