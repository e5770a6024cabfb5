"""What federating is compared with: every site alone, and all data pooled, on the same budget.

Each is what a federation of a single site with those cases would do: the same model and start, as many
rounds of as many local epochs, with an optimiser that begins as the study says, and the mean of as many last
rounds' models. They ignore ``federation.patience``: each makes all rounds.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from client.cases import CaseCache, PooledCases, site_cases, unit_numbers
from client.devices import choose_device
from client.moments import Kept, MomentsInMemory
from client.site import Site
from client.trainer import LocalPlan, evaluated, train
from common.balance import balanced_weights
from common.errors import EngineFailed, ModelDiverged
from common.learning import learning_of
from common.metrics import EvaluationSums, sums_kind
from common.models import build_model, initial_weights, load_state, state_of
from common.seeds import derive_seed
from common.study import Study, from_canonical, to_canonical
from common.weights import Weights
from deploy.engines.inprocess import fork_server
from server.averaging import mean_weights
from server.record import pooled_and_sites

_cases = CaseCache()  # of a worker process: its jobs test on the same pictures


@dataclass(frozen=True, slots=True)
class Job:
    """One baseline: train on the cases of ``train_on`` together, test on each of ``test_on``.

    ``name`` goes into its seed: the site's name, or nothing for all sites pooled.
    """

    name: str
    study: str
    seed: int
    train_on: tuple[Site, ...]
    test_on: tuple[Site, ...]


def train_baselines(
    study: Study, sites: Sequence[Site], loads: Sequence[int], seed: int, step: Callable[[str], None]
) -> dict[str, Any]:
    """The ``baselines`` of run.json.

    Args:
        study: What to train.
        sites: All sites of the federation.
        loads: Training cases of each.
        seed: The run's seed.
        step: Told about each finished baseline.
    """
    make = partial(Job, study=to_canonical(study), seed=seed, test_on=tuple(sites))
    by_size = sorted(zip(loads, sites, strict=True), key=lambda item: (-item[0], item[1].name))
    # Longest first, so that the last one to end ends early.
    alone = {site.name: make(site.name, train_on=(site,)) for _, site in by_size}
    jobs = [make("", train_on=tuple(sites)), *alone.values()]
    found: dict[Job, dict[str, Any] | None] = {}
    with _workers() as pool:
        futures: dict[Future[dict[str, EvaluationSums]], Job] = {
            pool.submit(run_job, job): job for job in jobs
        }
        for done in as_completed(futures):
            metrics = pooled_and_sites(_counts(done), study.study.classes)
            found[futures[done]] = metrics and {**metrics["pooled"], "sites": metrics["sites"]}
            step(f"training the baselines: {len(found)} of {len(jobs)}")
    local = {site.name: found[alone[site.name]] for site in sites}
    return {"pooled": found[jobs[0]], "local": {site: m for site, m in local.items() if m}}


def _counts(done: Future[dict[str, EvaluationSums]]) -> dict[str, EvaluationSums]:
    """What a baseline counted; nothing if its training ran away, which says enough about it."""
    try:
        return done.result()
    except ModelDiverged:
        return {}
    except BrokenProcessPool:
        raise EngineFailed("a baseline's process died, perhaps for want of memory") from None


@contextmanager
def _workers() -> Iterator[ProcessPoolExecutor]:
    """Processes that are gone when the block is left, however it is left."""
    with ProcessPoolExecutor(mp_context=fork_server(), initializer=_leave_ctrl_c_to_parent) as pool:
        try:
            yield pool
        except BaseException:
            # Left by an exception, an executor would first finish every job that is queued.
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_job(job: Job) -> dict[str, EvaluationSums]:
    """Train one baseline and count how it does at every site that has test cases."""
    torch.set_num_threads(1)
    study = from_canonical(job.study)
    device = choose_device(job.train_on[0].device)
    cases = PooledCases([_cases.get(s.source, "train", study, device) for s in job.train_on])
    weights: tuple[float, ...] = ()
    if (
        study.training.class_weights == "balanced"
    ):  # never with [privacy], which refuses it: labels are counted as they are
        counts = torch.bincount(cases.targets.cpu(), minlength=len(study.study.classes))
        weights = balanced_weights(counts.tolist())
    model = build_model(study)
    load_state(model, initial_weights(study, job.seed))
    model.to(device)
    rounds, kept, groups = study.federation.rounds, dict[int, Kept](), _patients(job.train_on, study)
    passes = derive_seed(job.seed, "baseline-passes", job.name)
    last: deque[Weights] = deque(maxlen=study.federation.average_last)
    for number in range(rounds):
        seed = derive_seed(job.seed, "baseline", number + 1, job.name)
        plan = LocalPlan.of(study, number / rounds, seed, weights, pass_seed=passes)
        moments = MomentsInMemory(kept, number + 1) if study.training.optimizer_state == "kept" else None
        train(model, cases, plan, moments=moments, groups=groups)
        if number >= rounds - study.federation.average_last:
            last.append(state_of(model))
    load_state(model, mean_weights(list(last)))
    counted = {}
    for site in job.test_on:
        test = _cases.get(site.source, "test", study, device)
        if len(test):
            none = sums_kind(study).none(len(study.study.classes))
            counted[site.name] = evaluated(model, test, learning_of(study), none, keep=True)
    return counted


def _patients(sites: Sequence[Site], study: Study) -> torch.Tensor | None:
    """(N,) int64, number of the patient of each training case of the sites; None where nobody asks."""
    if study.training.sampling == "natural":
        return None
    found = [site_cases(site.source.entries(study), site.name, study).train for site in sites]
    return unit_numbers([entry for entries in found for entry in entries], "patient")
