"""The trials of a search on the disk: what was tried, what came of it, what to try next.

Optuna keeps them in a journal of its own. What a trial tries follows from the seed, its number and the trials
before it, so a search that was interrupted goes on as if it had not been. Optuna is imported when it is
asked for: it is an extra.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.errors import ExtraMissing, SearchDiffers
from common.seeds import derive_seed
from deploy.tuning.figure import Score
from deploy.tuning.search import Axis, Choices, Values, named
from deploy.tuning.trial import GIVEN, State, Trial

if TYPE_CHECKING:
    import optuna

JOURNAL_FILE = "trials.log"
NAME = "tune"
Method = Literal["grid", "random", "tpe"]

UNTIL_PRUNED = 4
"""Trials that end before another one may be found hopeless."""

LEAST_TRIALS = 10
"""Different ones that have come to a figure, before anything is said of what mattered."""

_ASKED, _GIVEN, _TESTED, _TOLD = "asked", "given", "tested", "told"


@dataclass(frozen=True, slots=True)
class Open:
    """A trial that has begun, or that an interrupted search had begun."""

    number: int
    values: Values


def optuna_module() -> Any:
    """Optuna, quiet.

    Raises:
        ExtraMissing: It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ExtraMissing(
            "consilium tune needs Optuna", hint="Install it with `pip install 'consilium[tune]'`."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Notebook:
    """The trials of one search.

    Args:
        folder: Where they are kept.
        asked: What the search is, as it must be again when it goes on.
        axes: What is searched.
        combinations: Of a grid, in order; empty for other methods.
        method: Who says what to try.
        seed: Of what is tried.
        higher: Whether a higher figure is better.

    Raises:
        SearchDiffers: The folder holds another search.
        ExtraMissing: Optuna is not installed.
    """

    def __init__(
        self,
        folder: Path,
        asked: Mapping[str, Any],
        axes: Sequence[Axis],
        combinations: Sequence[Values],
        method: Method,
        seed: int,
        higher: bool,
    ) -> None:
        self._optuna = optuna_module()
        self._axes, self._combinations = tuple(axes), combinations
        self._method, self._seed = method, seed
        backend = self._optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL_FILE))
        self._storage = self._optuna.storages.JournalStorage(backend)
        self._study: optuna.Study = self._optuna.create_study(
            storage=self._storage,
            study_name=NAME,
            direction="maximize" if higher else "minimize",
            pruner=self._optuna.pruners.MedianPruner(n_startup_trials=UNTIL_PRUNED, n_warmup_steps=25),
            load_if_exists=True,
        )
        self._check(asked)

    def ended(self) -> list[Trial]:
        """Trials that have ended, in order."""
        return [self._trial(t) for t in self._begun() if t.state.is_finished()]

    def next(self, wanted: int) -> Open | None:
        """What to try now: first what an interrupted search had begun; None if so many trials are there."""
        states = self._optuna.trial.TrialState
        for frozen in self._frozen():
            if frozen.state is states.RUNNING and self._is_whole(frozen):
                return Open(frozen.number + 1, self._values(frozen.params))
            if frozen.state is states.RUNNING:  # interrupted before it was known what to try
                self._study.tell(frozen.number, state=states.FAIL)
        number = len(self._begun())
        if number >= wanted or (self._method == "grid" and number >= len(self._combinations)):
            return None
        self._study.sampler = self._sampler(number)
        if self._method == "grid" and not any(t.state is states.WAITING for t in self._frozen()):
            self._study.enqueue_trial(self._params(self._combinations[number]))
        asked = self._study.ask({axis.key: self._distribution(axis) for axis in self._axes})
        return Open(asked.number + 1, self._values(asked.params))

    def is_hopeless(self, trial: Open, step: int, value: float) -> bool:
        """Whether a trial that comes to ``value`` at ``step`` is below the median of those before it.

        Args:
            trial: Which.
            step: How far it is, in hundredths of a fold.
            value: Its figure so far.
        """
        number = self._storage.get_study_id_from_name(NAME)
        live = self._optuna.trial.Trial(
            self._study, self._storage.get_trial_id_from_study_id_trial_number(number, trial.number - 1)
        )
        if step not in self._frozen()[trial.number - 1].intermediate_values:
            live.report(value, step)
        return bool(live.should_prune())

    def end(self, trial: Trial) -> None:
        """Write down how a trial ended."""
        states = self._optuna.trial.TrialState
        number = self._storage.get_study_id_from_name(NAME)
        index = trial.number - 1
        identity = self._storage.get_trial_id_from_study_id_trial_number(number, index)
        self._storage.set_trial_user_attr(identity, _TOLD, _told(trial))
        if trial.score is not None:
            self._study.tell(index, trial.score.value)
        else:
            self._study.tell(index, state=states.PRUNED if trial.state == "pruned" else states.FAIL)

    def given(self, values: Values) -> Trial | None:
        """What the study that is given came to, with its own values; None if that was not tried yet."""
        told = self._study.user_attrs.get(_GIVEN)
        if told is None:
            return None
        score = None if told["value"] is None else Score(told["value"], tuple(told["folds"]))
        state: State = "completed" if score else "failed"
        return Trial(GIVEN, values, state, score, told["why"], told["duration_s"])

    def note_given(self, trial: Trial) -> None:
        """Write down what the given study came to."""
        value = trial.score.value if trial.score else None
        self._study.set_user_attr(_GIVEN, {"value": value, **_told(trial)})

    def tested(self) -> list[dict[str, Any]]:
        """Each time that the test split was asked: for which trial, and what it said."""
        found: list[dict[str, Any]] = self._study.user_attrs.get(_TESTED, [])
        return list(found)

    def note_test(self, trial: int) -> None:
        """Write down that the test split is asked now, for a trial."""
        self._study.set_user_attr(_TESTED, [*self.tested(), {"trial": trial, "value": None}])

    def complete_test(self, value: float | None) -> None:
        """Write down what the test split said when it was last asked."""
        *earlier, last = self.tested()
        self._study.set_user_attr(_TESTED, [*earlier, {**last, "value": value}])

    def importance(self) -> dict[str, float]:
        """Share of each key in how much the best trials differ from the others; empty if nothing can be said.

        PED-ANOVA (Watanabe et al. 2023), which needs no further library.
        """
        ended = {named(t.values) for t in self.ended() if t.state == "completed"}
        if len(ended) < LEAST_TRIALS or len(self._axes) < 2:
            return {}
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
        found = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {key: float(share) for key, share in found.items() if math.isfinite(share)}

    def _check(self, asked: Mapping[str, Any]) -> None:
        before = self._study.user_attrs.get(_ASKED)
        if before is None:
            self._study.set_user_attr(_ASKED, dict(asked))
            return
        changed = [name for name in asked if asked[name] != before.get(name)]
        if changed:
            raise SearchDiffers(f"the search here was begun with another {' and another '.join(changed)}")

    def _frozen(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _begun(self) -> list[optuna.trial.FrozenTrial]:
        """Trials of which it is known what they try; others are of no account."""
        return [t for t in self._frozen() if self._is_whole(t)]

    def _is_whole(self, frozen: optuna.trial.FrozenTrial) -> bool:
        return len(frozen.params) == len(self._axes)

    def _sampler(self, number: int) -> Any:
        seed = derive_seed(self._seed, "trial", number) % 2**32
        samplers = self._optuna.samplers
        return samplers.TPESampler(seed=seed) if self._method == "tpe" else samplers.RandomSampler(seed=seed)

    def _distribution(self, axis: Axis) -> Any:
        kinds = self._optuna.distributions
        if isinstance(axis, Choices):
            return kinds.CategoricalDistribution(axis.names)
        if axis.whole:
            return kinds.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        return kinds.FloatDistribution(axis.low, axis.high, log=axis.log)

    def _params(self, values: Values) -> dict[str, Any]:
        """Values as Optuna has them."""
        return {
            axis.key: named(values[axis.key]) if isinstance(axis, Choices) else values[axis.key]
            for axis in self._axes
        }

    def _values(self, params: Mapping[str, Any]) -> Values:
        return {
            axis.key: axis.of_name(params[axis.key]) if isinstance(axis, Choices) else params[axis.key]
            for axis in self._axes
            if axis.key in params
        }

    def _trial(self, frozen: optuna.trial.FrozenTrial) -> Trial:
        states = self._optuna.trial.TrialState
        told = frozen.user_attrs[_TOLD]
        score = None
        if frozen.state is states.COMPLETE and frozen.value is not None:
            score = Score(frozen.value, tuple(told["folds"]))
        return Trial(
            number=frozen.number + 1,
            values=self._values(frozen.params),
            state="completed" if score else "pruned" if frozen.state is states.PRUNED else "failed",
            score=score,
            why=told["why"],
            duration_s=told["duration_s"],
            same_as=told["same_as"],
        )


def _told(trial: Trial) -> dict[str, Any]:
    return {
        "folds": list(trial.score.folds) if trial.score else [],
        "why": trial.why,
        "duration_s": trial.duration_s,
        "same_as": trial.same_as,
    }
