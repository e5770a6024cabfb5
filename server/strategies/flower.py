"""The twelve strategies, with the aggregation arithmetic of Flower's own.

Every one of them commutes with a shift of all models by the same base, so Flower's ``aggregate_train``
is called on the deltas, around a base of zeros, in float64. That is the same mathematics as on weights
and better arithmetic: Krum's distances, ``|x|^2 + |y|^2 - 2 x.y``, cancel in float32 once sites are
close to each other.

Not used of Flower's strategies: ``start``, ``configure_train`` and ``sample_nodes`` (which draw from an
unseeded generator and wait for ever for nodes).
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from common.errors import NothingLearned
from common.flower import free_message
from common.study import StrategyChoice
from common.update import Contribution
from common.weights import Weights, spec_of
from server.strategies.lazy import Piecewise, WeightedMean
from server.strategies.protocol import ClientTerms

CASES, LOSS = "num-examples", "train_loss"

_MOMENTUM = "momentum_vector"
_REMEMBERED = (_MOMENTUM, "m_t", "v_t")
"""Where Flower's rules keep what they remember of earlier rounds."""


class FlowerStrategy:
    """A strategy of Flower's, fed with deltas."""

    def __init__(self, rule: flower.FedAvg, terms: ClientTerms, needs: int = 1) -> None:
        """A strategy that runs ``rule`` and has no meaning with fewer than ``needs`` updates."""
        self._rule = rule
        self._terms = terms
        self._needs = needs

    @property
    def terms(self) -> ClientTerms:
        """What the sites must do for it."""
        return self._terms

    def combine(self, round_number: int, contributions: Sequence[Contribution]) -> Weights:
        """See :class:`server.strategies.protocol.Strategy`."""
        if len(contributions) < self._needs:
            name = type(self._rule).__name__
            raise NothingLearned(f"{name} as set needs {self._needs} updates, {len(contributions)} came")
        kind = type(self._rule)
        if kind is flower.FedAvg:
            return WeightedMean(contributions, round_number)
        if issubclass(kind, (flower.FedMedian, flower.FedTrimmedAvg)):
            return Piecewise(contributions, partial(self._aggregated, round_number))
        if issubclass(kind, (flower.FedAvgM, *FED_OPT)):
            # What these do with a mean, they do with the mean of one: the updates need not be in memory.
            mean = WeightedMean(contributions, round_number)
            contributions = [replace(contributions[0], delta=mean, cases=1)]
        return self._aggregated(round_number, contributions)

    def memory(self) -> Weights:
        """See :class:`server.strategies.protocol.Strategy`."""
        kept: dict[str, NDArray[Any]] = {}
        for kind in _REMEMBERED:
            arrays = getattr(self._rule, kind, None) or {}
            named = (
                arrays.items() if isinstance(arrays, dict) else zip(map(str, count()), arrays, strict=False)
            )
            kept |= {f"{kind}/{name}": array for name, array in named}
        return kept

    def remember(self, memory: Weights) -> None:
        """See :class:`server.strategies.protocol.Strategy`."""
        for kind in _REMEMBERED:
            if not hasattr(self._rule, kind):
                continue
            kept = {name.partition("/")[2]: memory[name] for name in memory if name.startswith(f"{kind}/")}
            if kind == _MOMENTUM:  # a list, in the model's order
                setattr(self._rule, kind, [kept[str(n)] for n in range(len(kept))] or None)
            else:
                setattr(self._rule, kind, kept or None)

    def _aggregated(self, round_number: int, contributions: Sequence[Contribution]) -> Weights:
        """What Flower's strategy makes of the updates, in float64."""
        messages = [_message(contribution) for contribution in contributions]
        self._centre(contributions[0].delta)
        with _quiet(), _quick_collections():
            arrays, _ = self._rule.aggregate_train(round_number, messages)
        if arrays is None:
            raise NothingLearned(
                f"{type(self._rule).__name__} needs more than the {len(contributions)} updates it got"
            )
        # Flower answers with its arrays in any order; a model's order is that of its weights.
        return {name: np.asarray(arrays[name].numpy()) for name in contributions[0].delta}

    def _centre(self, like: Weights) -> None:
        """Tell rules that remember the current model that it is zero: updates are changes of it."""
        if not hasattr(self._rule, "current_arrays"):
            return
        zeros = {name: np.zeros(spec_of(like, name).shape) for name in like}
        adaptive = hasattr(self._rule, "v_t")  # FedOpt keeps NumPy arrays where the others keep records
        self._rule.current_arrays = zeros if adaptive else _record(zeros)


def build_strategy(choice: StrategyChoice) -> FlowerStrategy:
    """The strategy that a study names, with the study's options."""
    options = choice.model_dump(exclude={"name"})
    match choice.name:
        case "fedprox":
            # Its aggregation is FedAvg's; mu acts at the sites.
            return FlowerStrategy(
                flower.FedAvg(weighted_by_key=CASES), ClientTerms(proximal_mu=choice.proximal_mu)
            )
        case "qfedavg":
            rule = flower.QFedAvg(train_loss_key=LOSS, weighted_by_key=CASES, **options)
            return FlowerStrategy(rule, ClientTerms(base_loss=True))
        case "krum" | "multikrum" if choice.num_malicious_sites:
            # Blanchard et al. 2017: with f malicious sites, 2 f + 3 updates are the fewest.
            return FlowerStrategy(_rule(choice), ClientTerms(), needs=2 * choice.num_malicious_sites + 3)
        case _:
            return FlowerStrategy(_rule(choice), ClientTerms())


def _rule(choice: StrategyChoice) -> flower.FedAvg:
    options = choice.model_dump(exclude={"name"})
    renamed = {_FLOWER_OPTION.get(key, key): value for key, value in options.items()}
    return _RULES[choice.name](weighted_by_key=CASES, **renamed)


_RULES: dict[str, Callable[..., flower.FedAvg]] = {
    "fedavg": flower.FedAvg,
    "fedavgm": flower.FedAvgM,
    "fedadagrad": flower.FedAdagrad,
    "fedadam": flower.FedAdam,
    "fedyogi": flower.FedYogi,
    "fedmedian": flower.FedMedian,
    "fedtrimmedavg": flower.FedTrimmedAvg,
    "krum": flower.Krum,
    "multikrum": flower.MultiKrum,
    "bulyan": flower.Bulyan,
}
FED_OPT = (flower.FedAdagrad, flower.FedAdam, flower.FedYogi)
_FLOWER_OPTION = {"num_malicious_sites": "num_malicious_nodes", "num_sites_to_select": "num_nodes_to_select"}


def _message(contribution: Contribution) -> Message:
    # QFedAvg (Li et al. 2020, "Fair resource allocation", Alg. 2) weighs by the loss of the base model.
    loss = contribution.loss if contribution.base_loss is None else contribution.base_loss
    # Private training has no loss to tell; no strategy but QFedAvg asks for one.
    told = {} if loss is None else {LOSS: loss}
    metrics = MetricRecord({CASES: contribution.cases, **told})
    content = RecordDict({"arrays": _record(contribution.delta), "metrics": metrics})
    return free_message(content, MessageType.TRAIN)


def _record(weights: Weights) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(a, dtype=np.float64)) for name, a in weights.items()})


@contextmanager
def _quick_collections() -> Iterator[None]:
    """Flower's Bulyan and QFedAvg collect garbage once an array: let there be little to look through."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _quiet() -> Iterator[Any]:
    """Flower logs each aggregation to the console, which is the terminal's progress display."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
