"""What simulating costs beyond training: 1000 sites, 3 rounds, a tiny model.

The rival is a plain loop over the same sites in this process: the same model, cases, order, optimiser
and averaging, without messages, digests, checks, workers, checkpoints or record. Both run several times
in turn, and medians are compared.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from client.cases import CaseCache
from client.manifest import Row, write_manifest
from client.site import Site
from client.trainer import LocalPlan, train
from common.models import build_model, initial_weights, load_state, state_of
from common.seeds import derive_seed
from common.study import Study, parse_study, to_toml
from deploy.bench.bench import Figure, Results
from deploy.bench.one_thread import one_thread
from deploy.engines.inprocess import InProcessGrid
from deploy.federation import FederationData, resolve
from server.study_run import RunPlan, run_study

SITES, ROUNDS, CASES, REPEATS, SEED = 1000, 3, 16, 3, 0


def measure() -> Results:
    """``ratio_to_plain_loop`` and ``first_round_s``, with the seconds behind them."""
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        folder = Path(name)
        study = _study()
        data = resolve(study, _write_pictures(folder))
        sites = data.materialise(folder, "cpu")
        loop_s, simulation_s = [], []
        for repeat in range(REPEATS):
            loop_s.append(_plain_loop(study, sites))
            simulation_s.append(_simulation(study, sites, data, folder / f"run-{repeat}"))
        first_s = [_first_round(folder, repeat) for repeat in range(REPEATS)]
    loop, simulation = statistics.median(loop_s), statistics.median(simulation_s)
    return Results(
        (
            Figure("ratio_to_plain_loop", simulation / loop, "x", goal=1.3),
            Figure("first_round_s", statistics.median(first_s), "s", goal=5.0),
            Figure("simulation_s", simulation, "s"),
            Figure("plain_loop_s", loop, "s"),
        )
    )


def _study() -> Study:
    return parse_study(
        {
            "study": {"name": "bench-simulation", "labels": {"0": "left", "1": "right"}},
            "data": {"min_test_cases": 0},
            "sequence": {"kind": "rows", "size": 8},
            "model": {"hidden": 8},
            "training": {"batch_size": 8},
            "federation": {"rounds": ROUNDS, "evaluate_every": ROUNDS},
        }
    )


def _write_pictures(folder: Path) -> Path:
    """A manifest of noise, bright on one side, with ``CASES`` training cases a site."""
    draw = np.random.default_rng(SEED)
    labels = draw.integers(0, 2, SITES * CASES, dtype=np.uint8)
    images = draw.integers(0, 200, (SITES * CASES, 8, 8), dtype=np.uint8)
    images[:, :, 4:] += 40 * labels[:, None, None]
    np.savez(folder / "pictures.npz", train_images=images)
    manifest = folder / "pictures.csv"
    rows = (
        Row(f"pictures.npz#train_images/{i}", f"site-{i % SITES:04d}", f"patient-{i}", "train", str(label), i)
        for i, label in enumerate(labels)
    )
    write_manifest(manifest, rows)
    return manifest


def _plain_loop(study: Study, sites: list[Site]) -> float:
    began = time.perf_counter()
    with one_thread():
        cache, model = CaseCache(), build_model(study)
        weights = initial_weights(study, SEED)
        for number in range(1, ROUNDS + 1):
            total, cases = {name: np.zeros(a.shape) for name, a in weights.items()}, 0
            for site in sites:
                batch = cache.get(site.source, "train", study, torch.device("cpu"))
                load_state(model, weights)
                seed = derive_seed(SEED, "local-training", number, site.name)
                train(model, batch, LocalPlan.of(study, 0.0, seed))
                for name, array in state_of(model).items():
                    total[name] += len(batch) * array
                cases += len(batch)
            weights = {name: (array / cases).astype(np.float32) for name, array in total.items()}
    return time.perf_counter() - began


def _simulation(study: Study, sites: list[Site], data: FederationData, out: Path) -> float:
    began = time.perf_counter()
    with InProcessGrid(sites, data.loads) as grid:
        run_study(grid, RunPlan(study, SEED, out, "inprocess", expect_sites=len(sites), strict=True))
    return time.perf_counter() - began


def _first_round(folder: Path, repeat: int) -> float:
    """Seconds from typing the command to the end of round 1 of a small simulation, start-up included."""
    out = folder / f"first-{repeat}"
    study = folder / "study.toml"
    study.write_text(to_toml(_study()), encoding="utf-8")
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "simulate", study]
    arguments = ["--data", folder / "pictures.csv", "--where", "site=site-0000", "--sites", "4", "--out", out]
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in (*command, *arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        checkpoint = out / "checkpoints" / "round-0001.safetensors"
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.01)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()
