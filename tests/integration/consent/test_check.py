"""Deny by default: every way in which a task may not run, each with its code."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from flwr.app import RecordDict

from client.consent import Consents, check_task, consented, require_approvable
from client.consent.check import require_suitable
from common.contract import Contract
from common.errors import (
    CodeDiffers,
    CohortUnknown,
    CohortUnsuitable,
    ConsiliumError,
    ContractExpired,
    ContractInvalid,
    HomeInvalid,
    PolicyRefused,
    PrivacyRequired,
    StudyUnapproved,
    StudyUnknown,
    StudyWithdrawn,
    TaskOutsideContract,
)
from tests.integration.consent.conftest import Hospital
from tests.unit.contract.drafts import NOW, contract_with, study_with, task_of


def refused(
    hospital: Hospital, kind: type[ConsiliumError], content: RecordDict | None = None, **changes: Any
) -> ConsiliumError:
    """The refusal of a task, which the contract of the drafts holds unless it is changed."""
    contract: Contract = changes.pop("contract", contract_with())
    content = content or task_of(contract, "train", **changes)
    with pytest.raises(kind) as caught:
        check_task(hospital.consents, contract.digest, "train", content, NOW)
    assert caught.value.code == kind.code
    return caught.value


@pytest.fixture
def approved(hospital: Hospital, proposed: str) -> str:
    hospital.approve(proposed)
    return proposed


@pytest.mark.parametrize("message_type", ["query", "train", "evaluate"])
def test_what_was_approved_runs(hospital: Hospital, approved: str, message_type: str) -> None:
    found = check_task(hospital.consents, approved, message_type, task_of(contract_with(), message_type), NOW)
    assert (found.cohort, found.contract) == ("chest", contract_with())


@pytest.mark.parametrize("message_type", ["query", "train", "evaluate"])
def test_nothing_runs_that_nobody_approved(hospital: Hospital, proposed: str, message_type: str) -> None:
    with pytest.raises(StudyUnapproved):
        check_task(hospital.consents, proposed, message_type, task_of(contract_with(), message_type), NOW)


def test_a_task_without_a_contract_does_not_run(hospital: Hospital, approved: str) -> None:
    for digest in ("", "0" * 64, approved.upper(), approved[:12], "../" + approved):
        with pytest.raises(StudyUnknown):
            check_task(hospital.consents, digest, "train", task_of(contract_with(), "train"), NOW)


def test_half_an_approval_is_none(hospital: Hospital, proposed: str) -> None:
    hospital.policy("[consent]\napprovers = 2\n")
    hospital.approve(proposed, "Ada")
    refused(hospital, StudyUnapproved)
    hospital.approve(proposed, "Grace")
    check_task(hospital.consents, proposed, "train", task_of(contract_with(), "train"), NOW)


def test_what_was_rejected_does_not_run(hospital: Hospital, approved: str) -> None:
    Consents(hospital.home).reject(approved, "Ada", NOW)
    refused(hospital, StudyUnapproved)


def test_a_withdrawal_in_another_process_counts_from_the_next_task_on(
    hospital: Hospital, approved: str
) -> None:
    content = task_of(contract_with(), "train")
    check_task(hospital.consents, approved, "train", content, NOW)
    Consents(hospital.home).withdraw(approved, "Ada", NOW)
    refused(hospital, StudyWithdrawn)


def test_an_expired_contract_does_not_run(hospital: Hospital, approved: str) -> None:
    content = task_of(contract_with(), "train")
    with pytest.raises(ContractExpired):
        check_task(hospital.consents, approved, "train", content, NOW + timedelta(days=30))


@pytest.mark.parametrize(("name", "hint"), [("code_digest", "release"), ("installed_digest", "Restart")])
def test_other_code_does_not_run(
    hospital: Hospital, approved: str, monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setattr(f"client.consent.check.{name}", lambda: "0" * 64)
    assert hint in refused(hospital, CodeDiffers).hint


@pytest.mark.parametrize("change", [{"round": 4}, {"seed": 8}, {"proximal_mu": 0.1}, {"study": "{}"}])
def test_a_task_outside_the_contract_does_not_run(
    hospital: Hospital, approved: str, change: dict[str, Any]
) -> None:
    error = refused(hospital, TaskOutsideContract, **change)
    assert next(iter(change)) in error.private


def test_a_task_of_the_amendment_does_not_run_under_what_was_approved(
    hospital: Hospital, approved: str
) -> None:
    amended = contract_with(study_with(federation={"rounds": 4}))
    hospital.receive(amended)
    refused(hospital, StudyUnapproved, contract=amended)
    refused(hospital, TaskOutsideContract, task_of(amended, "train"))


def test_a_contract_that_was_changed_on_the_disk_does_not_run(hospital: Hospital, approved: str) -> None:
    path = hospital.home.folder / "studies" / f"{approved}.json"
    content = path.read_bytes()
    for changed in (content + b" ", content.replace(b'"rounds":3', b'"rounds":9'), b""):
        path.write_bytes(changed)
        refused(hospital, ContractInvalid)
    path.unlink()
    refused(hospital, ContractInvalid)


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ("[privacy]\nrequired = true\n", PrivacyRequired),
        ("[studies]\nmax_epsilon = 4.0\n", PrivacyRequired),
        ("[studies]\ntasks = []\n", PolicyRefused),
        ('[studies]\nmodels = ["lstm"]\n', PolicyRefused),
        ('[studies]\nmetrics = ["loss"]\n', PolicyRefused),
        ("[studies]\nmodel = []\n", HomeInvalid),
        ("[[", HomeInvalid),
    ],
)
def test_a_policy_made_after_the_approval_counts(
    hospital: Hospital, approved: str, policy: str, kind: type[ConsiliumError]
) -> None:
    check_task(hospital.consents, approved, "train", task_of(contract_with(), "train"), NOW)
    hospital.policy(policy)
    refused(hospital, kind)


def test_outside_the_hours_nothing_computes_and_questions_are_answered(
    hospital: Hospital, approved: str
) -> None:
    hospital.policy('[studies]\nhours = "20:00-06:00"\n')
    noon, night = (datetime(2026, 3, 2, hour, 30).astimezone() for hour in (12, 23))
    for message_type in ("train", "evaluate"):
        content = task_of(contract_with(), message_type)
        check_task(hospital.consents, approved, message_type, content, night)
        with pytest.raises(PolicyRefused, match="hours") as caught:
            check_task(hospital.consents, approved, message_type, content, noon)
        assert "20:00" not in caught.value.hint + caught.value.public
    check_task(hospital.consents, approved, "query", task_of(contract_with(), "query"), noon)


def test_what_runs_may_run_on_when_the_hours_end_and_not_when_consent_does(
    hospital: Hospital, approved: str
) -> None:
    hospital.policy('[studies]\nhours = "00:00-00:01"\n')
    assert consented(hospital.consents, approved, NOW).cohort == "chest"
    Consents(hospital.home).withdraw(approved, "Ada", NOW)
    with pytest.raises(StudyWithdrawn):
        consented(hospital.consents, approved, NOW)


# Before approving


def test_what_could_not_run_is_not_to_be_approved(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = contract_with()
    require_approvable(hospital.consents, contract, "chest")
    with pytest.raises(CodeDiffers):
        require_approvable(hospital.consents, contract_with(code_digest="0" * 64), "chest")
    with monkeypatch.context() as patch, pytest.raises(CohortUnsuitable):
        patch.setattr("client.consent.check.require_suitable", require_suitable)
        require_approvable(hospital.consents, contract, "chest")
    hospital.policy('[studies]\nmodels = ["lstm"]\n')
    with pytest.raises(PolicyRefused):
        require_approvable(hospital.consents, contract, "chest")
    hospital.policy("[studies]\nminimum_cases = 5\n")
    with pytest.raises(CohortUnknown):
        require_approvable(hospital.consents, contract, "skull")
