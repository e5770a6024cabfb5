"""The register: nothing is approved by itself; what was decided counts at once and is not undone unseen."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.consent import Consents
from client.consent.register import MOST_UNDECIDED
from client.consent.witness import Witness
from common.audit import AuditLog
from common.errors import (
    ApproverRefused,
    AuditBroken,
    CohortUnknown,
    ContractExpired,
    ContractInvalid,
    HomeInvalid,
    StudyUnknown,
)
from tests.integration.consent.conftest import Hospital
from tests.unit.contract.drafts import FEDERATION, KEY, NOW, contract_with, sealed, study_with

LATER = NOW + timedelta(days=31)


def decisions(hospital: Hospital) -> list[str]:
    return [e.event for e in AuditLog(hospital.home.folder / "audit.jsonl").entries() if "study" in e.event]


# Received


def test_what_was_received_is_proposed_and_nothing_more(hospital: Hospital, proposed: str) -> None:
    assert hospital.status(proposed) == "proposed"
    assert Consents(hospital.home).contract(proposed) == contract_with()
    assert Consents(hospital.home).known() == {proposed: "small"}


def test_a_contract_that_comes_again_changes_nothing(hospital: Hospital, proposed: str) -> None:
    hospital.approve(proposed)
    before = decisions(hospital)
    assert hospital.receive(contract_with()) == proposed
    assert decisions(hospital) == before and hospital.status(proposed) == "approved"


def test_the_files_can_be_checked_by_hand(hospital: Hospital, proposed: str) -> None:
    folder = hospital.home.folder / "studies"
    assert (folder / f"{proposed}.json").read_bytes() == contract_with().canonical()
    assert set(json.loads((folder / f"{proposed}.sealed").read_bytes())) == {"body", "signature"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.iterdir()))


def test_a_contract_of_somebody_else_is_not_kept(hospital: Hospital) -> None:
    forged = sealed(contract_with(), Ed25519PrivateKey.generate())
    with pytest.raises(ContractInvalid):
        hospital.consents.receive(forged, KEY.public_key(), FEDERATION, NOW)
    with pytest.raises(ContractExpired):
        hospital.consents.receive(sealed(contract_with()), KEY.public_key(), FEDERATION, LATER)
    assert not (hospital.home.folder / "studies").exists() and hospital.consents.known() == {}


def test_a_coordinator_cannot_fill_the_disk(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_UNDECIDED == 100
    monkeypatch.setattr("client.consent.register.MOST_UNDECIDED", 3)
    digests = [hospital.receive(contract_with(seed=n, model_digest="0" * 64)) for n in range(3)]
    with pytest.raises(ContractInvalid, match="wait for a decision"):
        hospital.receive(contract_with(seed=3))
    hospital.consents.reject(digests[0], "Ada", NOW)
    hospital.receive(contract_with(seed=3))


def test_what_was_never_received_is_unknown(hospital: Hospital) -> None:
    for digest in ("", "0" * 64, "../site", contract_with().digest):
        with pytest.raises(StudyUnknown):
            hospital.consents.state(digest, NOW)
        with pytest.raises(StudyUnknown):
            hospital.consents.contract(digest)
        with pytest.raises(StudyUnknown):
            hospital.approve(digest)
        with pytest.raises(StudyUnknown):
            hospital.consents.withdraw(digest, "Ada", NOW)


# Decided


def test_one_person_approves_where_one_is_enough(hospital: Hospital, proposed: str) -> None:
    standing = hospital.approve(proposed, "Dr. Ada  Lovelace ")
    assert (standing.status, standing.cohort, standing.approvers) == (
        "approved",
        "chest",
        ("Dr. Ada Lovelace",),
    )
    assert hospital.status(proposed) == "approved" and hospital.status(proposed, LATER) == "expired"


def test_two_people_must_be_two(hospital: Hospital, proposed: str) -> None:
    hospital.policy("[consent]\napprovers = 2\n")
    assert hospital.approve(proposed, "Ada Lovelace").status == "proposed"
    for same in ("Ada Lovelace", "ada lovelace", " ADA  Lovelace", "AdaLovelace", "\uff21da Lovelace"):
        with pytest.raises(ApproverRefused, match="approved already; 1 other"):
            hospital.approve(proposed, same)
    assert hospital.status(proposed) == "proposed"
    assert hospital.approve(proposed, "Grace Hopper").approvers == ("Ada Lovelace", "Grace Hopper")
    assert hospital.status(proposed) == "approved"


def test_two_people_must_mean_one_cohort(hospital: Hospital, proposed: str) -> None:
    hospital.policy("[consent]\napprovers = 2\n")
    hospital.approve(proposed, "Ada", "chest")
    assert hospital.approve(proposed, "Grace", "knee").status == "proposed"
    standing = hospital.approve(proposed, "Ada", "knee")
    assert (standing.status, standing.cohort) == ("approved", "knee")


def test_another_cohort_needs_as_many_people(hospital: Hospital, proposed: str) -> None:
    hospital.policy("[consent]\napprovers = 2\n")
    hospital.approve(proposed, "Ada")
    hospital.approve(proposed, "Grace")
    standing = hospital.approve(proposed, "Ada", "knee")
    assert (standing.status, standing.cohort) == ("approved", "chest")
    assert hospital.approve(proposed, "Grace", "knee").cohort == "knee"


def test_only_those_approve_who_may(hospital: Hospital, proposed: str) -> None:
    hospital.policy('[consent]\nallowed = ["Ada Lovelace"]\n')
    for name in ("Grace", "Ada", "", "  ", "Ada\x1bLovelace", "A" * 101):
        with pytest.raises(ApproverRefused):
            hospital.approve(proposed, name)
    assert hospital.status(proposed) == "proposed"
    assert hospital.approve(proposed, "ADA LOVELACE").status == "approved"


def test_a_stricter_policy_counts_for_what_was_approved_before(hospital: Hospital, proposed: str) -> None:
    hospital.approve(proposed, "Ada")
    for policy in ("[consent]\napprovers = 2\n", '[consent]\nallowed = ["Grace"]\n'):
        hospital.policy(policy)
        assert hospital.status(proposed) == "proposed"
    hospital.policy("")
    assert hospital.status(proposed) == "approved"


def test_without_a_policy_nothing_is_approved(hospital: Hospital, proposed: str) -> None:
    hospital.approve(proposed)
    for broken in ("[consent]\napprovers = 0\n", '[consent]\napprovers = "1"\nmore = 1\n', "[["):
        hospital.policy(broken)
        with pytest.raises(HomeInvalid):
            hospital.status(proposed)


def test_a_cohort_must_be_there(hospital: Hospital, proposed: str) -> None:
    with pytest.raises(CohortUnknown):
        hospital.approve(proposed, cohort="skull")
    assert hospital.status(proposed) == "proposed"


def test_what_expired_is_not_approved(hospital: Hospital, proposed: str) -> None:
    with pytest.raises(ContractExpired):
        hospital.consents.approve(proposed, "chest", "Ada", LATER)


@pytest.mark.parametrize(("end", "status"), [("reject", "rejected"), ("withdraw", "withdrawn")])
def test_who_ends_it_ends_it_at_once_and_for_all(
    hospital: Hospital, proposed: str, end: str, status: str
) -> None:
    hospital.policy("[consent]\napprovers = 2\n")
    other = Consents(hospital.home)
    hospital.approve(proposed, "Ada")
    hospital.approve(proposed, "Grace")
    assert other.state(proposed, NOW).status == "approved"
    getattr(hospital.consents, end)(proposed, "Ada", NOW)
    assert other.state(proposed, NOW).status == status
    assert other.state(proposed, LATER).status == status
    hospital.receive(contract_with())
    assert other.state(proposed, NOW).status == status
    # To begin again, both must approve again.
    assert hospital.approve(proposed, "Ada").status == "proposed"
    assert hospital.approve(proposed, "Grace").status == "approved"


def test_a_contract_that_cannot_be_read_is_withdrawn_all_the_same(hospital: Hospital, proposed: str) -> None:
    hospital.approve(proposed)
    path = hospital.home.folder / "studies" / f"{proposed}.json"
    path.write_bytes(path.read_bytes().replace(b'"rounds":3', b'"rounds":4'))
    with pytest.raises(ContractInvalid):
        hospital.consents.contract(proposed)
    assert hospital.consents.withdraw(proposed, "Ada", NOW).status == "withdrawn"


# Amendments


def test_an_approval_is_for_one_digest(hospital: Hospital, proposed: str) -> None:
    hospital.approve(proposed)
    amended = hospital.receive(contract_with(study_with(federation={"rounds": 4})))
    assert hospital.status(amended) == "proposed" and hospital.status(proposed) == "approved"
    before = hospital.consents.approved_before(hospital.consents.contract(amended))
    assert before == contract_with()


def test_a_name_that_means_several_contracts_approves_none(hospital: Hospital, proposed: str) -> None:
    assert hospital.consents.find_open("small", NOW) == proposed
    amended = hospital.receive(contract_with(seed=8))
    with pytest.raises(StudyUnknown, match="several"):
        hospital.consents.find_open("small", NOW)
    assert hospital.consents.find_open(amended[:8], NOW) == amended
    hospital.approve(proposed)
    assert hospital.consents.find_open("small", NOW) == amended
    assert hospital.consents.find("small") == (proposed, amended)
    for unknown in ("other", proposed[:7], ""):
        with pytest.raises(StudyUnknown):
            hospital.consents.find(unknown)


# Evidence


def test_the_audit_log_tells_each_decision_once(hospital: Hospital, proposed: str) -> None:
    hospital.approve(proposed)
    hospital.consents.withdraw(proposed, "Grace", NOW)
    hospital.consents.reject(proposed, "Ada", NOW)
    assert decisions(hospital) == ["study.received", "study.approved", "study.withdrawn", "study.rejected"]
    told = [e.facts for e in AuditLog(hospital.home.folder / "audit.jsonl").entries() if "study" in e.event]
    assert {facts["contract"] for facts in told} == {proposed}
    assert (told[1]["approver"], told[1]["cohort"], told[2]["approver"]) == ("Ada", "chest", "Grace")


def test_a_decision_that_was_cut_off_from_the_log_is_told_with_the_next(
    hospital: Hospital, proposed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(AuditLog, "append", _interrupted)
        hospital.approve(proposed)
    assert hospital.status(proposed) == "approved" and decisions(hospital) == ["study.received"]
    hospital.consents.withdraw(proposed, "Ada", NOW)
    assert decisions(hospital) == ["study.received", "study.approved", "study.withdrawn"]


def _interrupted(*arguments: object, **facts: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "hurt",
    [
        lambda content: content.replace(b'"cohort":"chest"', b'"cohort":"knees"'),
        lambda content: content.replace(b"study.withdrawn", b"study.approved\x20"),
        lambda content: b"".join(content.splitlines(keepends=True)[:-1]),
        lambda content: b"".join(content.splitlines(keepends=True)[1:]),
        lambda content: b"",
    ],
)
def test_a_register_that_was_edited_stops_everything(hospital: Hospital, proposed: str, hurt: object) -> None:
    hospital.approve(proposed)
    hospital.consents.withdraw(proposed, "Ada", NOW)
    path = hospital.home.folder / "studies/decisions.jsonl"
    path.write_bytes(hurt(path.read_bytes()))  # type: ignore[operator]
    for consents in (hospital.consents, Consents(hospital.home)):
        with pytest.raises(AuditBroken):
            consents.state(proposed, NOW)
        with pytest.raises(AuditBroken):
            consents.approve(proposed, "chest", "Ada", NOW)
        with pytest.raises(AuditBroken):
            consents.receive(sealed(contract_with()), KEY.public_key(), FEDERATION, NOW)


def test_an_older_copy_of_the_register_does_not_undo_a_withdrawal(hospital: Hospital, proposed: str) -> None:
    hospital.approve(proposed)
    studies, kept = hospital.home.folder / "studies", hospital.home.folder.with_name("kept")
    shutil.copytree(studies, kept)
    hospital.consents.withdraw(proposed, "Ada", NOW)
    shutil.rmtree(studies)
    shutil.copytree(kept, studies)
    for consents in (hospital.consents, Consents(hospital.home)):
        with pytest.raises(AuditBroken, match="older copy"):
            consents.state(proposed, NOW)
    shutil.rmtree(studies)
    with pytest.raises(AuditBroken, match="older copy"):
        Consents(hospital.home).known()


def test_the_log_is_not_read_while_nothing_was_decided(
    hospital: Hospital, proposed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    consents = Consents(hospital.home)
    consents.state(proposed, NOW)
    monkeypatch.setattr(Witness, "_told", _interrupted)
    consents.state(proposed, NOW)


def test_who_reads_while_the_first_decision_is_made_is_not_told_of_a_rollback(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes register and log between our reading the one and the other."""
    reader, compare, late = Consents(hospital.home), Witness.compare, [contract_with()]

    def slow(self: Witness, entries: Any) -> None:
        if late:
            hospital.receive(late.pop())
        compare(self, entries)

    monkeypatch.setattr(Witness, "compare", slow)
    assert list(reader.known().values()) == ["small"]
