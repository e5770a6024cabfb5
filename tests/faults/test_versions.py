"""Sites of other releases: refused with a code, while the others go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from client.consent import Approved, Consents, check_task
from common.contract import code_digest
from common.link import PROTOCOL
from tests.attacks.federation import until
from tests.faults.link import Studies


@contextmanager
def other_code(quick: Studies, site: str) -> Iterator[None]:
    """A hospital has another release installed than it agreed to, during the block."""
    here, folder = threading.local(), quick.ward(site).home.folder

    def check(consents: Consents, *task: Any) -> Approved:
        here.is_other = consents.home.folder == folder
        return check_task(consents, *task)

    def digest() -> str:
        return "f" * 64 if getattr(here, "is_other", False) else code_digest()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("client.consent.check.code_digest", digest)
        patch.setattr("client.daemon.desk.check_task", check)
        yield


@pytest.mark.fault(
    "a hospital's release is changed in the middle of a study, and changed back later",
    "it refuses its tasks with `code-differs`; the round waits, `study status` names the hospital, and the "
    "model is bit-equal in the end",
)
def test_other_code_at_a_site(quick: Studies, undisturbed: str) -> None:
    contract = quick.begin("other-code")
    journal = quick.federation.coordinator._journal

    def named() -> bool:
        state = journal.state(contract)
        return state is not None and state.refused.get("birch", ("",))[0].startswith("code-differs")

    quick.trains("alder")
    with other_code(quick, "birch"):
        until(named, "a refusal of birch")
    assert quick.model(contract, trained_once=False) == undisturbed


@pytest.mark.fault(
    "a site that speaks another version of the link wants to connect during a study",
    "it is refused with `protocol-mismatch`, and told to upgrade; the model is bit-equal",
)
def test_another_protocol(quick: Studies, undisturbed: str) -> None:
    guest = quick.federation.guest("cedar")
    contract = quick.begin("other-protocol")
    quick.trains("alder")
    with guest.calling() as line:
        line.say(hello=guest.hello(protocol=PROTOCOL + 1))
        goodbye = line.goodbye()
    assert (goodbye.code, bool(goodbye.hint)) == ("protocol-mismatch", True)
    assert quick.model(contract) == undisturbed
