"""What private training costs beside plain training, and beside Opacus: one step, all shapes of the table.

The three ways of :mod:`deploy.bench.training_steps` are timed in turn, so that what else the machine does
falls on all of them, and medians are compared. On a CPU it is the process's time on one thread that counts,
on a GPU the time until the device is done. Opacus, which is slow, has fewer turns, and none where there is
an encoder: its rows would be frames and not records.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from deploy.bench.bench import Figure, Results
from deploy.bench.one_thread import one_thread
from deploy.bench.peak_memory import peak_bytes
from deploy.bench.training_steps import SHAPES, Shape, step_of

TURNS, WARM_UP = 15, 2
OPACUS_S = 2.0
"""Seconds after which Opacus has no more turns; it has at least two."""

HARDEST = "gru_T28_D128_H256_B128"


@dataclass(frozen=True, slots=True)
class Times:
    """Median seconds of a step.

    Attributes:
        plain: With torch's own layers.
        private: With ours.
        opacus: With Opacus'; NaN where it was left out.
    """

    plain: float
    private: float
    opacus: float

    @property
    def ratio(self) -> float:
        """How many plain steps a private one takes."""
        return self.private / self.plain

    @property
    def speedup(self) -> float:
        """How many private steps one of Opacus takes."""
        return self.opacus / self.private


def measure() -> Results:
    """The figures of ``consilium bench private-step``, on the GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with one_thread():
        times = {shape: _timed(shape, device) for shape in SHAPES}
    held = peak_bytes()
    memory = {name: ways["private"] / ways["plain"] for name, ways in held.items()}
    return Results((*_goals(times, max(memory.values())), *_rows(times, memory)))


def _goals(times: dict[Shape, Times], memory: float) -> Iterator[Figure]:
    """The figures that have a goal."""
    bare = {
        cell: [t for s, t in times.items() if s.encoder == "none" and s.cell == cell]
        for cell in ("gru", "lstm")
    }
    gru, lstm = ([t.ratio for t in bare[cell]] for cell in ("gru", "lstm"))
    named = {shape.name: t for shape, t in times.items()}
    speedups = [t.speedup for each in bare.values() for t in each]
    yield Figure("gru_median", statistics.median(gru), "x", goal=1.2)
    yield Figure("gru_worst", max(gru), "x", goal=1.4)
    yield Figure("lstm_median", statistics.median(lstm), "x", goal=2.2)
    yield Figure("cnn_gru", named["cnn_gru"].ratio, "x", goal=1.4)
    yield Figure("cnn_gru_groupnorm", named["cnn_gru_groupnorm"].ratio, "x", goal=1.7)
    yield Figure("speedup_over_opacus_min", min(speedups), "x", goal=4.0, at_least=True)
    yield Figure(f"speedup_over_opacus_{HARDEST}", named[HARDEST].speedup, "x", goal=20.0, at_least=True)
    yield Figure("peak_memory", memory, "x", goal=1.5)


def _rows(times: dict[Shape, Times], memory: dict[str, float]) -> Iterator[Figure]:
    """The table: each shape's ratios and the milliseconds behind them."""
    for shape, t in times.items():
        yield Figure(f"ratio_{shape.name}", t.ratio, "x")
        yield Figure(f"peak_memory_{shape.name}", memory[shape.name], "x")
        yield Figure(f"plain_{shape.name}", 1000 * t.plain, "ms")
        yield Figure(f"private_{shape.name}", 1000 * t.private, "ms")
        if t.opacus == t.opacus:
            yield Figure(f"opacus_{shape.name}", 1000 * t.opacus, "ms")


def _timed(shape: Shape, device: torch.device) -> Times:
    """Times of one shape, the ways taking turns."""
    clock = _wall if device.type == "cuda" else time.process_time
    ways = ["plain", "private", *(["opacus"] if shape.encoder == "none" else [])]
    steps = {way: step_of(way, shape, device) for way in ways}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(WARM_UP + TURNS):
        for way, step in steps.items():
            if way != "opacus" or turn < 2 or sum(taken[way]) < OPACUS_S:
                taken[way].append(_seconds(step, clock))
    found = {way: _median(seconds) for way, seconds in taken.items()}
    return Times(found["plain"], found["private"], found.get("opacus", float("nan")))


def _median(seconds: list[float]) -> float:
    """Without the first ones, which are slower, but never of none."""
    return statistics.median(seconds[min(WARM_UP, len(seconds) - 1) :])


def _seconds(step: Callable[[], None], clock: Callable[[], float]) -> float:
    began = clock()
    step()
    return clock() - began


def _wall() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()
