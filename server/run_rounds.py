"""The rounds of a run: each is tested where the study says so, kept, and written down.

Invariant: what is kept in the end is the last model or, in a study with patience, the one that is best on
validation cases; with ``average_last`` each of these is the mean of a round's model and those before it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.metrics import EvaluationSums
from common.study import Study
from common.weights import Weights
from common.weights import digest as weights_digest
from server.averaging import mean_weights
from server.calibration import calibration_of
from server.journal import RunJournal
from server.models import Kept, ModelFiles
from server.record import RunRecord, pooled_and_sites, sums_of
from server.rounds import RoundEngine
from server.stopping import Patience, Standing
from server.subgroups import SubgroupCounts

MOST_SITES = 500
"""Sites whose metrics stand in run.json round by round; of more there are only those of the final model."""


def models_at(number: int, study: Study, record: RunRecord, models: ModelFiles) -> dict[int, Kept]:
    """The models by round that are averaged in a round that was finished.

    Raises:
        WeightsDamaged: A file of theirs is not what was written.
    """
    done = record.rounds[max(0, number - study.federation.average_last) : number]
    known = {entry["round"]: entry["model_digest"] for entry in done}
    return {number: Kept(models.open(number, made), made) for number, made in known.items()}


def mean_of(kept: Mapping[int, Kept]) -> Weights:
    """The model that is tested and kept where these are the last ones."""
    return mean_weights([kept[number].sound() for number in sorted(kept) if number])


@dataclass(frozen=True, slots=True, eq=False)
class _Tested:
    """A model, the mean of a round's and those before it, and what sites counted of it."""

    number: int
    model: Weights
    counts: Mapping[str, EvaluationSums]
    validated: Mapping[str, EvaluationSums]


@dataclass(frozen=True, slots=True, eq=False)
class RunRounds:
    """The rounds of a run, each of them tested where the study says so, and kept.

    Attributes:
        engine: Runs them.
        study: What is run.
        out: The run's folder.
        record: Takes in what comes of them.
        journal: Is told of each that is finished.
        models: Where all of their models lie.
        kept: The last of these, as many as are averaged.
    """

    engine: RoundEngine
    study: Study
    out: Path
    record: RunRecord
    journal: RunJournal
    models: ModelFiles
    kept: dict[int, Kept]

    def take(self, number: int) -> None:
        """One round; with the last one the record has a final model."""
        began, federation, patience = time.monotonic(), self.study.federation, self._patience
        trained = self.engine.train(number, self.kept[number - 1].weights)
        self._keep(number, Kept(trained.weights, trained.model_digest))
        metrics = validation = None
        last = number == federation.rounds
        if last or number % federation.evaluate_every == 0:
            tested = self._tested(number)
            metrics = self._metrics(tested)
            if patience is not None:
                validation = patience.validation(tested.validated, self._classes)
            standing = self._standing(number, validation)
            over = patience is not None and patience.is_over(standing)
            if over and not last:
                trained = replace(trained, late=self.engine.stop(number))
            if over or last:
                self.record.final = self._final(tested, standing, early=not last)
        self.record.enter_round(number, time.monotonic() - began, trained, metrics, validation)
        self.journal.finish(number, self.record.entry())
        self.record.write(self.out)

    @property
    def _patience(self) -> Patience | None:
        return Patience.of(self.study)

    @property
    def _classes(self) -> tuple[str, ...]:
        return self.study.study.classes

    def _keep(self, number: int, made: Kept) -> None:
        """Put a round's model to those that are averaged."""
        self.kept[number] = made
        for old in [n for n in self.kept if n and n <= number - self.study.federation.average_last]:
            del self.kept[old]
        self.kept.pop(0, None)
        self.record.files["checkpoints"].append(ModelFiles.name(number))

    def _tested(self, number: int) -> _Tested:
        """How the mean of the last models does."""
        model = mean_of(self.kept)
        counts = sums_of(self.engine.evaluate(number, model))
        asked = self.study.validates_in(number)
        return _Tested(number, model, counts, sums_of(self.engine.validate(number, model)) if asked else {})

    def _metrics(self, tested: _Tested) -> dict[str, Any] | None:
        return pooled_and_sites(tested.counts, self._classes, single=len(tested.counts) <= MOST_SITES)

    def _standing(self, number: int, validation: Mapping[str, Any] | None) -> Standing:
        """How the study stands on its validation cases, this round included."""
        entries = [*self.record.rounds, {"round": number, "validation": validation}]
        return Standing() if self._patience is None else self._patience.standing(entries)

    def _final(self, tested: _Tested, standing: Standing, *, early: bool) -> dict[str, Any]:
        """What run.json says of the model that is kept: the last one, or the best on validation cases."""
        patience, study, after = self._patience, self.study, tested.number
        if standing.best not in (None, tested.number):
            tested = self._tested_again(standing.best)
        found = pooled_and_sites(tested.counts, self._classes, curves=True) or {"pooled": None, "sites": {}}
        final = {"round": tested.number, "model_digest": weights_digest(tested.model), **found}
        if study.calibrates:
            final["calibration"] = calibration_of(tested.validated, tested.counts)
        if study.federation.subgroups:
            told = SubgroupCounts(study)
            self.engine.by_subgroup(tested.number, tested.model, told.add)
            final["subgroups"] = told.figures()
        if patience is not None:
            stopped = after if early else None
            final["stopping"] = {
                "figure": patience.figure.key,
                "value": standing.value,
                "stopped_after": stopped,
            }
        return final

    def _tested_again(self, number: int) -> _Tested:
        """How the model of an earlier round does: sites count anew, since its counts were let go of."""
        model = mean_of(models_at(number, self.study, self.record, self.models))
        counts = sums_of(self.engine.evaluate_again(number, model))
        asked = self.study.calibrates
        return _Tested(number, model, counts, sums_of(self.engine.validate(number, model)) if asked else {})
