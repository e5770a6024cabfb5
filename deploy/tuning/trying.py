"""One trial after another: each a simulation in every fold."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

from common.errors import ConsiliumError, MachineError, OutOfMemory, SiteRefused, StudyError, StudyStopped
from common.metrics import EvaluationSums, Figure
from common.study import Study
from deploy.federation import check_pictures
from deploy.tuning.candidates import Candidates
from deploy.tuning.figure import Score, read_off
from deploy.tuning.notebook import Notebook, Open
from deploy.tuning.search import Values, named
from deploy.tuning.stage import Stage
from deploy.tuning.trial import GIVEN, Trial

TRIALS = "trials"

MOST_FAILURES = 3
"""Trials that may fail before one has come to a figure; then it is not the values that are wrong."""


@dataclass(slots=True)
class Trying:
    """Runs trials.

    Attributes:
        candidates: The studies that are searched.
        stage: Where they run.
        folds: How many.
        notebook: Where trials are written down.
        figure: What they are compared by.
        keep: Folder for the runs of every trial; None for none.
        prune: Give hopeless trials up.
    """

    candidates: Candidates
    stage: Stage
    folds: int
    notebook: Notebook
    figure: Figure
    keep: Path | None = None
    prune: bool = False

    def run(self, begun: Open, before: Sequence[Trial]) -> Trial:
        """What comes of a trial; it is written down.

        Args:
            begun: What to try.
            before: Trials that have ended.

        Raises:
            ConsiliumError: This machine or the data cannot serve any trial.
        """
        began = time.monotonic()
        trial = self._repeated(begun, before) or self._tried(begun, before)
        ended = replace(trial, duration_s=time.monotonic() - began)
        self.notebook.end(ended)
        return ended

    def given(self, values: Values) -> Trial:
        """What the study comes to as it is given; it is written down.

        Args:
            values: Its own at the keys that are searched.
        """
        began = time.monotonic()
        trial = self._tried(Open(GIVEN, {}), ())
        ended = replace(trial, values=values, duration_s=time.monotonic() - began)
        self.notebook.note_given(ended)
        return ended

    def _repeated(self, begun: Open, before: Sequence[Trial]) -> Trial | None:
        """The same values give the same figure: a trial that was made is not made again."""
        for earlier in before:
            if earlier.state != "pruned" and named(earlier.values) == named(begun.values):
                first = earlier.number if earlier.same_as is None else earlier.same_as
                return replace(earlier, number=begun.number, same_as=first)
        return None

    def _tried(self, begun: Open, before: Sequence[Trial]) -> Trial:
        make = partial(Trial, begun.number, begun.values)
        try:
            study = self.candidates.in_fold(begun.values)
        except StudyError as error:
            return make("failed", why=_why(error))
        try:
            score = self._score(study, begun)
        except StudyStopped:
            return make("pruned", why="below the median of the trials before it")
        except ConsiliumError as error:
            self._require_bearable(error, study, before)
            return make("failed", why=_why(error))
        if score is None:
            return make("failed", why=f"{self.figure.title} is not defined on the held-out cases")
        return make("completed", score)

    def _score(self, study: Study, begun: Open) -> Score | None:
        counts: list[EvaluationSums] = []
        figures: list[float] = []
        for fold in range(self.folds):
            watch = partial(self._watch, study, begun, fold, tuple(figures))
            with tempfile.TemporaryDirectory(prefix="consilium-") as scratch:
                out = Path(scratch) / "run" if self.keep is None else self._kept(begun, fold)
                shutil.rmtree(out, ignore_errors=True)  # what an interrupted trial has left there
                counts.append(self.stage.run(study, fold, out, watch))
            found = read_off(counts[-1], self.figure, study)
            figures += [] if found is None else [found]
        pooled = read_off(type(counts[0]).total(counts), self.figure, study)
        return None if pooled is None else Score(pooled, tuple(figures))

    def _kept(self, begun: Open, fold: int) -> Path:
        assert self.keep is not None  # noqa: S101  as it is asked for
        return self.keep / f"{begun.number:03d}" / f"fold-{fold + 1}"

    def _watch(
        self,
        study: Study,
        begun: Open,
        fold: int,
        figures: tuple[float, ...],
        number: int,
        sums: EvaluationSums,
    ) -> None:
        """End a trial that is hopeless by what it has come to so far."""
        is_tried = self.prune and begun.number != GIVEN
        found = read_off(sums, self.figure, study) if is_tried else None
        if found is None:
            return
        step = 100 * fold + 100 * number // study.federation.rounds
        is_over = step == 100 * self.folds
        if not is_over and self.notebook.is_hopeless(begun, step, fmean([*figures, found])):
            raise StudyStopped("the trial is hopeless")

    def _require_bearable(self, error: ConsiliumError, study: Study, before: Sequence[Trial]) -> None:
        """Let an error pass that other values may not lead to."""
        if isinstance(error, MachineError) and not isinstance(error, OutOfMemory):
            raise error
        if len(before) + 1 < MOST_FAILURES or any(trial.state != "failed" for trial in before):
            return
        if isinstance(error, SiteRefused):  # it names no file, and here the files are at hand
            check_pictures(self.stage.sites, study)
        raise error


def _why(error: ConsiliumError) -> str:
    return f"{error.code}: {error.private.splitlines()[0]}"
