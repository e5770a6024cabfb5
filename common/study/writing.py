"""A resolved study as text: TOML for people, canonical bytes for digests."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import Any

import tomli_w
from pydantic_core import to_jsonable_python

from common.errors import StudySyntaxError
from common.study.augmentation import Augmentation
from common.study.data import Data
from common.study.federation import Federation
from common.study.head import Head
from common.study.loading import parse_study
from common.study.model import Model
from common.study.section import Section
from common.study.sections import Study
from common.study.sequence import Patches, Steps, Views
from common.study.training import Training

_YOUNGER: tuple[tuple[str, type[Section], tuple[str, ...]], ...] = (
    ("study", Head, ("several_labels",)),
    ("data", Data, ("max_boxes",)),
    ("sequence", Patches, ("order",)),
    ("sequence", Views, ("case",)),
    ("sequence", Steps, ("every", "fill", "limit", "categories", "plausible")),
    ("model", Model, ("residual", "layer_norm")),
    (
        "training",
        Training,
        (
            "work_s",
            "optimizer_state",
            "warmup_rounds",
            "loss",
            "focal_gamma",
            "label_smoothing",
            "sampling",
        ),
    ),
    (
        "federation",
        Federation,
        (
            "enough",
            "late_rounds",
            "calibrate",
            "patience",
            "patience_by",
            "patience_min_delta",
            "subgroups",
            "min_cell",
        ),
    ),
)
"""Keys of the study that came after the first release of its canonical text, by table."""

_YOUNGER_TABLES: tuple[tuple[str, Section], ...] = (("augmentation", Augmentation()),)
"""Whole tables that did, as they are where the study does not name them."""


def to_toml(study: Study) -> str:
    """The resolved study as a study file; reading it back gives the same study."""
    return tomli_w.dumps(_without_none(study.model_dump(mode="json")))


def template() -> str:
    """A commented study file with every key at its default."""
    return resources.files(__package__).joinpath("template.toml").read_text(encoding="utf-8")


def to_canonical(study: Study) -> str:
    """The one JSON text of a study: keys in the order of the sections, no spaces, ASCII.

    Labels stand in the study's own order, since it says which class is which. A key that came later is left
    away at its default, so that a study which does not use it keeps its text and its digest.
    """
    document = study.model_dump(mode="json")
    for table, section, keys in _YOUNGER:
        for key in keys:
            default = to_jsonable_python(section.model_fields[key].default)
            if key in document[table] and document[table][key] == default:
                del document[table][key]
    for table, unnamed in _YOUNGER_TABLES:
        if document[table] == unnamed.model_dump(mode="json"):
            del document[table]
    return json.dumps(document, separators=(",", ":"))


def from_canonical(text: str) -> Study:
    """The study of a canonical text.

    Raises:
        StudyError: It is not a study.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StudySyntaxError(f"not the text of a study: {error}") from None
    return parse_study(document)


def digest(study: Study) -> str:
    """SHA-256 of the canonical text, in hex: what names a study."""
    return hashlib.sha256(to_canonical(study).encode()).hexdigest()


def _without_none(value: Any) -> Any:
    """TOML has no null: a key that is not set is left away."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
