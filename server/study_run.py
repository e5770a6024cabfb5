"""A whole study: gather the sites, run the rounds, keep what comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from common.errors import (
    ConsiliumError,
    CoordinatorStopped,
    JournalTaken,
    MachineError,
    NoValidationCases,
    QuorumNotReached,
    SiteRefused,
    StudyStopped,
)
from common.files import unwritable, write_atomically
from common.models import initial_weights
from common.study import Study, digest, load_study, to_canonical, to_toml
from common.weights import STUDY_TEXT, Weights, save_weights
from common.weights import digest as weights_digest
from server.guarantee import Noise
from server.inquiry import HOSPITALS_RIGHT
from server.journal import FleetingJournal, RunJournal, is_final
from server.models import Kept, ModelFiles
from server.record import RunRecord
from server.roster import Roster, gather, reasons
from server.rounds import RoundEngine
from server.run_rounds import RunRounds, mean_of, models_at
from server.strategies import build_strategy

MODEL_FILE, STUDY_FILE = "model.safetensors", "study.toml"
CALIBRATION_TEXT = "consilium.calibration"
"""Key under which a finished model's file holds how its probabilities are calibrated."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How to run a study.

    Attributes:
        study: What to run.
        seed: Decides every random choice that is not private noise.
        out: Folder for what comes out; made if need be.
        engine: Name of what carries the messages, for the record.
        expect_sites: Nodes to wait for before round 1; 0 for the study's ``min_sites``.
        gather_timeout_s: How long to wait for them.
        strict: Stop when any site refuses (simulation), instead of going on without it. A hospital that
            refuses for its privacy's sake never stops a study.
        noise_seed: Simulation only: privacy's noise and sampling are drawn from it, at the sites by what they
            are told and at the coordinator by this. Whoever knows it can take the noise off, so the model is
            not private; run.json and the report say so.
        patience_s: How long a round that has too few updates at its deadline waits for more sites; 0 ends the
            study there.
    """

    study: Study
    seed: int
    out: Path
    engine: str
    expect_sites: int = 0
    gather_timeout_s: float = 60.0
    strict: bool = False
    noise_seed: int | None = None
    patience_s: float = 0.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RunPlan:
        """The plan in a Flower run config; see docs/flower.md for the keys."""
        return cls(
            study=load_study(Path(str(config["study"]))),
            seed=int(config.get("seed", 0)),
            out=Path(str(config["out"])),
            engine=str(config.get("engine", "flower")),
            expect_sites=int(config.get("expect-sites", 0)),
            gather_timeout_s=float(config.get("gather-timeout-s", 60.0)),
            strict=bool(config.get("strict", False)),
            noise_seed=int(config["noise-seed"]) if "noise-seed" in config else None,
        )

    def run_config(self, study_file: Path) -> dict[str, str | int | float | bool]:
        """The plan as a Flower run config, its study standing in ``study_file``."""
        config: dict[str, str | int | float | bool] = {
            "study": str(study_file),
            "seed": self.seed,
            "out": str(self.out),
            "engine": self.engine,
            "expect-sites": self.expect_sites,
            "gather-timeout-s": self.gather_timeout_s,
            "strict": self.strict,
        }
        return config if self.noise_seed is None else {**config, "noise-seed": self.noise_seed}


def run_study(grid: Grid, plan: RunPlan, journal: RunJournal | None = None) -> RunRecord:
    """Run the plan over a Grid, leaving run.json, checkpoints and the model in ``plan.out``.

    Args:
        grid: Carries the messages.
        plan: What to run.
        journal: Where each step is written down. A run that it knows goes on where it was, in the same round;
            in memory unless given.

    Raises:
        ConsiliumError: The study could not be finished; run.json says why.
    """
    noise: Noise = "secret" if plan.noise_seed is None else "seeded"
    journal = journal or FleetingJournal()
    record = RunRecord(plan.study, plan.seed, plan.engine, noise)
    _prepare(plan.out, plan.study)
    record.resume(journal.finished())
    record.write(plan.out)  # whoever looks sees that it runs, although no site may be there yet
    try:
        _run(grid, plan, record, journal)
    except ConsiliumError as error:
        stopped = isinstance(error, (StudyStopped, CoordinatorStopped))
        record.close("interrupted" if stopped else "failed", error)
        if is_final(error):
            journal.end(record.status)
        raise
    except KeyboardInterrupt:
        record.close("interrupted")
        raise
    else:
        record.close("completed")
        journal.end(record.status)
    finally:
        if record.status == "running":  # a defect: its text may quote data, so only that it was one
            record.close("failed", ConsiliumError())
        if not _is_taken(journal):
            record.write(plan.out)
    return record


def _is_taken(journal: RunJournal) -> bool:
    """Whether another process conducts the run by now, whose run.json it is."""
    try:
        journal.require_mine()
    except JournalTaken:
        return True
    except MachineError:  # nobody can say; how this process ended is worth knowing
        return False
    return False


def _run(grid: Grid, plan: RunPlan, record: RunRecord, journal: RunJournal) -> None:
    study, rounds = plan.study, plan.study.federation.rounds
    models = ModelFiles(plan.out, partial(_about, plan))
    roster = gather(grid, study, plan.expect_sites or study.federation.min_sites, plan.gather_timeout_s)
    journal.require_mine()
    record.describe_sites(roster.descriptions)
    _check_roster(roster, plan)
    if not record.rounds:
        _check_validation(roster, study)
    record.write(plan.out)
    kept = _kept_models(plan, record, models)
    strategy = build_strategy(study.federation.strategy)
    engine = RoundEngine(
        grid,
        study,
        plan.seed,
        roster,
        strategy,
        journal=journal,
        models=models,
        strict=plan.strict,
        noise_seed=plan.noise_seed,
        patience_s=plan.patience_s,
    )
    course = RunRounds(engine, study, plan.out, record, journal, models, kept)
    for number in range(len(record.rounds) + 1, rounds + 1):
        if record.final is not None:  # it ended before its last round
            break
        course.take(number)
    record.describe_sites(roster.descriptions)
    last = record.final["round"] if record.final is not None else rounds
    best = kept if last == max(kept) else models_at(last, study, record, models)
    _keep_model(mean_of(best), last, plan, record)


def _kept_models(plan: RunPlan, record: RunRecord, models: ModelFiles) -> dict[int, Kept]:
    """The last models by round, as many as are averaged: those of an earlier process, or the first one.

    Raises:
        WeightsDamaged: A file of theirs is not what was written.
    """
    record.files["checkpoints"] = [models.name(entry["round"]) for entry in record.rounds]
    if record.rounds:
        return models_at(len(record.rounds), plan.study, record, models)
    first = models.keep(0, initial_weights(plan.study, plan.seed))
    return {0: Kept(first, weights_digest(first))}


def _check_validation(roster: Roster, study: Study) -> None:
    """Let a study pass that goes by validation cases, if there is a site that has any."""
    if study.federation.patience and not any(each.val_cases for each in roster.descriptions.values()):
        raise NoValidationCases(f"none of {len(roster.descriptions)} sites has cases with split=val")


def _check_roster(roster: Roster, plan: RunPlan) -> None:
    refused = [item for item in sorted(roster.refused.items()) if item[1].code not in HOSPITALS_RIGHT]
    if plan.strict and refused:
        site, refusal = refused[0]
        raise SiteRefused(f"{site}: {refusal}", hint=refusal.hint)
    needed = plan.study.federation.min_sites
    if len(roster.nodes) < needed:
        why = "".join(f"\n  {site}: {reason}" for site, reason in reasons(roster.refused).items())
        raise QuorumNotReached(f"{len(roster.nodes)} sites are there, {needed} needed{why}")


def _prepare(out: Path, study: Study) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from None
    write_atomically(out / STUDY_FILE, to_toml(study))


def _keep_model(weights: Weights, number: int, plan: RunPlan, record: RunRecord) -> None:
    # Whoever is given this one file can use it: what it was trained for stands in it.
    about = {**_about(plan, number), STUDY_TEXT: to_canonical(plan.study)}
    found = (record.final or {}).get("calibration")
    if found:
        known = {key: found[key] for key in ("form", "temperature", "bias", "threshold")}
        about[CALIBRATION_TEXT] = json.dumps(known, separators=(",", ":"))
    save_weights(plan.out / MODEL_FILE, weights, about)
    record.files = {"model": MODEL_FILE, "study": STUDY_FILE, **record.files}


def _about(plan: RunPlan, round_number: int) -> dict[str, str]:
    return {"study": digest(plan.study), "round": str(round_number), "seed": str(plan.seed)}
