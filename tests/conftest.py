"""What all tests share: small studies and models, the folder of real pictures, one thread for torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from common.models import SequenceClassifier, build_model
from common.study import Study, parse_study

DATA_VARIABLE = "CONSILIUM_DATA"
SMALL: dict[str, dict[str, Any]] = {
    "study": {"name": "tiny", "labels": {"0": "normal", "1": "abnormal"}},
    "sequence": {"kind": "rows", "size": 8},
    "model": {"hidden": 4},
    "training": {"batch_size": 4},
    "federation": {"rounds": 2, "min_sites": 1},
}

# Other tests share the cores: an example that had to wait is no failure.
settings.register_profile("quick", deadline=None, max_examples=50, print_blob=True)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def small_study(**sections: Mapping[str, Any]) -> Study:
    """A small study; each section given is laid over the small one's, key by key, if of the same kind."""
    document = {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in {**SMALL, **sections}}
    if document["sequence"]["kind"] not in ("rows", "patches"):
        document["sequence"] = dict(sections["sequence"])
    return parse_study(document)


def small_model(seed: int = 0, **sections: Mapping[str, Any]) -> SequenceClassifier:
    """The model of a small study, its weights drawn from ``seed``, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_model(small_study(**sections)).eval()


@pytest.fixture(scope="session")
def study() -> Callable[..., Study]:
    """``study(model={"cell": "lstm"})``: a small study with these changes."""
    return small_study


@pytest.fixture(scope="session")
def tiny() -> Callable[..., SequenceClassifier]:
    """``tiny(seed, model={"cell": "lstm"})``: a small study's model."""
    return small_model


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real pictures; they are not part of the repository."""
    given = os.environ.get(DATA_VARIABLE)
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        if given and os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
            pytest.fail(f"{DATA_VARIABLE} names a folder that is not there: {folder}")
        pytest.skip(f"needs real pictures: no folder {folder} ({DATA_VARIABLE} names another)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Sums in one order give the same bits on every machine."""
    torch.set_num_threads(1)
