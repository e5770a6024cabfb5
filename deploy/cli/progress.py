"""What a person sees while a run goes on, and when it is done.

The display reads run.json, which the coordinator writes after every round, so it is the same for every
engine, in this process or in another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from common.metrics import LOSS, Figure
from common.page.wording import plural
from deploy.engines import EVIDENCE
from server.record import read_run
from server.report.measures import imbalance, measures
from server.report.scores import figures_of
from server.report.stopping import stopping_words
from server.report.subgroups import gap, groups_of, least_told

LOOK_S = 0.2
Step = Callable[[str], None]


@contextmanager
def progress(out: Path, *, quiet: bool) -> Iterator[Step]:
    """Show a run's progress on stderr until the block ends; yields what is told about single steps.

    Args:
        out: The run's folder.
        quiet: Show nothing.
    """
    if quiet:
        yield lambda text: None
        return
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        display = _Display(out, console, bar)
        stop = threading.Event()
        watcher = threading.Thread(target=display.watch, args=(stop,), daemon=True)
        watcher.start()
        try:
            yield display.step
        finally:
            stop.set()
            watcher.join()


class _Display:
    def __init__(self, out: Path, console: Console, bar: Progress) -> None:
        self._out, self._console, self._bar = out, console, bar
        self._task = bar.add_task("starting", total=None)
        self._shown = 0
        self._lock = threading.Lock()
        self._started = False

    def step(self, text: str) -> None:
        self._look()  # what came before is shown before
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal:
            self._console.print(text)
        # Only what this run writes counts, not an earlier run that it replaces.
        self._started = self._started or text == "starting the sites"

    def watch(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_S):
            self._look()
        self._look()

    def _look(self) -> None:
        with self._lock:
            self._show_new_rounds()

    def _show_new_rounds(self) -> None:
        run = read_run(self._out) if self._started else None
        if run is None:
            return
        total = run["study"]["federation"]["rounds"]
        for entry in run["rounds"][self._shown :]:
            self._shown += 1
            line = _round_line(entry, total, figures_of(run))
            self._bar.update(self._task, description=line, total=total, completed=self._shown)
            if not self._console.is_terminal:
                self._console.print(line, soft_wrap=True)


def _round_line(entry: Mapping[str, Any], total: int, figures: Sequence[Figure]) -> str:
    pooled = (entry["metrics"] or {}).get("pooled") or {}
    parts = [f"round {entry['round']}/{total}"]
    spent = [told["epsilon"] for told in entry["training"].values() if told.get("epsilon") is not None]
    shown = figures[:2] if spent else [*figures[:2], LOSS]  # 80 characters
    parts += [f"{f.spoken} {pooled[f.key]:.3f}" for f in shown if pooled.get(f.key) is not None]
    if spent:
        parts.append(f"epsilon {max(spent):.2f}")
    parts.append(f"{len(entry['contributed'])} sites")
    if entry["missing"]:
        parts.append(f"{len(entry['missing'])} missing")
    return "  ".join([*parts, f"{entry['duration_s']:.1f} s"])


_MOST_SITES = 20
_MOST_FIGURES = 6
"""In a table of 80 characters; the last but one of them makes room for epsilon."""


def show_summary(run: Mapping[str, Any], out: Path) -> None:
    """The final figures and where everything is, on stdout."""
    console = Console(highlight=False, markup=False)
    sites = run["final"]["sites"]
    title = f"{run['study']['study']['name']} after {plural(run['final']['round'], 'round')}, on test cases"
    table = Table(title=Text(title), box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    spent = _spent(run)
    columns = _columns(run, spent=bool(spent))
    for _, heading in columns:
        table.add_column(heading, justify="right")
    if spent:
        table.add_column("epsilon", justify="right")
    for name, metrics in list(sites.items())[:_MOST_SITES]:
        table.add_row(
            Text(name), *_cells(metrics, columns), *([f"{spent[name]:.2f}"] if name in spent else [])
        )
    if len(sites) > _MOST_SITES:
        table.add_row(f"and {len(sites) - _MOST_SITES} more sites")
    table.add_section()
    table.add_row("all sites", *_cells(run["final"]["pooled"] or {}, columns), style="bold")
    for name, metrics in _baseline_rows(run["baselines"]):
        table.add_row(Text(name), *_cells(metrics, columns), style="dim")
    console.print(table)
    devices = sorted({site["device"] for site in run["sites"].values()})
    console.print(f"trained on {', '.join(devices)} in {run['duration_s']:.1f} s")
    for site, about in list(run["sites"].items())[:_MOST_SITES]:
        for note in about["notes"]:
            console.print(f"note: {site}: {note}")
    told = (*filter(None, [stopping_words(run)]), *_calibrated(run), *_by_subgroup(run), *_notes(run))
    for line in told:
        console.print(line)
    # In one piece, however narrow the terminal: paths are copied from it.
    console.print(f"model   {out / 'model.safetensors'}", soft_wrap=True)
    console.print(f"report  {out / 'report.html'}", soft_wrap=True)
    if (out / EVIDENCE).is_dir():
        console.print(f"audit   consilium audit verify {out / EVIDENCE}", soft_wrap=True)


def _columns(run: Mapping[str, Any], *, spent: bool) -> list[tuple[str, str]]:
    """Keys and headings of the columns."""
    shown = [(figure.key, figure.heading) for figure in figures_of(run) if figure.heading][:_MOST_FIGURES]
    if spent and len(shown) == _MOST_FIGURES:
        del shown[-2]
    return [("n", "n"), *shown]


def _spent(run: Mapping[str, Any]) -> dict[str, float]:
    """Epsilon of each site after its last contribution; empty without privacy."""
    told = [
        (site, about.get("epsilon")) for entry in run["rounds"] for site, about in entry["training"].items()
    ]
    return {site: epsilon for site, epsilon in told if epsilon is not None}


def _calibrated(run: Mapping[str, Any]) -> Iterator[str]:
    """What calibration did, where there is one."""
    told = run["final"].get("calibration")
    if not told:
        return
    line = f"calibrated on {told['n']} validation cases"
    if told["form"] != "labels":
        line += f": temperature {told['temperature']:.2f}"
    if isinstance(told["threshold"], float):
        line += f", threshold {told['threshold']:.2f}"
    yield line
    if told["tested"]:
        before, after = (told["tested"][name] for name in ("as_is", "calibrated"))
        shown = (("calibration_error", "calibration error"), ("balanced_accuracy", "balanced accuracy"))
        parts = [f"{name} {before[k]:.3f} -> {after[k]:.3f}" for k, name in shown if before[k] is not None]
        yield f"      on test cases {', '.join(parts)}"


def _by_subgroup(run: Mapping[str, Any]) -> Iterator[str]:
    """Whom the model serves worst and best, by the figure that speaks for it; and of whom nobody knows."""
    figure, kinds = figures_of(run)[0], groups_of(run)
    found = {kind: told for kind, groups in kinds.items() if (told := gap(figure, groups))}
    parts = (
        f"{g.worst[1]:.3f} ({g.worst[0]}) to {g.best[1]:.3f} ({g.best[0]}) by {kind}"
        for kind, g in found.items()
    )
    if found:
        yield f"{figure.spoken} {'; '.join(parts)}"
    if unknown := [kind for kind in kinds if kind not in found]:
        few = f"fewer than two groups of {least_told(run)} patients at a site"
        yield f"nothing to compare by {', '.join(unknown)}: {few}"


def _notes(run: Mapping[str, Any]) -> Iterator[str]:
    """Who was left out and why, and what to know before trusting the epsilons above."""
    reasons = {site: why for entry in run["rounds"] for site, why in entry["missing"].items()}
    for site, why in list(reasons.items())[:_MOST_SITES]:
        yield f"note: {site}: {why}"
    done, unequal = measures(run["study"]), imbalance(run)
    if done:
        yield f"training: {'; '.join(done)}"
    if unequal:
        yield f"note: {unequal}"
    privacy = run.get("privacy")
    if privacy is None:
        return
    if privacy["sites"] and privacy["sites"]["epsilon"]:
        spent, delta = privacy["sites"]["epsilon"][-1], privacy["sites"]["target_delta"]
        yield f"whole sites are hidden with epsilon {spent or float('inf'):.2f} at delta {delta:g}"
    if privacy["noise"] == "seeded":
        yield "note: a simulation's noise is seeded, so whoever has the seed can take it off:"
        yield "      this model shows what privacy costs, and is itself not private."


def _baseline_rows(baselines: Mapping[str, Any] | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if baselines:
        yield "all data pooled", baselines["pooled"] or {}
        yield from (
            (f"{site} alone", metrics) for site, metrics in list(baselines["local"].items())[:_MOST_SITES]
        )


def _cells(metrics: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> list[str]:
    values = [metrics.get(key) for key, _ in columns]
    return ["-" if v is None else str(v) if isinstance(v, int) else f"{v:.3f}" for v in values]
