"""Drawing up a contract at the coordinator, with the code and the model of this installation."""

from __future__ import annotations

from datetime import datetime

from common.contract.code import code_digest
from common.contract.contract import Contract
from common.contract.model import model_digest
from common.study import Study


def draw_up(study: Study, *, federation: str, seed: int, issued: datetime, expires: datetime) -> Contract:
    """The contract that sites are asked to approve.

    Args:
        study: What will run.
        federation: Whose sites are asked.
        seed: What the study will run with.
        issued: The time, with a time zone.
        expires: From when on nothing more runs under it.
    """
    from common.models import initial_weights  # torch takes seconds to import; reading contracts needs none

    return Contract.of_study(
        study,
        federation=federation,
        seed=seed,
        code_digest=code_digest(),
        model_digest=model_digest(initial_weights(study, seed)),
        issued=issued,
        expires=expires,
    )
