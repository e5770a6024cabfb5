"""How much memory the tensors of a training step take at most, plain and private.

Counted is what torch's allocator holds for tensors: the model, the batch, and what a step makes. The size of
the process would say less: it holds three hundred megabytes of interpreter and libraries either way, which
would make the two look alike. On a CPU torch keeps such a count only for its profiler, which writes to the
terminal and slows down what comes after it, so the steps run in a process of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from deploy.bench.training_steps import SHAPES, step_of

WAYS = ("plain", "private")


def peak_bytes() -> dict[str, dict[str, int]]:
    """Most bytes held during one step, by shape and way, measured in a fresh process."""
    command = [sys.executable, "-c", "from deploy.bench.peak_memory import main; main()"]
    quiet = {**os.environ, "KINETO_LOG_LEVEL": "99"}
    process = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=quiet)
    found: dict[str, dict[str, int]] = json.loads(process.stdout)
    return found


def main() -> None:
    """Print what :func:`peak_bytes` returns."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measure = _peak_on_cuda if device.type == "cuda" else _peak_on_cpu
    found = {
        shape.name: {way: measure(partial(step_of, way, shape, device)) for way in WAYS} for shape in SHAPES
    }
    json.dump(found, sys.stdout)


def _peak_on_cpu(make: Callable[[], Callable[[], None]]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        _train(make)
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as folder:
        trace = Path(folder) / "trace.json"
        record.export_chrome_trace(str(trace))
        events = json.loads(trace.read_bytes())["traceEvents"]
    changes = sorted((e["ts"], int(e["args"]["Bytes"])) for e in events if e.get("name") == "[memory]")
    return max(accumulate(change for _, change in changes))


def _peak_on_cuda(make: Callable[[], Callable[[], None]]) -> int:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    _train(make)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _train(make: Callable[[], Callable[[], None]]) -> None:
    """A model, a batch and two steps: the second one starts with what the first has left."""
    step = make()
    for _ in range(2):
        step()
