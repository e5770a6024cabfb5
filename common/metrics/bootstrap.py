"""95 % intervals of figures, by drawing patients.

Cases of one patient resemble each other, so patients are drawn, each with all its cases (Efron and Tibshirani
1993, ch. 8); each site's among its own, so that the sites keep their weight. That needs single cases and
whose they are, which only a simulation gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.metrics.sums import Array, EvaluationSums

DRAWS = 300
LEAST_PATIENTS = 30
"""Of fewer the share of draws that miss a kind of patient is too large for an interval to mean anything."""
_ENDS = (2.5, 97.5)
_MOST_UNDEFINED = 0.05


def intervals(
    parts: Sequence[EvaluationSums], classes: Sequence[str], seed: int = 0
) -> dict[str, list[float]]:
    """Low and high end by the key of a figure; empty where not every case and its patient is known.

    A figure that is undefined in more than 5 % of the draws has none.

    Args:
        parts: Counts of each site.
        classes: Names of the study's classes.
        seed: Decides who is drawn.
    """
    drawn_from = [_cases_by_patient(part.patients) for part in parts if part.n]
    known = [part for part in parts if part.n]
    complete = all(len(part.patients) == part.n for part in known)
    if not complete or sum(map(len, drawn_from)) < LEAST_PATIENTS:
        return {}
    rng, keys = np.random.default_rng(seed), [figure.key for figure in type(known[0]).FIGURES]
    told = []
    for _ in range(DRAWS):
        each = [p.drawn(_draw(of, rng)) for p, of in zip(known, drawn_from, strict=True)]
        found = [part for part in each if part is not None]
        if len(found) < len(each):
            return {}
        figures = type(found[0]).total(found).figures(classes)
        told.append([figures.get(key) for key in keys])
    return _ends(keys, told)


def _cases_by_patient(patients: Array) -> list[Array]:
    """Places of each patient's cases."""
    order = np.argsort(patients, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(patients[order])) + 1) if len(order) else []


def _draw(cases: Sequence[Array], rng: np.random.Generator) -> Array:
    """Places of the cases of as many patients as there are, drawn with replacement."""
    return np.concatenate([cases[number] for number in rng.integers(0, len(cases), len(cases))])


def _ends(keys: Sequence[str], told: Sequence[Sequence[float | None]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for key, values in zip(keys, zip(*told, strict=True), strict=True):
        defined = [value for value in values if value is not None]
        if len(defined) >= (1 - _MOST_UNDEFINED) * len(values):
            found[key] = [float(end) for end in np.percentile(defined, _ENDS)]
    return found
