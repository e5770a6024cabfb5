"""The folds of a federation on this machine, and studies run in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from client.cases import SiteCases
from client.site import Site
from common.codecs import codec_of
from common.errors import NoTestCases
from common.metrics import EvaluationSums
from common.seeds import derive_seed
from common.study import Study
from deploy.engines.inprocess import InProcessEngine, InProcessGrid
from deploy.federation import FederationData
from deploy.ledgers import rehearsing, with_ledgers
from deploy.states import with_states
from deploy.tuning.dealing import Dealing
from deploy.tuning.watching import Watch, WatchedJournal
from server.study_run import RunPlan, run_study

FOLDS = "folds"


@dataclass(frozen=True, slots=True)
class _Fold:
    """The sites of one fold, with training cases and units of privacy of each."""

    sites: list[Site]
    data: FederationData


class Stage:
    """Runs studies in folds; use as a context manager: on exit its worker processes are gone.

    Where nothing of one trial could reach the next, a fold's workers stay, with its cases decoded. A site
    whose patients are all held out in a fold takes no part in it.

    Args:
        data: The federation; its manifests are written to ``folder``.
        dealing: Who is held out in which fold.
        folder: Scratch.
        device: ``auto``, ``cpu`` or ``cuda:N``.
        seed: Of every trial: trials differ by what they try, and by nothing else.
        lasting: Whether a fold's workers may stay; not where every fold is run once.
    """

    def __init__(
        self,
        data: FederationData,
        dealing: Dealing,
        folder: Path,
        device: str,
        seed: int,
        *,
        lasting: bool = True,
    ) -> None:
        self._seed, self._may_last = seed, lasting
        sites = data.materialise(folder, device)
        (folder / FOLDS).mkdir()
        placed = [
            replace(site, folds=str(_written(folder / FOLDS / f"{number}.json", dealing, site.name)))
            for number, site in enumerate(sites)
        ]
        self._folds = [_fold(data, dealing, placed, number) for number in range(dealing.folds)]
        self._open = ExitStack()
        self._grids: dict[int, InProcessGrid] = {}

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def sites(self) -> list[Site]:
        """The sites as one fold has them."""
        return self.sites_in(0)

    def sites_in(self, fold: int) -> list[Site]:
        """The sites that take part in a fold."""
        return self._folds[fold].sites

    def units(self, study: Study, fold: int) -> dict[str, int]:
        """Units of privacy that a fold trains on, by site."""
        data = self._folds[fold].data
        return dict(zip(data.cases, data.units(study), strict=True))

    def run(self, study: Study, fold: int, out: Path, watch: Watch) -> EvaluationSums:
        """Run a study in one fold.

        Args:
            study: What to run.
            fold: Its number.
            out: The run's folder.
            watch: Told of every round that is tested; what it raises ends the run.

        Returns:
            What the last model counted on the held-out cases.

        Raises:
            ConsiliumError: The run failed.
        """
        last = self._ran(study, fold, out, watch).last
        assert last is not None  # noqa: S101  a fold that nobody tested has failed
        return last

    def by_site(self, study: Study, fold: int, out: Path) -> dict[str, EvaluationSums]:
        """Run a study in one fold; the counts of each site that holds somebody out there.

        Raises:
            ConsiliumError: The run failed.
        """
        return dict(self._ran(study, fold, out, lambda _, __: None).sites)

    def _ran(self, study: Study, fold: int, out: Path, watch: Watch) -> WatchedJournal:
        chosen = self._folds[fold]
        journal = WatchedJournal(watch)
        plan = RunPlan(
            study=study,
            seed=self._seed,
            out=out,
            engine=InProcessEngine.name,
            expect_sites=len(chosen.sites),
            strict=True,
            noise_seed=derive_seed(self._seed, "coordinator-noise"),
        )
        with self._grid(study, fold, out) as grid:
            run_study(grid, plan, journal)
        if journal.last is None:
            raise NoTestCases(f"fold {fold + 1} was not tested by any site")
        return journal

    @contextmanager
    def _grid(self, study: Study, fold: int, out: Path) -> Iterator[InProcessGrid]:
        """Workers for one run: those of the fold or, where sites keep something of a run, some of its own."""
        chosen = self._folds[fold]
        if self._may_last and study.privacy is None and not codec_of(study.federation).feedback:
            yield from self._lasting(fold, chosen)
            return
        sites = with_ledgers(chosen.sites, chosen.data.units(study), study, out, {})
        sites = rehearsing(sites, study, out, self._seed)
        with with_states(sites, study, out) as kept, InProcessGrid(kept, chosen.data.loads) as grid:
            yield grid

    def _lasting(self, fold: int, chosen: _Fold) -> Iterator[InProcessGrid]:
        if fold not in self._grids:
            self._grids[fold] = self._open.enter_context(InProcessGrid(chosen.sites, chosen.data.loads))
        try:
            yield self._grids[fold]
        except BaseException:
            self._grids.pop(fold).close()  # answers to a run that failed may still be on their way
            raise


def _written(file: Path, dealing: Dealing, site: str) -> Path:
    file.write_text(json.dumps(dict(dealing.sites[site])), encoding="utf-8")
    return file


def _fold(data: FederationData, dealing: Dealing, sites: list[Site], number: int) -> _Fold:
    cases = {
        name: SiteCases(
            tuple(entry for entry in of_site.train if dealing.sites[name][entry.patient] != number),
            tuple(entry for entry in of_site.train if dealing.sites[name][entry.patient] == number),
        )
        for name, of_site in data.cases.items()
    }
    training = {name: of_site for name, of_site in cases.items() if of_site.train}
    placed = [replace(site, held_out=number) for site in sites if site.name in training]
    return _Fold(placed, replace(data, cases=training))
