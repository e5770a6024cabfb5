"""From a command to a finished run: study, data, engine, baselines, report.

Everything that can be checked is checked before the output folder is touched.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client.devices import choose_device
from client.manifest import Condition
from client.site import Site
from client.sources import CohortSource
from common.errors import ConsiliumError, InvalidValue, OutputExists, QuorumNotReached, SiteRefused
from common.files import unwritable
from common.seeds import derive_seed
from common.study import Study, load_study
from deploy.baselines import train_baselines
from deploy.engines import EVIDENCE, Engine, build_engine
from deploy.federation import FederationData, bind, check_pictures, resolve, resolve_tables
from deploy.ledgers import FOLDER as LEDGERS
from deploy.ledgers import check_budgets, rehearsing, with_ledgers
from deploy.phantom import write_phantom
from deploy.record_tables import RecordTables
from deploy.states import FOLDER as STATES
from deploy.states import with_states
from server.coordinator import JOURNAL
from server.journal.durable import ROUNDS
from server.models import CHECKPOINTS
from server.record import RUN_FILE, described, read_run, write_run
from server.report.filing import REPORT_FILE, file_report
from server.study_run import MODEL_FILE, STUDY_FILE, RunPlan

LOGS = "logs"
RUN_FILES = {
    RUN_FILE,
    STUDY_FILE,
    MODEL_FILE,
    CHECKPOINTS,
    REPORT_FILE,
    LOGS,
    LEDGERS,
    EVIDENCE,
    ROUNDS,
    STATES,
    *(f"{JOURNAL}{suffix}" for suffix in ("", "-wal", "-shm")),
}
PHANTOM_SITES = 4
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for on the command line; see ``consilium simulate --help``.

    In a rehearsal (a simulation) privacy's noise is seeded, and no hospital's ledger is spent from.
    """

    study: Path
    out: Path
    engine: str
    data: Path | None = None
    cohorts: tuple[tuple[str, CohortSource], ...] = ()
    tables: RecordTables | None = None
    where: tuple[Condition, ...] = ()
    sites: int | None = None
    rounds: int | None = None
    seed: int = 0
    device: str = "auto"
    baselines: bool = False
    overwrite: bool = False
    port: int = 0
    budgets: Mapping[str, float] = field(default_factory=dict)
    rehearsal: bool = True


def launch(request: Request, step: Step = lambda _: None) -> dict[str, Any]:
    """Run a study on this machine and return its run.json.

    Args:
        request: What to run.
        step: Told in a few words what is being done, for a progress display.

    Raises:
        ConsiliumError: The study, the data or this machine cannot serve; or the run failed, and
            run.json in the output folder says why.
    """
    request = replace(request, out=request.out.absolute())  # "." has no name to set aside
    overrides = {} if request.rounds is None else {"federation.rounds": (request.rounds, "--rounds")}
    study = load_study(request.study, overrides)
    choose_device(request.device)
    _check_baselines(request, study)
    _check_out(request)
    engine = build_engine(request.engine, request.port)
    with tempfile.TemporaryDirectory(prefix="consilium-") as scratch:
        step(_first_step(request))
        placed = _placed(request, study, Path(scratch))
        with _in_place_of_earlier(request.out):
            _run(request, study, placed, engine, step)
    run = read_run(request.out)
    assert run is not None  # noqa: S101  written by the run that just ended
    return run


@dataclass(frozen=True, slots=True)
class _Placed:
    """Sites that know where their cases are; how many cases each trains on, and units of privacy."""

    sites: list[Site]
    loads: list[int]
    units: list[int]


def _placed(request: Request, study: Study, scratch: Path) -> _Placed:
    data = federation_data(request, study, scratch)
    check_quorum(study, len(data.cases))
    check_budgets(request.budgets, data.cases.keys() - data.cohorts.keys(), study)
    return _Placed(data.materialise(scratch, request.device), data.loads, data.units(study))


def _run(request: Request, study: Study, placed: _Placed, engine: Engine, step: Step) -> None:
    sites = placed.sites
    plan = RunPlan(
        study=study,
        seed=request.seed,
        out=request.out.resolve(),
        engine=engine.name,
        expect_sites=len(sites),
        strict=True,
        noise_seed=derive_seed(request.seed, "coordinator-noise") if request.rehearsal else None,
    )
    try:
        sites = with_ledgers(sites, placed.units, study, request.out, request.budgets)
        if request.rehearsal:
            sites = rehearsing(sites, study, request.out, request.seed)
        step("starting the sites")
        lasting = engine.name == "inprocess"
        with with_states(sites, study, request.out, lasting=lasting) as stated:
            _run_engine(engine, plan, stated, placed.loads)
        if request.baselines:
            step("training the baselines")
            _add_baselines(request, study, sites, placed.loads, step)
    except BaseException as error:
        _settle(request.out, error)
        raise
    finally:
        file_report(request.out)


def _run_engine(engine: Engine, plan: RunPlan, sites: list[Site], loads: list[int]) -> None:
    try:
        engine.run(plan, sites, loads)
    except SiteRefused:
        # A refusal names no file, since it is made to leave a hospital. Here the files are at hand.
        check_pictures(sites, plan.study)
        raise


def _first_step(request: Request) -> str:
    if request.cohorts:
        return "opening the cohorts"
    if request.tables:
        return "reading the tables"
    return "reading the manifest" if request.data else "making phantom hospitals"


def federation_data(request: Request, study: Study, scratch: Path) -> FederationData:
    """The cases that were asked for, checked against the study; phantom hospitals are made in ``scratch``.

    Raises:
        DataError: They cannot serve the study.
    """
    if request.cohorts:
        return bind(study, dict(request.cohorts))
    dealing: dict[str, Any] = {"where": request.where, "sites": request.sites, "seed": request.seed}
    if request.tables is not None:
        return resolve_tables(study, request.tables, scratch, **dealing)
    if request.data is not None:
        return resolve(study, request.data, **dealing)
    folder = scratch / "phantom"
    manifest = write_phantom(folder, study, sites=request.sites or PHANTOM_SITES, seed=request.seed)
    return resolve(study, manifest, where=request.where)


def _add_baselines(request: Request, study: Study, sites: list[Site], loads: list[int], step: Step) -> None:
    found = train_baselines(study, sites, loads, request.seed, step)
    run = read_run(request.out) or {}
    write_run(request.out, {**run, "baselines": found})


def _settle(out: Path, error: BaseException) -> None:
    """Leave nothing of a run without a finished round, and of another how it ended."""
    run = read_run(out)
    if (run is None or not run["rounds"]) and not (out / LOGS).exists():
        shutil.rmtree(out, ignore_errors=True)
    elif run is not None and isinstance(error, KeyboardInterrupt):
        # A coordinator in another process was ended too, and may have taken that for a failure.
        write_run(out, {**run, "status": "interrupted", "error": None})
    elif run is not None and run["status"] == "running":
        told = error if isinstance(error, ConsiliumError) else ConsiliumError()
        write_run(out, {**run, "status": "failed", "error": described(told)})


def check_quorum(study: Study, sites: int) -> None:
    """Pass data that have as many sites as the study asks for.

    Raises:
        QuorumNotReached: They have not.
    """
    needed = study.federation.min_sites
    if sites < needed:
        hint = f"Lower min_sites from {needed}, or add sites; --sites N deals out a manifest's one site."
        raise QuorumNotReached(f"the data have {sites} sites, the study asks for {needed} a round", hint=hint)


def _check_baselines(request: Request, study: Study) -> None:
    if request.baselines and study.privacy is not None and study.privacy.at_sites:
        raise InvalidValue(
            "--baselines trains on every site's patients without the privacy that the study asks for",
            hint="Leave it away; or run a copy of the study without [privacy], with another learning rate.",
        )


def _check_out(request: Request) -> None:
    out = request.out
    _restore(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputExists(f"{out} is a file", hint="Choose another --out.")
    if not any(out.iterdir()):
        return
    if not (out / RUN_FILE).is_file():
        raise OutputExists(
            f"{out} holds something that is not a run of Consilium", hint="Choose another --out."
        )
    if not request.overwrite:
        raise OutputExists(f"{out} holds an earlier run")
    strange = sorted(entry.name for entry in out.iterdir() if entry.name not in RUN_FILES)
    if strange:
        raise OutputExists(f"{out} also holds {', '.join(strange[:5])}", hint="Choose another --out.")


def _restore(out: Path) -> None:
    """Put back an earlier run that a killed one had set aside and not yet replaced."""
    earlier = _aside(out)
    if earlier.is_dir() and (not out.exists() or (out.is_dir() and not any(out.iterdir()))):
        try:
            earlier.replace(out)
        except OSError as error:
            raise unwritable(out, error) from None


def _aside(out: Path) -> Path:
    """Where an earlier run waits while another one is made in its place."""
    return out.with_name(f".{out.name}.earlier")


@contextmanager
def _in_place_of_earlier(out: Path) -> Iterator[None]:
    """An empty output folder for the block; an earlier run comes back if the block leaves nothing there."""
    earlier = _aside(out)
    try:
        shutil.rmtree(earlier, ignore_errors=True)
        if out.exists():
            out.rename(earlier)
        out.mkdir(parents=True)
    except OSError as error:
        raise unwritable(out, error) from None
    try:
        yield
    finally:
        if earlier.exists() and not out.exists():
            earlier.rename(out)
        shutil.rmtree(earlier, ignore_errors=True)
