"""A resolved study as text: TOML for people, canonical bytes for digests."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import Any

import tomli_w

from common.study.loading import parse_study
from common.study.sections import Study


def to_toml(study: Study) -> str:
    """The resolved study as a study file; reading it back gives the same study."""
    return tomli_w.dumps(_without_none(study.model_dump(mode="json")))


def template() -> str:
    """A commented study file with every key at its default."""
    return resources.files(__package__).joinpath("template.toml").read_text(encoding="utf-8")


def to_canonical(study: Study) -> str:
    """The one JSON text of a study: sorted keys, no spaces, ASCII."""
    return json.dumps(study.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def from_canonical(text: str) -> Study:
    """The study of a canonical text.

    Raises:
        StudyError: It is not a study.
    """
    return parse_study(json.loads(text))


def digest(study: Study) -> str:
    """SHA-256 of the canonical text, in hex: what names a study."""
    return hashlib.sha256(to_canonical(study).encode()).hexdigest()


def _without_none(value: Any) -> Any:
    """TOML has no null: a key that is not set is left away."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
