"""From a command to a cross-validated study: who is held out when, fold by fold, and what came of it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from client.cases import SiteCases, patients
from client.devices import choose_device
from common.errors import (
    InvalidValue,
    OutputExists,
    QuorumNotReached,
    SiteRefused,
    TooFewCases,
    TrialsSpendBudget,
)
from common.files import unwritable, write_atomically
from common.study import Study, to_toml
from deploy.crossvalidation.constant import constant_of
from deploy.crossvalidation.held_out import FoldRun, HeldOut, joined
from deploy.federation import FederationData, check_pictures
from deploy.launch import Request, check_quorum, federation_data
from deploy.tuning.candidates import Candidates
from deploy.tuning.dealing import Dealing, deal_folds, deal_patients
from deploy.tuning.search import Search
from deploy.tuning.spending import Spending, spending, told
from deploy.tuning.stage import Stage

RESULT_FILE, STUDY_FILE = "crossvalidation.json", "study.toml"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for on the command line; see ``consilium crossvalidate --help``.

    Attributes:
        request: Study, data, seed, device and folder, as for a simulation.
        folds: How many; None for one a patient.
        deal_test: Deal the patients of the test split to folds too.
        yes: What the folds cost real patients is accepted.
    """

    request: Request
    folds: int | None = 5
    deal_test: bool = False
    yes: bool = False


@dataclass(frozen=True, slots=True)
class Tell:
    """Who is told how it goes.

    Attributes:
        step: What is being done, in a few words.
        fold: A fold that has ended, and how many there are.
        cost: What the folds would cost the patients of a private study.
    """

    step: Callable[[str], None] = lambda _: None
    fold: Callable[[FoldRun, int], None] = lambda _, __: None
    cost: Callable[[list[Spending]], None] = lambda _: None


def crossvalidate(asked: Asked, tell: Tell) -> HeldOut:
    """Train the study once a fold, test it on who is held out, and leave the result in the output folder.

    Raises:
        ConsiliumError: The study, the data or this machine cannot serve.
    """
    request = replace(asked.request, out=asked.request.out.absolute())
    candidates = Candidates(request.study, request.rounds)
    study = candidates.given()
    choose_device(request.device)
    if asked.folds is not None and asked.folds < 2:
        raise InvalidValue(f"--folds {asked.folds}: nobody would be left to train on", hint="Give 2 or more.")
    with tempfile.TemporaryDirectory(prefix="consilium-") as scratch, _place(request):
        tell.step("reading the data")
        data = _dealt(
            federation_data(request, candidates.untested(), Path(scratch)), with_test=asked.deal_test
        )
        check_quorum(study, len(data.cases))
        dealing = _dealing(data, asked)
        _check_folds(study, dealing)
        with Stage(data, dealing, Path(scratch), request.device, request.seed, lasting=False) as stage:
            _settle_cost(_cost(study, candidates, data, stage, dealing), asked, tell)
            tell.step("starting the folds")
            folds = tuple(_run(stage, candidates, study, dealing, Path(scratch), tell))
        found = _held_out(study, asked, data, folds)
        write_atomically(request.out / STUDY_FILE, to_toml(study))
        _write(request.out / RESULT_FILE, found)
    return found


def _write(file: Path, found: HeldOut) -> None:
    write_atomically(file, json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n")


def _dealt(data: FederationData, *, with_test: bool) -> FederationData:
    """The data with what is dealt to folds as training cases."""
    if not with_test:
        return data
    cases = {site: SiteCases((*each.train, *each.test), ()) for site, each in data.cases.items()}
    return replace(data, cases=cases)


def _dealing(data: FederationData, asked: Asked) -> Dealing:
    if asked.folds is None:
        return deal_patients(data)
    return deal_folds(data, asked.folds, asked.request.seed, all_train=False)


def _check_folds(study: Study, dealing: Dealing) -> None:
    """See that somebody is tested, and that every fold has the sites that the study asks for a round.

    Raises:
        QuorumNotReached, TooFewCases: It is not so.
    """
    needed, tested = study.federation.min_sites, 0
    for fold in range(dealing.folds):
        training = _training(dealing, fold)
        if not _held(dealing, fold).keys() & training:
            continue
        tested += 1
        if len(training) < needed:
            raise QuorumNotReached(
                f"in fold {fold + 1} only {len(training)} of {len(dealing.sites)} sites have patients left "
                f"to train on; the study asks for {needed} sites a round",
                hint=f"Lower min_sites from {needed}, or leave sites with one patient out with --where.",
            )
    if not tested:
        raise TooFewCases(
            "every site has its patients in one fold only, so nobody can be held out",
            hint="Cross-validation needs a site with two patients.",
        )


def _held(dealing: Dealing, fold: int) -> dict[str, int]:
    """How many patients a fold holds out, by site; sites that hold out nobody are not there."""
    counts = {site: list(of.values()).count(fold) for site, of in dealing.sites.items()}
    return {site: count for site, count in counts.items() if count}


def _training(dealing: Dealing, fold: int) -> set[str]:
    """Sites that have somebody who is not held out."""
    return {site for site, of in dealing.sites.items() if set(of.values()) != {fold}}


def _cost(
    study: Study, candidates: Candidates, data: FederationData, stage: Stage, dealing: Dealing
) -> list[Spending]:
    """What all folds together would cost the patients; empty without privacy at the sites."""
    if study.privacy is None:
        return []
    whole = dict(zip(data.cases, data.units(study), strict=True))
    each = [stage.units(study, fold) for fold in range(dealing.folds)]
    units = {site: (whole[site], min(e[site] for e in each if site in e)) for site in whole}
    return spending(Search(()), candidates, units, 1, dealing.folds)


def _settle_cost(cost: list[Spending], asked: Asked, tell: Tell) -> None:
    """Tell of the cost, and let it pass where it is nobody's or was accepted.

    Raises:
        TrialsSpendBudget: It is real patients', and nobody has said yes.
    """
    if cost:
        tell.cost(cost)
    if cost and asked.request.cohorts and not asked.yes:
        raise TrialsSpendBudget(
            "\n".join(told(each) for each in cost),
            hint="Cross-validate on public or phantom data, or in fewer folds; --yes takes the cost.",
        )


def _run(
    stage: Stage, candidates: Candidates, study: Study, dealing: Dealing, scratch: Path, tell: Tell
) -> Iterator[FoldRun]:
    # Where nothing is chosen by the rounds before the last, they are not tested.
    untested = {} if study.federation.patience else {"federation.evaluate_every": study.federation.rounds}
    as_run = candidates.in_fold(untested)
    for number in range(dealing.folds):
        began, held, training = time.monotonic(), _held(dealing, number), _training(dealing, number)
        try:
            # Where no site is left that could test whom it holds out, there is nothing to train for.
            is_tested = bool(held.keys() & training)
            sums = stage.by_site(as_run, number, scratch / f"fold-{number + 1}") if is_tested else {}
        except SiteRefused:  # it names no file, and here the files are at hand
            check_pictures(stage.sites_in(number), as_run)
            raise
        counted = {site: sums[site] for site in sorted(held.keys() & sums.keys())}
        fold = FoldRun(number + 1, len(training), held, counted, time.monotonic() - began)
        tell.fold(fold, dealing.folds)
        yield fold


def _held_out(study: Study, asked: Asked, data: FederationData, folds: tuple[FoldRun, ...]) -> HeldOut:
    found = HeldOut(
        study=study,
        seed=asked.request.seed,
        each_patient=asked.folds is None,
        test_split_dealt=asked.deal_test,
        patients={site: patients(cases.train) for site, cases in data.cases.items()},
        folds=folds,
        sums=dict(sorted(joined(folds).items())),
        constant=None,
    )
    return replace(found, constant=constant_of(study, data.cases, found.pooled))


@contextmanager
def _place(request: Request) -> Iterator[None]:
    """The output folder for the block; a block that fails leaves none that was not there.

    Raises:
        OutputExists: Something is there already that may not be replaced.
        DiskFull, OutputUnwritable: It cannot be made.
    """
    out = request.out
    if out.exists() and not out.is_dir():
        raise OutputExists(f"{out} is a file", hint="Choose another --out.")
    if out.is_dir() and any(out.iterdir()):
        if not (out / RESULT_FILE).is_file():
            raise OutputExists(
                f"{out} holds something that is not a cross-validation", hint="Choose another --out."
            )
        if not request.overwrite:
            raise OutputExists(f"{out} holds an earlier cross-validation")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from None
    try:
        yield
    finally:
        if not any(out.iterdir()):
            out.rmdir()
