"""Measurements of Consilium against a rival or a limit that is run in the same process tree."""

from deploy.bench.bench import BENCHES, Figure, Results, run_bench, run_payload

__all__ = ["BENCHES", "Figure", "Results", "run_bench", "run_payload"]
