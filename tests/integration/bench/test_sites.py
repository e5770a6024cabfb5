"""The bench of many sites measures what it says it does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deploy.bench.sites import anonymous_bytes, measure

SIZE = 64 * 2**20
HOLD = f"import sys; held = bytearray(b'x') * {SIZE}; print(len(held), flush=True); sys.stdin.read()"


def test_memory_of_a_process_that_another_one_started_counts() -> None:
    before = anonymous_bytes(os.getpid())
    program = [sys.executable, "-c", HOLD]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        assert int(child.stdout.readline()) == SIZE
        assert anonymous_bytes(child.pid) >= SIZE
        assert anonymous_bytes(os.getpid()) - before >= SIZE * 0.9
        child.stdin.close()
    assert anonymous_bytes(child.pid) == 0


@pytest.mark.slow
def test_figures() -> None:
    figures = {figure.name: figure for figure in measure(few=3, many=60).figures}
    ratio = figures["memory_ratio_60_to_3"]
    assert ratio.goal == 1.25
    assert ratio.value == pytest.approx(figures["memory_60_mb"].value / figures["memory_3_mb"].value)
    assert all(figures[name].value > 50 for name in ("memory_3_mb", "memory_60_mb"))
