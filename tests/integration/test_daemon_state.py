"""What the hospital's daemon keeps of tasks lies in its home, and goes with the studies it was of."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from client.checkpoints import PLAIN, TaskFolder, task_folder
from client.checkpoints.tidying import KEPT_S
from client.cohorts.home import Home
from client.daemon import SiteDaemon
from common.errors import ConsiliumError, ContractInvalid
from common.tasks import TrainTask, refusal_content

STANDING = {"a": "approved", "b": "withdrawn", "c": "expired", "d": "rejected", "e": "proposed"}


class Consents:
    """Contracts, each of the study that its first letter names; ``x`` cannot be read by this release."""

    def __init__(self, standing: dict[str, str]) -> None:
        self._standing = standing

    def known(self) -> dict[str, str]:
        return dict.fromkeys(self._standing, "lungs")

    def contract(self, digest: str) -> Any:
        if digest == "x":
            raise ContractInvalid
        return SimpleNamespace(study=digest[0])

    def state(self, digest: str, now: datetime) -> Any:
        return SimpleNamespace(status=self._standing[digest])


def daemon(home: Home, standing: dict[str, str], now: datetime) -> SiteDaemon:
    made = SiteDaemon(home, now=lambda: now)
    made._consents = Consents(standing)  # type: ignore[assignment]
    return made


def finished(home: Home, study: str) -> TaskFolder:
    folder = task_folder(
        str(home.folder / "link" / "state"), "alder", "training", TrainTask(study, 0, 1, "b" * 64)
    )
    folder.finish(PLAIN, lambda: refusal_content(ConsiliumError().refusal(), "alder"), {})
    return folder


@pytest.mark.parametrize(
    ("standing", "kept"),
    [
        (STANDING, {"a", "e"}),
        ({**STANDING, "b2": "approved"}, {"a", "b", "e"}),  # an amendment that changed no more than the code
        ({"x": "withdrawn"}, set("abcde")),
        ({}, set("abcde")),
    ],
)
def test_what_a_study_that_is_over_left_behind_goes(
    home: Home, standing: dict[str, str], kept: set[str]
) -> None:
    folders = {study: finished(home, study) for study in STANDING}
    daemon(home, standing, datetime.now(UTC))._tidy()
    assert {study for study, folder in folders.items() if folder.finished(PLAIN)} == kept


def test_what_is_old_goes(home: Home) -> None:
    folder = finished(home, "a")
    late = datetime.fromtimestamp(datetime.now(UTC).timestamp() + KEPT_S + 60, UTC)
    daemon(home, STANDING, late)._tidy()
    assert folder.finished(PLAIN) is None


def test_a_cohort_s_tasks_are_kept_in_the_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    made = daemon(home, {}, datetime.now(UTC))
    monkeypatch.setattr(made, "_identity", lambda: SimpleNamespace(name="alder"))
    approved: Any = SimpleNamespace(cohort="chest")
    assert Path(made._cohort(approved).state) == home.folder / "link" / "state"
