"""What a hospital's policy says to a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from client.cohorts.home import POLICY_FILE, create_home
from client.policy import check_policy
from client.site import Site
from common.errors import PrivacyRequired, UnitRefused
from common.study import Study

MakeStudy = Callable[..., Study]
PATIENTS = {"noise_multiplier": 1.0}
IMAGES = {**PATIENTS, "unit": "image"}
SITES = {"sites": {"noise_multiplier": 1.0, "planned_sites": 10}}


@pytest.fixture
def site(tmp_path: Path) -> Callable[[str], Site]:
    def with_policy(privacy: str) -> Site:
        home = create_home(tmp_path / "home", "elm")
        (home.folder / POLICY_FILE).write_text(f"[privacy]\n{privacy}\n")
        return Site("elm", home=str(home.folder), cohort="chest")

    return with_policy


@pytest.mark.parametrize(
    ("policy", "privacy", "refusal"),
    [
        ("", None, None),
        ("", PATIENTS, None),
        ("", IMAGES, UnitRefused),
        ("", SITES, None),
        ("required = true", None, PrivacyRequired),
        ("required = true", SITES, PrivacyRequired),  # the coordinator's noise is not the hospital's
        ("required = true", PATIENTS, None),
        ("required = true", IMAGES, UnitRefused),
        ('unit = "image"', IMAGES, None),
        ('unit = "image"', PATIENTS, None),
    ],
)
def test_a_study_passes_or_not(
    site: Callable[[str], Site],
    make_study: MakeStudy,
    policy: str,
    privacy: dict[str, object] | None,
    refusal: type[Exception] | None,
) -> None:
    study = make_study(**({} if privacy is None else {"privacy": privacy}))
    if refusal is None:
        check_policy(site(policy), study)
        return
    with pytest.raises(refusal):
        check_policy(site(policy), study)


def test_a_manifest_has_no_policy(make_study: MakeStudy) -> None:
    check_policy(Site("elm", "manifest.csv"), make_study(privacy=IMAGES))
