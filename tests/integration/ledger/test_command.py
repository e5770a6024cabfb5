"""``consilium site ledger``: what a data manager types, sees, and is told to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from client.cohorts.home import POLICY_FILE, Home
from client.ledger import Task
from common.audit import AuditLog
from common.errors import CohortUnknown, ConsiliumError, LedgerBroken, LedgerRolledBack, OutputExists
from common.private.event import Event
from deploy.cli.ledger import app

STEP = Event(4.0, 0.1, 20)
MakeTask = Callable[..., Task]


@dataclass(frozen=True)
class Terminal:
    """A terminal at the site."""

    home: Home

    def run(self, *arguments: object, status: int = 0) -> str:
        """What a command prints."""
        result = CliRunner().invoke(app, [*map(str, arguments), "--home", str(self.home.folder)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.output

    def json(self, *arguments: object) -> Any:
        """The one JSON object that it prints."""
        return json.loads(self.run(*arguments, "--json"))

    def fails(self, kind: type[ConsiliumError], *arguments: object) -> str:
        """The private message of a refusal."""
        with pytest.raises(kind) as caught:
            self.run(*arguments)
        return caught.value.private


@pytest.fixture
def terminal(home: Home, task: MakeTask) -> Terminal:
    """A site with two cohorts that spent something."""
    for name in ("chest", "knee"):
        for number in (1, 2):
            ledger = home.ledger(name)
            ledger.settle(ledger.reserve(task(number, cohort=name), STEP, 1e-5), 20)
    home.ledger("knee").reserve(task(3, cohort="knee"), STEP, 1e-5)
    return Terminal(home)


def hurt(home: Home) -> None:
    path = home.ledger("chest").path
    path.write_bytes(path.read_bytes().replace(b'"steps":20', b'"steps":1'))


# show


def test_all_ledgers_in_a_line_each(terminal: Terminal) -> None:
    printed = terminal.run("show")
    assert "chest" in printed and "knee" in printed and printed.count("within the budget") == 2
    found = terminal.json("show")
    assert [each["cohort"] for each in found["ledgers"]] == ["chest", "knee"]
    assert found["unknown_in_policy"] == [] and found["ledgers"][0]["budget"]["epsilon"] == 8.0


def test_one_ledger_with_its_studies(terminal: Terminal) -> None:
    printed = terminal.run("show", "knee")
    for words in (
        "lungs",
        "training",
        "60",
        "all together",
        "1  reserved and never settled",
        "of 8 is spent",
    ):
        assert words in printed, words
    document = terminal.json("show", "knee")
    (study,) = document["studies"]
    assert (study["steps"], study["open"], study["rounds"]) == (60, 1, 3)
    assert document["epsilon"] == study["epsilon"] == terminal.home.ledger("knee").spent().epsilon
    assert document["left"] == pytest.approx(8.0 - document["epsilon"])


def test_a_site_that_spent_nothing(home: Home) -> None:
    terminal = Terminal(home)
    assert "no cohort has spent anything yet" in terminal.run("show")
    assert "no cohort has spent anything yet" in terminal.run("verify")
    assert terminal.json("verify") == {"ledgers": []}
    terminal.fails(CohortUnknown, "show", "chest")
    terminal.fails(CohortUnknown, "certificate", "chest", "--out", home.folder / "out")


def test_a_name_in_the_policy_that_is_nobodys_is_told(terminal: Terminal) -> None:
    with (terminal.home.folder / POLICY_FILE).open("a") as policy:
        policy.write("[privacy.cohorts.chset]\nepsilon = 1.0\n[privacy.cohorts.knee]\nepsilon = 1.0\n")
    assert "no cohort of that name" in terminal.run("show") and "chset" in terminal.run("show")
    assert terminal.json("show")["unknown_in_policy"] == ["chset"]


def test_one_that_is_hurt_does_not_hide_the_others(terminal: Terminal) -> None:
    hurt(terminal.home)
    printed = terminal.run("show")
    assert "ledger-broken" in printed and "within the budget" in printed
    broken, whole = terminal.json("show")["ledgers"]
    assert broken["trouble"]["code"] == "ledger-broken" and whole["trouble"] is None


@pytest.mark.parametrize("name", ["../x", "a/b", ".x"])
def test_a_name_that_could_lead_elsewhere_is_wrong_usage(terminal: Terminal, name: str) -> None:
    for command in (["show"], ["verify"], ["accept", "--reason", "x"], ["certificate", "--out", "x"]):
        terminal.run(*command, name, status=2)


# verify


def test_verify_says_what_was_compared(terminal: Terminal) -> None:
    printed = terminal.run("verify")
    assert printed.count(": whole") == 2 and "4  of them in the audit log" in printed
    assert "1  reserved and never settled" in printed and terminal.home.ledger("chest").head in printed
    (checked,) = terminal.json("verify", "chest")["ledgers"]
    assert (checked["entries"], checked["told"], checked["open"]) == (4, 4, 0)


def test_verify_ends_with_the_first_that_is_hurt_and_tells_of_the_others(terminal: Terminal) -> None:
    hurt(terminal.home)
    result = CliRunner().invoke(app, ["verify", "--home", str(terminal.home.folder)])
    assert isinstance(result.exception, LedgerBroken) and "ledger knee: whole" in result.output
    assert "accept" in result.exception.hint and "entry 1" in result.exception.private
    terminal.run("verify", "knee")


def test_a_stop_is_shown(terminal: Terminal) -> None:
    with pytest.raises(LedgerRolledBack):
        terminal.home.ledger("chest").check(f"9:{'e' * 64}")
    assert "stopped" in terminal.run("show", "chest")
    assert terminal.json("show", "chest")["stops"] == [f"9:{'e' * 64}"]
    assert "entry 9" in terminal.fails(LedgerRolledBack, "verify", "chest")


# certificate


def test_a_certificate_is_filed_and_told_to_the_log(terminal: Terminal, tmp_path: Path) -> None:
    told = terminal.json("certificate", "chest", "--out", tmp_path / "out")
    document = json.loads(Path(told["document"]).read_text())
    assert document["site"] == "test" and document["cohort"]["name"] == "chest"
    assert document["cohort"]["patients"] is None  # nothing of that name was taken in
    entry = list(AuditLog(terminal.home.folder / "audit.jsonl").entries())[-1]
    assert entry.event == "certificate.issued"
    assert entry.facts == {
        "cohort": "chest",
        "head": terminal.home.ledger("chest").head,
        "sha256": told["sha256"],
    }
    assert told["sha256"] in Path(told["page"]).read_text()
    assert terminal.home.ledger("chest").verify().told == 4
    terminal.fails(OutputExists, "certificate", "chest", "--out", tmp_path / "out")
    printed = terminal.run("certificate", "knee", "--out", tmp_path / "knee")
    assert "certificate.html" in printed and "SHA-256" in printed


# accept


def test_a_person_decides(terminal: Terminal) -> None:
    hurt(terminal.home)
    before = terminal.home.ledger("knee").spent().epsilon
    printed = terminal.run("accept", "chest", "--reason", "a student edited it", "--by", "r.meier")
    assert "aside-1" in printed and "2  reservations" in printed
    terminal.run("verify", "chest")
    (decided,) = terminal.home.ledger("chest").book().decisions
    assert (decided.record.by, decided.record.reason) == ("r.meier", "a student edited it")
    assert terminal.home.ledger("knee").spent().epsilon == before


def test_spending_by_hand(terminal: Terminal) -> None:
    figures = ("--noise-multiplier", 2.0, "--sample-rate", 0.1, "--steps", 50)
    before = terminal.home.ledger("chest").spent().epsilon
    told = terminal.json("accept", "chest", "--reason", "trained elsewhere", *figures)
    assert told["epsilon"] > before and told["counted"] == 1 and told["aside"] == []
    assert terminal.home.ledger("chest").book().decisions[0].record.by


def test_lines_that_nobody_knows_are_told(terminal: Terminal) -> None:
    ledger = terminal.home.ledger("chest")
    with pytest.raises(LedgerRolledBack):
        ledger.check(f"9:{'e' * 64}")
    printed = terminal.run("accept", "chest", "--reason", "an old copy of everything")
    assert "4  lines were changed or lost" in printed and "by hand" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ("--reason", "x"),
        ("--reason", " ", "--noise-multiplier", 1.0, "--sample-rate", 0.1, "--steps", 1),
        ("--reason", "x", "--noise-multiplier", 1.0),
        ("--reason", "x", "--noise-multiplier", 0.0, "--sample-rate", 0.1, "--steps", 1),
        ("--reason", "x", "--noise-multiplier", 1.0, "--sample-rate", 1.5, "--steps", 1),
        ("--reason", "x", "--noise-multiplier", 1.0, "--sample-rate", 0.5, "--steps", 0),
        (),
    ],
    ids=range(7),
)
def test_a_decision_that_is_none_is_wrong_usage(terminal: Terminal, arguments: tuple[object, ...]) -> None:
    before = terminal.home.ledger("chest").head
    terminal.run("accept", "chest", *arguments, status=2)
    assert terminal.home.ledger("chest").head == before
