"""The quality of a cohort: everything that its report shows, computed from values alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.cohorts.quality.counts import Counts, count
from client.cohorts.quality.drift import Drift, drift
from client.cohorts.quality.facts import CaseFacts, FileCounts
from client.cohorts.quality.gathered import Cases, gather
from client.cohorts.quality.histograms import Histogram, histograms
from client.cohorts.quality.lookalikes import Issue, LookAlike, LookAlikes, look_alikes
from client.cohorts.quality.outliers import Outlier, outliers
from client.cohorts.quality.reference import Reference, reference_of
from client.cohorts.quality.sizes import Quantiles, sizes
from client.cohorts.quality.verdict import Evidence, Verdict, verdict

SHOWN = 12
"""Outliers, and look-alikes of each issue, that are shown as pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """What is known of the quality of a cohort.

    Attributes:
        files: What became of the files.
        counts: Cases and patients of each kind.
        sizes: Spread of sizes and spacings.
        histograms: Brightness for each scanner.
        look_alikes: Cases that show the same picture and should not.
        outliers: Cases that stand apart.
        reference: What to keep, to compare a later cohort with.
        drift: How far this one has moved from the reference given; None without one.
        verdict: All this in plain words.
        thumbnails: (h, w) uint8 middle frames of the cases that are shown, by the case's pseudonym.
    """

    files: FileCounts
    counts: Counts
    sizes: tuple[Quantiles, ...]
    histograms: tuple[Histogram, ...]
    look_alikes: LookAlikes
    outliers: tuple[Outlier, ...]
    reference: Reference
    drift: Drift | None
    verdict: Verdict
    thumbnails: Mapping[str, NDArray[np.uint8]]


def assess(files: FileCounts, cases: Cases, reference: Reference | None = None) -> Quality:
    """The quality of a cohort.

    Args:
        files: What became of the files it was made from.
        cases: Each case's facts and its picture in small, or None in its place. They are read once from front
            to end, and those that will be shown a second time by index; a sequence that reads them from a
            database needs memory for few at a time.
        reference: An earlier cohort to compare with.
    """
    every, gathered = gather(cases)
    counts, alike, odd = count(every), look_alikes(every, gathered), outliers(every, gathered)
    kept = reference_of(every, gathered)
    moved = drift(kept, reference) if reference else None
    return Quality(
        files=files,
        counts=counts,
        sizes=sizes(every),
        histograms=histograms(gathered.facts, gathered.histograms),
        look_alikes=alike,
        outliers=odd,
        reference=kept,
        drift=moved,
        verdict=verdict(Evidence(files, counts, alike, odd, moved)),
        thumbnails=_thumbnails(every, cases, _shown(alike, odd)),
    )


def shown_pairs(alike: LookAlikes, issue: Issue) -> tuple[LookAlike, ...]:
    """The pairs that are shown as pictures under an issue: those whose gravest issue it is."""
    return tuple(pair for pair in alike.pairs if pair.issues[0] is issue)[:SHOWN]


def _shown(alike: LookAlikes, odd: tuple[Outlier, ...]) -> Iterable[CaseFacts]:
    for issue in Issue:
        for pair in shown_pairs(alike, issue):
            yield from (pair.first, pair.second)
    yield from (outlier.facts for outlier in odd[:SHOWN])


def _thumbnails(
    every: tuple[CaseFacts, ...], cases: Cases, shown: Iterable[CaseFacts]
) -> dict[str, NDArray[np.uint8]]:
    wanted = {facts.case for facts in shown}
    found = {}
    for place, facts in enumerate(every):
        picture = cases[place][1] if facts.case in wanted else None
        if picture is not None:
            found[facts.case] = picture.thumbnail
    return found
