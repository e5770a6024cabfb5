"""What more virtual sites cost in memory: 100 and 10,000, of which 50 are sampled in each of 3 rounds.

Each is one ``consilium simulate`` in a process of its own, with a tiny model, three cases a site, and the
last model tested at every site. Counted is what the processes hold that is no file on the disk: the
proportional anonymous memory (``Pss_Anon`` in /proc, Linux) of the whole process tree, added up, at the
moment when that is largest. Memory that processes share counts once.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.manifest import Row, write_manifest
from common.errors import EngineFailed
from common.study import Study, parse_study, to_toml
from deploy.bench.bench import Figure, Results

FEW, MANY, SAMPLED, ROUNDS, TRAIN, TEST, SEED = 100, 10_000, 50, 3, 2, 1, 0
LOOK_S = 0.1
PROC = Path("/proc")
_COMMAND = (sys.executable, "-c", "from deploy.cli import main; main()", "simulate")


@dataclass(frozen=True, slots=True)
class Run:
    """One simulation: the most memory that its processes had, and how long it took."""

    peak_bytes: int
    wall_s: float


def measure(few: int = FEW, many: int = MANY) -> Results:
    """``memory_ratio_10000_to_100``, with what is behind it.

    Args:
        few: Sites of the one run.
        many: Of the other.

    Raises:
        EngineFailed: A simulation did.
    """
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        small, large = (_simulated(Path(name) / str(sites), sites) for sites in (few, many))
    grown = (large.peak_bytes - small.peak_bytes) / (many - few)
    return Results(
        (
            Figure(f"memory_ratio_{many}_to_{few}", large.peak_bytes / small.peak_bytes, "x", goal=1.25),
            Figure("kilobytes_a_site", grown / 1e3, "kB"),
            Figure(f"memory_{few}_mb", small.peak_bytes / 1e6, "MB"),
            Figure(f"memory_{many}_mb", large.peak_bytes / 1e6, "MB"),
            Figure(f"wall_{few}_s", small.wall_s, "s"),
            Figure(f"wall_{many}_s", large.wall_s, "s"),
        )
    )


def anonymous_bytes(pid: int) -> int:
    """The anonymous memory of a process and of all that it has started, what they share counted once."""
    return sum(_anonymous_bytes(each) for each in _tree(pid))


def _anonymous_bytes(pid: int) -> int:
    with suppress(OSError):  # it has ended since it was found
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Pss_Anon":
                return int(value.split()[0]) * 1024
    return 0


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in (PROC / str(pid) / "task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _tree(int(child))


def _simulated(folder: Path, sites: int) -> Run:
    folder.mkdir()
    manifest, study = _write_pictures(folder, sites), folder / "study.toml"
    study.write_text(to_toml(_study(sites)), encoding="utf-8")
    told = [str(study), "--data", str(manifest), "--out", str(folder / "run"), "--device", "cpu", "--json"]
    began, peak = time.monotonic(), 0
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*_COMMAND, *told], stdout=log, stderr=log) as process,
    ):
        while process.poll() is None:
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(LOOK_S)
    if process.returncode:
        raise EngineFailed(f"{sites} sites: {(folder / 'log').read_text()[-1000:]}")
    return Run(peak, time.monotonic() - began)


def _study(sites: int) -> Study:
    return parse_study(
        {
            "study": {"name": "bench-sites", "labels": {"0": "left", "1": "right"}},
            "sequence": {"kind": "rows", "size": 8},
            "model": {"hidden": 8},
            "training": {"batch_size": TRAIN},
            "federation": {
                "rounds": ROUNDS,
                "evaluate_every": ROUNDS,
                "min_sites": min(SAMPLED, sites),
                "fraction_sites": min(1.0, SAMPLED / sites),
            },
        }
    )


def _write_pictures(folder: Path, sites: int) -> Path:
    """A manifest of noise, with ``TRAIN`` training cases and ``TEST`` test cases a site."""
    each = TRAIN + TEST
    images = np.random.default_rng(SEED).integers(0, 256, (sites * each, 8, 8), dtype=np.uint8)
    np.savez(folder / "pictures.npz", images=images)
    manifest = folder / "pictures.csv"
    rows = (
        Row(
            f"pictures.npz#images/{i}",
            f"site-{i // each:05d}",
            f"patient-{i}",
            "train" if i % each < TRAIN else "test",
            str(i % 2),
            i,
        )
        for i in range(len(images))
    )
    write_manifest(manifest, rows)
    return manifest
