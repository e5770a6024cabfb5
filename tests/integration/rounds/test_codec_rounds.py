"""Rounds of a study whose updates travel encoded: decoded at the coordinator, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.study import STRATEGY_NAMES
from common.weights import Weights, digest, norm, subtract

Gather = Callable[..., Any]
WIDE = {"hidden": 48}
CODECS: dict[str, dict[str, Any]] = {
    "bf16": {"codec": "bf16"},
    "int8": {"codec": "int8"},
    "topk": {"codec": "topk", "codec_fraction": 0.1},
}
ENCODED = "recurrent.weight_hh_l0"
each = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def gathered(federation: Gather, folder: Path, codec: dict[str, Any], **more: Any) -> Any:
    """A federation whose sites have folders for what outlives a task."""
    made = federation(model=WIDE, federation={"rounds": 4, **codec, **more.pop("federation", {})}, **more)
    made.grid.sites = {
        node: replace(site, state=str(folder / site.name)) for node, site in made.grid.sites.items()
    }
    return made


def distance(one: Weights, other: Weights) -> float:
    return norm(subtract(one, other))


@each
def test_contributions_are_what_the_gate_and_the_strategies_know(
    federation: Gather, tmp_path: Path, codec: dict[str, Any]
) -> None:
    made = gathered(federation, tmp_path, codec)
    trained = made.engine.train(1, made.base)
    assert not trained.missing and len(trained.contributions) == 4
    for contribution in trained.contributions:
        assert {n: (a.shape, a.dtype) for n, a in contribution.delta.items()} == {
            n: (a.shape, a.dtype) for n, a in made.base.items()
        }


@pytest.mark.parametrize("codec", [CODECS["bf16"], CODECS["int8"]], ids=["bf16", "int8"])
def test_the_model_is_that_of_whole_updates_but_for_rounding(
    federation: Gather, tmp_path: Path, codec: dict[str, Any]
) -> None:
    whole, made = federation(model=WIDE, federation={"rounds": 4}), gathered(federation, tmp_path, codec)
    exact = whole.engine.train(1, whole.base).weights
    assert 0 < distance(made.engine.train(1, made.base).weights, exact) < 0.01 * distance(exact, whole.base)


@each
def test_a_round_done_again_gives_the_same_model(
    federation: Gather, tmp_path: Path, codec: dict[str, Any]
) -> None:
    made = gathered(federation, tmp_path, codec)
    first = made.engine.train(1, made.base).weights
    second = digest(made.engine.train(2, first).weights)
    assert digest(made.engine.train(2, first).weights) == second
    undisturbed = gathered(federation, tmp_path / "undisturbed", codec)
    again = undisturbed.engine.train(1, undisturbed.base).weights
    assert digest(undisturbed.engine.train(2, again).weights) == second


@pytest.mark.parametrize("strategy", STRATEGY_NAMES)
def test_int8_goes_with_every_strategy(federation: Gather, tmp_path: Path, strategy: str) -> None:
    made = gathered(federation, tmp_path, {**CODECS["int8"], "strategy": strategy})
    assert distance(made.engine.train(1, made.base).weights, made.base) > 0


Arrays = dict[str, NDArray[Any]]
FAULTS: dict[str, Callable[[Arrays], Arrays]] = {
    "negative scale": lambda a: {**a, f"{ENCODED}:scales": -a[f"{ENCODED}:scales"]},
    "scale NaN": lambda a: {**a, f"{ENCODED}:scales": a[f"{ENCODED}:scales"] * np.float32(np.nan)},
    "scale of 64 bits": lambda a: {**a, f"{ENCODED}:scales": a[f"{ENCODED}:scales"].astype(float)},
    "codes cut": lambda a: {**a, f"{ENCODED}:int8": a[f"{ENCODED}:int8"][:-1]},
    "codes as a matrix": lambda a: {**a, f"{ENCODED}:int8": a[f"{ENCODED}:int8"].reshape(144, 48)},
    "no scales": lambda a: {name: array for name, array in a.items() if not name.endswith(":scales")},
    "whole arrays": lambda a: {
        **{name: array for name, array in a.items() if not name.startswith(ENCODED)},
        ENCODED: np.zeros((144, 48), np.float32),
    },
    "no array": lambda a: {},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_an_update_that_the_codec_does_not_make_costs_that_reply_and_nothing_else(
    federation: Gather, faults: Any, tmp_path: Path, fault: Callable[[Arrays], Arrays]
) -> None:
    made = gathered(federation, tmp_path, CODECS["int8"], faults={"cedar": faults.arrays(fault)})
    trained = made.engine.train(1, made.base)
    assert [contribution.site for contribution in trained.contributions] == ["alder", "birch", "dogwood"]
    assert trained.missing["cedar"].startswith("update-refused")
