"""Whether a task may run now: deny by default, and asked anew for every task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from flwr.app import RecordDict

from client.consent.register import Consents
from client.policy import check_hours, check_policy, check_study
from common.contract import Contract, code_digest, installed_digest
from common.contract.task import require_within
from common.errors import CodeDiffers, ContractExpired, StudyUnapproved, StudyWithdrawn
from common.study import Study

if TYPE_CHECKING:
    from client.site import Site


@dataclass(frozen=True, slots=True)
class Approved:
    """What a task that may run is part of.

    Attributes:
        cohort: What the hospital gave the study.
        contract: What it agreed to.
    """

    cohort: str
    contract: Contract


def check_task(
    consents: Consents, contract_digest: str, message_type: str, content: RecordDict, now: datetime
) -> Approved:
    """What the task is part of, if it may run.

    Args:
        consents: The site's register.
        contract_digest: The contract that the task claims to be part of.
        message_type: Flower's.
        content: The task's records, as they will be given to the ClientApp.
        now: The time, with a time zone.

    Raises:
        StudyUnknown: No such contract was received.
        StudyWithdrawn, StudyUnapproved: The hospital does not agree, or no more.
        ContractExpired: What it agreed to holds no more.
        CodeDiffers: It agreed to other code than is here.
        TaskOutsideContract: It agreed to something else.
        PrivacyRequired, UnitRefused, PolicyRefused: It agreed, and its policy says no.
        AuditBroken, ContractInvalid, HomeInvalid: Nobody can say what it agreed to.
    """
    approved = consented(consents, contract_digest, now)
    require_code(approved.contract)
    require_within(approved.contract, message_type, content)
    policy = consents.policy()
    check_study(policy, approved.contract.resolved_study())
    check_hours(policy, message_type, now)
    return approved


def consented(consents: Consents, contract_digest: str, now: datetime) -> Approved:
    """What the hospital agreed to, if it still does: ask while a task runs, and before a reply leaves.

    Raises:
        StudyUnknown, StudyWithdrawn, StudyUnapproved, ContractExpired: As :func:`check_task`.
        AuditBroken, ContractInvalid, HomeInvalid: Nobody can say what it agreed to.
    """
    contract = consents.contract(contract_digest)
    standing = consents.state(contract_digest, now)
    if standing.status == "withdrawn":
        raise StudyWithdrawn(f"{contract.name} was withdrawn")
    if standing.status == "expired":
        raise ContractExpired(f"the contract of {contract.name} expired on {contract.expires}")
    if standing.status != "approved":
        raise StudyUnapproved(f"{contract.name} is {standing.status}, not approved")
    return Approved(standing.cohort, contract)


def require_approvable(consents: Consents, contract: Contract, cohort: str) -> None:
    """Let a contract be approved that could run here, with this code, this policy and this cohort.

    Raises:
        CodeDiffers: Other code is installed.
        ConsiliumError: As :func:`client.policy.check_policy`.
        DataError: As :func:`require_suitable`.
    """
    from client.site import Site  # torch, which a check of a task need not wait for

    require_code(contract)
    site = Site(consents.home.settings.name, home=str(consents.home.folder), cohort=cohort)
    study = contract.resolved_study()
    check_policy(site, study)
    require_suitable(site, study)


def require_suitable(site: Site, study: Study) -> None:
    """Let a cohort pass that the study could train on, as far as that shows without a picture.

    Raises:
        DataError: It is not what the study is about, or has too few cases for it.
    """
    from client.cases import site_cases  # as above

    site_cases(site.source.entries(study), site.name, study)


def require_code(contract: Contract) -> None:
    """Let a contract pass that names the code which is installed and which this process began with.

    Raises:
        CodeDiffers: It names other code, or an upgrade has changed it under this process.
    """
    here = code_digest()
    if contract.code_digest != here:
        raise CodeDiffers(
            f"the contract of {contract.name} names release {contract.release}, "
            f"code {contract.code_digest[:12]}; here is {here[:12]}"
        )
    if installed_digest() != here:
        raise CodeDiffers(
            "the installed code was changed while this process runs",
            hint="Restart the site: `systemctl restart consilium-site`, or stop and start it.",
        )
