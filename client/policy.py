"""What the hospital's policy says to a study, whoever asks."""

from __future__ import annotations

from pathlib import Path

from client.site import Site
from common.errors import PrivacyRequired
from common.study import Study


def require_privacy(site: Site, study: Study) -> None:
    """Let a study pass that the hospital's policy does not rule out.

    Raises:
        PrivacyRequired: The hospital takes only private ones, and this is none.
    """
    if not site.cohort or (study.privacy is not None and study.privacy.at_sites):
        return
    from client.cohorts.home import open_home  # a federation of manifests has no database to wait for

    if open_home(Path(site.home)).policy.privacy.required:
        raise PrivacyRequired(f"policy.toml of {site.home} has [privacy] required = true")
