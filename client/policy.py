"""What the hospital's policy says to a study, whoever asks."""

from __future__ import annotations

from pathlib import Path

from client.site import Site
from common.errors import PrivacyRequired, UnitRefused
from common.study import Study


def check_policy(site: Site, study: Study) -> None:
    """Let a study pass that the hospital's policy does not rule out.

    Raises:
        PrivacyRequired: The hospital takes only private ones, and this is none.
        UnitRefused: It hides single images, and the hospital's budget is for patients.
    """
    if not site.cohort:
        return
    from client.cohorts.home import open_home  # a federation of manifests has no database to wait for

    policy, private = open_home(Path(site.home)).policy.privacy, study.privacy
    if private is None or not private.at_sites:
        if policy.required:
            raise PrivacyRequired(f"policy.toml of {site.home} has [privacy] required = true")
    elif private.unit == "image" and policy.unit == "patient":
        raise UnitRefused(f'policy.toml of {site.home} has [privacy] unit = "patient"')
