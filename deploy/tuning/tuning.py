"""From a command to a tuned study: what is searched, in whose folds, trial by trial, and what came of it."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client.devices import choose_device
from common.errors import InvalidValue, NothingLearned, OutputExists
from common.files import unwritable
from common.metrics import Figure
from common.study import Study, digest
from deploy.federation import FederationData
from deploy.launch import Request, check_quorum, federation_data, launch
from deploy.tuning.candidates import Candidates, check_search, grid
from deploy.tuning.dealing import Dealing, deal_folds
from deploy.tuning.figure import figure_of
from deploy.tuning.notebook import JOURNAL_FILE, Method, Notebook, optuna_module
from deploy.tuning.search import Search, Values, named, read_search
from deploy.tuning.spending import Spending, require_consent, spending
from deploy.tuning.stage import Stage
from deploy.tuning.trial import GIVEN, Trial
from deploy.tuning.trying import TRIALS, Trying
from deploy.tuning.tuned import Tuned, value_at
from deploy.tuning.writing import BEST_FILE, GIVEN_FILE, SEARCH_FILE, write_tuned

DEFAULT_TRIALS = 20
TEST = "test"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for on the command line; see ``consilium tune --help``.

    Attributes:
        request: Study, data, seed, device and folder, as for a simulation.
        search: The file that says what is searched.
        method: Who says what to try.
        trials: How many; None for all of a grid, and for 20 of another method.
        folds: Of each trial.
        metric: What trials are compared by; None for the figure that speaks for the study's task.
        prune: Give hopeless trials up.
        keep: Keep the runs of all trials.
        test: Ask the test split once, of the best study.
        yes: What trials cost real patients is accepted.
    """

    request: Request
    search: Path
    method: Method = "tpe"
    trials: int | None = None
    folds: int = 3
    metric: str | None = None
    prune: bool = False
    keep: bool = False
    test: bool = False
    yes: bool = False


@dataclass(frozen=True, slots=True)
class Tell:
    """Who is told how a search goes.

    Attributes:
        step: What is being done, in a few words.
        trial: A trial that has ended, with the search as it is then.
        cost: What the trials would cost the patients of a private study.
    """

    step: Callable[[str], None] = lambda _: None
    trial: Callable[[Trial, Tuned], None] = lambda _, __: None
    cost: Callable[[tuple[Spending, ...]], None] = lambda _: None


def tune(asked: Asked, tell: Tell) -> Tuned:
    """Search, and leave what was found in the output folder. An interrupted search goes on where it was.

    Raises:
        ConsiliumError: The study, the search, the data or this machine cannot serve; or no trial has come
            to a figure.
    """
    asked = replace(asked, request=replace(asked.request, out=asked.request.out.absolute()))
    optuna_module()
    plan = _Plan.of(asked)
    _check_out(asked.request.out)
    with tempfile.TemporaryDirectory(prefix="consilium-") as scratch, _alone(asked.request.out):
        tell.step("reading the data")
        study = plan.study if asked.test else plan.candidates.untested()
        data = federation_data(asked.request, study, Path(scratch))
        check_quorum(plan.study, len(data.cases))
        dealing = deal_folds(data, asked.folds, asked.request.seed)
        with Stage(data, dealing, Path(scratch), asked.request.device, asked.request.seed) as stage:
            search = _Search(plan, data, dealing, stage, tell)
            search.run()
        search.conclude()
        return search.tuned()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked, read and checked without looking at any data."""

    asked: Asked
    candidates: Candidates
    study: Study
    search: Search
    figure: Figure
    combinations: list[Values]

    @classmethod
    def of(cls, asked: Asked) -> _Plan:
        candidates = Candidates(asked.request.study, asked.request.rounds)
        study, search = candidates.given(), read_search(asked.search)
        choose_device(asked.request.device)
        check_search(search, candidates)
        _check_folds(asked.folds)
        figure = figure_of(study, asked.metric)
        found = grid(search, candidates, asked.request.seed) if asked.method == "grid" else []
        return cls(asked, candidates, study, search, figure, found)

    @property
    def wanted(self) -> int:
        """Trials that there shall be."""
        if self.asked.method == "grid":
            whole = len(self.combinations)
            return whole if self.asked.trials is None else min(self.asked.trials, whole)
        return DEFAULT_TRIALS if self.asked.trials is None else self.asked.trials

    def identity(self, dealing: Dealing) -> dict[str, Any]:
        """What must be the same when a search goes on."""
        return {
            "study": digest(self.study),
            "search": named([repr(axis) for axis in self.search.axes]),
            "method": self.asked.method,
            "metric": self.figure.key,
            "number of folds": dealing.folds,
            "seed": self.asked.request.seed,
            "set of sites or patients": dealing.digest,
        }


@dataclass(slots=True)
class _Search:
    """A search under way."""

    plan: _Plan
    data: FederationData
    dealing: Dealing
    stage: Stage
    tell: Tell
    notebook: Notebook = field(init=False)
    cost: tuple[Spending, ...] = field(init=False)

    def __post_init__(self) -> None:
        plan = self.plan
        self.cost = tuple(self._cost())
        if self.cost:
            self.tell.cost(self.cost)
        require_consent(list(self.cost) if self.data.cohorts else [], plan.asked.yes)
        seed, higher = plan.asked.request.seed, plan.figure.higher_is_better
        self.notebook = Notebook(
            self._out,
            plan.identity(self.dealing),
            plan.search.axes,
            plan.combinations,
            plan.asked.method,
            seed,
            higher,
        )
        _copied(plan.asked.request.study, self._out / GIVEN_FILE)
        _copied(plan.asked.search, self._out / SEARCH_FILE)

    def run(self) -> None:
        """Make the trials that are left."""
        asked = self.plan.asked
        trying = Trying(
            # Of the copy: the file may be edited while the search goes on.
            replace(self.plan.candidates, study=self._out / GIVEN_FILE),
            self.stage,
            self.dealing.folds,
            self.notebook,
            self.plan.figure,
            self._out / TRIALS if asked.keep else None,
            asked.prune,
        )
        self.tell.step("starting the trials")
        try:
            if self._given() is None:
                self.tell.trial(trying.given(self._values()), self.tuned())
            while begun := self.notebook.next(self.plan.wanted):
                ended = trying.run(begun, self.tuned().all)
                self.tell.trial(ended, self.tuned())
        finally:
            write_tuned(self._out, self.tuned())

    def conclude(self) -> None:
        """Ask the test split of the best study, if that is wished and was not done; write everything.

        Raises:
            NothingLearned: No trial has come to a figure.
        """
        tuned = self.tuned()
        if tuned.best is None:
            why = f"; the first: {tuned.trials[0].why}" if tuned.trials else ""
            raise NothingLearned(
                f"none of {len(tuned.trials)} trials came to a figure{why}",
                hint="Search where the study learns: other values, or more rounds.",
            )
        if self.plan.asked.test and all(told["trial"] != tuned.best.number for told in tuned.tested):
            self.tell.step("testing the best study on the test split")
            self._test(tuned.best)
            write_tuned(self._out, self.tuned())

    def tuned(self) -> Tuned:
        """The search as far as it is."""
        asked, trials = self.plan.asked, tuple(self.notebook.ended())
        found = Tuned(
            study=self.plan.study,
            keys=self.plan.search.keys,
            figure=self.plan.figure,
            method=asked.method,
            folds=self.dealing.folds,
            seed=asked.request.seed,
            wanted=self.plan.wanted,
            sites={site: len(held) for site, held in self.dealing.sites.items()},
            trials=trials,
            importance=self.notebook.importance(),
            spending=self.cost,
            tested=tuple(self.notebook.tested()),
            given=self._given(),
        )
        if found.best is None:
            return found
        values = {} if found.best.number == GIVEN else found.best.values
        return replace(found, best_study=self.plan.candidates.of(values))

    def _given(self) -> Trial | None:
        return self.notebook.given(self._values())

    def _values(self) -> Values:
        """What the given study has at the keys that are searched."""
        document = self.plan.study.model_dump(mode="json")
        return {key: value_at(document, key) for key in self.plan.search.keys}

    def _test(self, best: Trial) -> None:
        self.notebook.note_test(best.number)  # before: what was asked for was asked for, however it ends
        request = replace(
            self.plan.asked.request,
            study=self._out / BEST_FILE,
            out=self._out / TEST,
            rounds=None,
            overwrite=True,
        )
        pooled = launch(request, self.tell.step)["final"]["pooled"] or {}
        self.notebook.complete_test(pooled.get(self.plan.figure.key))

    def _cost(self) -> list[Spending]:
        if self.plan.study.privacy is None and not any("privacy." in key for key in self.plan.search.keys):
            return []
        plan, folds = self.plan, range(self.dealing.folds)
        whole = dict(zip(self.data.cases, self.data.units(plan.study), strict=True))
        least = {site: min(self.stage.units(plan.study, fold)[site] for fold in folds) for site in whole}
        units = {site: (whole[site], least[site]) for site in whole}
        return spending(plan.search, plan.candidates, units, plan.wanted + 1, self.dealing.folds)

    @property
    def _out(self) -> Path:
        return self.plan.asked.request.out


def _check_folds(folds: int) -> None:
    if folds < 2:
        raise InvalidValue(f"--folds {folds}: nobody would be left to train on", hint="Give 2 or more.")


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputExists(f"{out} is a file", hint="Choose another --out.")
    if out.is_dir() and any(out.iterdir()) and not (out / JOURNAL_FILE).is_file():
        raise OutputExists(f"{out} holds something that is not a search", hint="Choose another --out.")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """The output folder, in which no other process searches during the block."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / JOURNAL_FILE).open("a")
    except OSError as error:
        raise unwritable(out, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = f"another process searches in {out}"
            raise OutputExists(told, hint="Wait until it has ended.") from None
        try:
            yield
        finally:
            _leave_nothing_empty(out)


def _leave_nothing_empty(out: Path) -> None:
    """A search that never began leaves no folder behind."""
    journal = out / JOURNAL_FILE
    if journal.is_file() and journal.stat().st_size == 0:
        journal.unlink()
        if not any(out.iterdir()):
            out.rmdir()


def _copied(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except shutil.SameFileError:  # the search goes on with its own copy
        return
    except OSError as error:
        raise unwritable(target, error) from None
