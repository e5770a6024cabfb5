"""What a round costs that trains next to nothing: three sites, a tiny model, two cases each.

What is left is the link and all that goes with it: tasks and consents, signatures, ledgers, audit logs,
weights as blobs, and the process of each site that trains. The limit is the same study in worker processes of
this machine that are handed messages over a pipe, without any of that. A round is timed as run.json has it;
the first ones, in which everybody is still starting, do not count.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.manifest import Row, write_manifest
from common.study import Study, parse_study
from deploy.bench.bench import Figure, Results
from deploy.engines.engine import build_engine
from deploy.federation import FederationData, resolve
from server.models import CHECKPOINTS
from server.study_run import RunPlan

SITES, CASES, ROUNDS, STARTING, SEED = 3, 2, 12, 2, 0
RECORD = "run.json"


@dataclass(frozen=True, slots=True)
class Rounds:
    """How long one run's rounds took.

    Attributes:
        median_s: Of those after the first ones.
        first_s: From the call until the first had ended.
    """

    median_s: float
    first_s: float


def measure(rounds: int = ROUNDS) -> Results:
    """``empty_round_s`` over the link, ``plain_round_s`` without it, and ``first_round_s``.

    Args:
        rounds: How many each run has; the first two do not count.
    """
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        folder, study = Path(name), _study(rounds)
        data = resolve(study, _write_pictures(folder))
        link, plain = (_run(engine, study, data, folder / engine) for engine in ("link", "inprocess"))
    return Results(
        (
            Figure("empty_round_s", link.median_s, "s", goal=0.3),
            Figure("plain_round_s", plain.median_s, "s"),
            Figure("first_round_s", link.first_s, "s"),
        )
    )


def rounds_in(out: Path, began: float) -> Rounds:
    """How long the rounds of a run took.

    Args:
        out: Its folder.
        began: When it was called, since 1970.
    """
    record = json.loads((out / RECORD).read_bytes())
    durations = [each["duration_s"] for each in record["rounds"]]
    first = out / CHECKPOINTS / "round-0001.safetensors"
    return Rounds(statistics.median(durations[STARTING:]), first.stat().st_mtime - began)


def _run(engine: str, study: Study, data: FederationData, out: Path) -> Rounds:
    out.mkdir()
    began = time.time()
    plan = RunPlan(study, SEED, out, engine, expect_sites=SITES, strict=True)
    build_engine(engine).run(plan, data.materialise(out, "cpu"), data.loads)
    return rounds_in(out, began)


def _study(rounds: int) -> Study:
    """Tested after the last round only, which makes that one the longest: the median leaves it out."""
    return parse_study(
        {
            "study": {"name": "bench-round", "labels": {"0": "left", "1": "right"}},
            "data": {"min_test_cases": 0},
            "sequence": {"kind": "rows", "size": 8},
            "model": {"hidden": 8},
            "training": {"batch_size": CASES},
            "federation": {"rounds": rounds, "evaluate_every": rounds},
        }
    )


def _write_pictures(folder: Path) -> Path:
    """A manifest of noise, with ``CASES`` training cases a site."""
    images = np.random.default_rng(SEED).integers(0, 256, (SITES * CASES, 8, 8), dtype=np.uint8)
    np.savez(folder / "pictures.npz", train_images=images)
    manifest = folder / "pictures.csv"
    rows = (
        Row(
            f"pictures.npz#train_images/{i}", f"site-{i % SITES}", f"patient-{i}", "train", str(i // SITES), i
        )
        for i in range(len(images))
    )
    write_manifest(manifest, rows)
    return manifest
