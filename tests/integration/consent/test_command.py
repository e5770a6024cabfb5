"""``consilium site studies, approve, reject, withdraw``: what a hospital types, sees, and is told to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from common.chain import utc_now
from common.contract import Contract, code_digest
from common.errors import (
    ApproverRefused,
    CodeDiffers,
    CohortUnknown,
    ConsiliumError,
    PolicyRefused,
    StudyUnknown,
)
from deploy.cli.consent import app
from deploy.cli.site import app as site_app
from tests.integration.consent.conftest import Hospital
from tests.unit.contract.drafts import contract_with, study_with


@dataclass(frozen=True)
class Terminal:
    """A terminal at the hospital."""

    hospital: Hospital

    def run(self, *arguments: object, status: int = 0) -> str:
        """What a command prints."""
        home = str(self.hospital.home.folder)
        result = CliRunner().invoke(app, [*map(str, arguments), "--home", home])
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

    def approve(self, study: str, *more: object, by: str = "Ada", cohort: str = "chest") -> str:
        """What ``approve`` prints."""
        return self.run("approve", study, "--cohort", cohort, "--approver", by, *more)


def lasting(seed: int = 7, **sections: Any) -> Contract:
    """A contract that holds while the test runs, by the clock of the machine."""
    now = utc_now()
    terms = {"issued": now, "expires": now + timedelta(days=1), "release": "0.1.0"}
    return contract_with(study_with(**sections), seed=seed, **terms)


@pytest.fixture
def terminal(hospital: Hospital) -> Terminal:
    return Terminal(hospital)


@pytest.fixture
def digest(hospital: Hospital) -> str:
    return hospital.receive(lasting())


def test_there_may_be_none(terminal: Terminal) -> None:
    assert "no study has been proposed" in terminal.run("studies")
    assert terminal.json("studies") == {"studies": []}


def test_a_study_is_shown_with_all_that_it_asks(terminal: Terminal, digest: str) -> None:
    printed = terminal.run("studies")
    for words in (
        f"small  proposed  contract {digest[:12]}",
        'classification: {"0": "normal", "1": "lesion"}',
        "rows; 1 training cases of 1 patients, 1 test cases",
        "3 rounds, seed 7, until",
        "none at the hospital",
        "release 0.1.0, c0dec0dec0de: NOT the code that is installed here",
        "update (the change of the model's weights), every round",
        "score-histogram",
    ):
        assert words in printed
    (found,) = terminal.json("studies")["studies"]
    assert (found["digest"], found["status"], found["approvers_needed"]) == (digest, "proposed", 1)
    assert found["contract"]["rounds"] == 3 and found["changes"] is None and len(found["leaves"]) == 8


def test_the_code_that_is_here_is_said_to_be(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    private = study_with(privacy={"target_epsilon": 2.0})
    now = utc_now()
    given = contract_with(private, code_digest=code_digest(), issued=now, expires=now + timedelta(days=1))
    terminal.hospital.receive(given)
    printed = terminal.run("studies")
    assert "as installed here" in printed and "epsilon 2 for all rounds, for each patient" in printed


def test_approve_and_withdraw(terminal: Terminal, digest: str) -> None:
    printed = terminal.approve("small", by="Dr. A. Muster")
    assert f"small  approved for cohort chest by Dr. A. Muster  contract {digest[:12]}" in printed
    assert "approved for cohort chest by Dr. A. Muster" in terminal.run("studies")
    assert terminal.fails(
        ApproverRefused, "approve", "small", "--cohort", "chest", "--approver", "dr.a.muster"
    )
    assert "withdrawn" in terminal.run("withdraw", "small", "--by", "Grace")
    assert terminal.hospital.status(digest) == "withdrawn"
    assert terminal.json("approve", digest[:10], "--cohort", "knee", "--approver", "Ada") == {
        "study": "small",
        "digest": digest,
        "status": "approved",
        "cohort": "knee",
        "approvers": ["Ada"],
        "approvers_needed": 1,
    }


def test_two_people(terminal: Terminal, digest: str) -> None:
    terminal.hospital.policy("[consent]\napprovers = 2\n")
    assert "proposed; 1 of 2 have approved it for cohort chest: Ada" in terminal.approve("small")
    assert "approved for cohort chest by Ada, Grace" in terminal.approve("small", by="Grace")


def test_reject(terminal: Terminal, digest: str) -> None:
    assert "small  rejected" in terminal.run("reject", "small")
    assert terminal.json("studies")["studies"][0]["status"] == "rejected"


def test_an_amendment_says_what_changed(terminal: Terminal, digest: str) -> None:
    terminal.approve("small")
    amended = terminal.hospital.receive(lasting(federation={"rounds": 5}, training={"local_epochs": 2}))
    printed = terminal.run("studies")
    assert "changed since the contract that was approved:" in printed
    assert "    federation.rounds: 3 -> 5" in printed and "    training.local_epochs: 1 -> 2" in printed
    found = {each["digest"]: each for each in terminal.json("studies")["studies"]}
    assert found[digest]["changes"] is None and "federation.rounds: 3 -> 5" in found[amended]["changes"]
    assert f"contract {amended[:12]}" in terminal.approve("small")
    terminal.hospital.receive(lasting(seed=9))
    assert terminal.json("withdraw", "small")["studies"] == [
        {**each, "status": "withdrawn", "cohort": "", "approvers": []}
        for each in (
            {key: value for key, value in one.items() if key not in ("contract", "leaves", "changes")}
            for one in terminal.json("studies")["studies"]
        )
    ]


def test_two_that_wait_are_not_approved_by_name(terminal: Terminal, digest: str) -> None:
    terminal.hospital.receive(lasting(seed=8))
    for command in (["approve", "small", "--cohort", "chest", "--approver", "Ada"], ["reject", "small"]):
        assert digest[:12] in terminal.fails(StudyUnknown, *command)


def test_what_could_not_run_is_not_approved(terminal: Terminal, digest: str) -> None:
    command = ["approve", "small", "--approver", "Ada", "--cohort"]
    terminal.fails(CohortUnknown, *command, "skull")
    terminal.fails(StudyUnknown, "approve", "other", "--approver", "Ada", "--cohort", "chest")
    terminal.run(*command, "../chest", status=2)
    terminal.hospital.policy('[studies]\nmodels = ["lstm"]\n')
    terminal.fails(PolicyRefused, *command, "chest")
    terminal.hospital.policy("")
    other = terminal.hospital.receive(contract_with(code_digest="0" * 64))
    terminal.fails(CodeDiffers, "approve", other[:12], "--approver", "Ada", "--cohort", "chest")
    assert terminal.hospital.status(digest) == "proposed"


def test_a_contract_that_cannot_be_read_is_shown_and_withdrawn(terminal: Terminal, digest: str) -> None:
    path: Path = terminal.hospital.home.folder / "studies" / f"{digest}.json"
    path.unlink()
    assert "cannot be read" in terminal.run("studies")
    assert terminal.json("studies")["studies"][0]["contract"] is None
    terminal.run("withdraw", "small")
    assert terminal.hospital.status(digest) == "withdrawn"


def test_the_commands_hang_under_site() -> None:
    listed = CliRunner().invoke(site_app, ["--help"]).output
    assert all(name in listed for name in ("studies", "approve", "reject", "withdraw"))
