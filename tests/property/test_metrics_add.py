"""Counts of sites add: pooled figures are those of all cases together, whoever is asked first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.metrics import ClassificationSums, GenerationSums, RiskSums, metrics_of

COUNTS = ("confusion", "calibration", "histogram")


@st.composite
def federations(draw: st.DrawFn) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Scores and labels of one to four sites with none to twenty cases each; some scores are extreme."""
    classes = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.1, 2.0, 40.0]))
    sites = []
    for cases in draw(st.lists(st.integers(0, 20), min_size=1, max_size=4)):
        scores = np.exp(rng.normal(size=(cases, classes)).round(1) * scale)
        sites.append((scores / scores.sum(axis=1, keepdims=True), rng.integers(0, classes, cases)))
    return sites


def counted(sites: list[tuple[NDArray[Any], NDArray[Any]]], keep: bool = True) -> list[ClassificationSums]:
    return [ClassificationSums.count(scores, labels, keep_scores=keep) for scores, labels in sites]


def assert_same_counts(one: ClassificationSums, other: ClassificationSums) -> None:
    for name in COUNTS:
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-9)
    assert one.loss == pytest.approx(other.loss)


@given(federations(), st.booleans())
def test_sum_of_the_sites_is_the_count_of_all_cases(
    sites: list[tuple[NDArray[Any], NDArray[Any]]], keep: bool
) -> None:
    together = [(np.concatenate([s for s, _ in sites]), np.concatenate([y for _, y in sites]))]
    total, pooled = ClassificationSums.total(counted(sites, keep)), counted(together, keep)[0]
    assert_same_counts(total, pooled)
    assert total.exact == pooled.exact
    assert np.array_equal(total.scores, pooled.scores) and np.array_equal(total.labels, pooled.labels)


@given(federations(), st.randoms(use_true_random=False), st.booleans())
def test_order_of_the_sites_changes_no_figure(
    sites: list[tuple[NDArray[Any], NDArray[Any]]], random: Any, keep: bool
) -> None:
    parts = counted(sites, keep)
    shuffled = random.sample(parts, len(parts))
    one, other = ClassificationSums.total(parts), ClassificationSums.total(shuffled)
    assert_same_counts(one, other)
    classes = [str(c) for c in range(one.confusion.shape[0])]
    mine, theirs = metrics_of(one, classes).to_dict(), metrics_of(other, classes).to_dict()
    assert mine.pop("labels") == theirs.pop("labels")
    assert mine == pytest.approx(theirs, nan_ok=False)


@given(federations())
def test_counts_agree_among_themselves(sites: list[tuple[NDArray[Any], NDArray[Any]]]) -> None:
    total = ClassificationSums.total(counted(sites))
    assert total.n == sum(len(labels) for _, labels in sites) == len(total.labels)
    assert total.calibration[0].sum() == total.n
    assert total.histogram[:, 1].sum(axis=1).tolist() == total.confusion.sum(axis=1).tolist()
    assert (total.histogram.sum(axis=(1, 2)) == total.n).all()
    assert (total.calibration[2] <= total.calibration[0]).all()
    assert total.calibration[2].sum() == total.confusion.trace()


@given(federations(), st.booleans())
def test_every_figure_is_within_its_range(sites: list[tuple[NDArray[Any], NDArray[Any]]], keep: bool) -> None:
    total = ClassificationSums.total(counted(sites, keep))
    figures = metrics_of(total, [str(c) for c in range(total.confusion.shape[0])]).to_dict()
    loss = figures.pop("loss")
    assert loss is None or 0 <= loss < 30
    brier = figures.pop("brier")
    assert brier is None or -1e-12 <= brier <= 2 + 1e-12
    shares = [v for name, v in figures.items() if name not in ("n", "labels") and v is not None]
    assert all(-1e-12 <= share <= 1 + 1e-12 for share in shares)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 12), min_size=1, max_size=4), st.booleans())
def test_risks_of_the_sites_add_but_for_pairs_between_them(seed: int, sizes: list[int], keep: bool) -> None:
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    risks, lengths = rng.random((n, 5)), rng.integers(1, 6, n)
    outcomes = np.stack([rng.integers(0, 2, n), rng.integers(-1, 6, n)], axis=1).astype(float)
    ends = np.cumsum(sizes)[:-1]
    parts = zip(*(np.split(array, ends) for array in (risks, lengths, outcomes)), strict=True)
    total = RiskSums.total([RiskSums.observed(*part, keep=keep) for part in parts])
    together = RiskSums.observed(risks, lengths, outcomes, keep=keep)
    total.check(2)
    assert_same_counts(total, together)
    assert np.array_equal(total.early, together.early)
    assert (total.pairs <= together.pairs).all()
    assert len(sizes) > 1 or np.array_equal(total.pairs, together.pairs)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 12), min_size=1, max_size=4))
def test_bits_of_the_sites_are_those_of_all_pictures(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    nats, labels = rng.random(sum(sizes)) * 500, rng.integers(0, 3, sum(sizes))
    pixels, ends = rng.integers(50, 90, sum(sizes)), np.cumsum(sizes)[:-1]
    parts = zip(*(np.split(array, ends) for array in (nats, pixels, labels)), strict=True)
    total = GenerationSums.total([GenerationSums.count(*part, 3) for part in parts])
    total.check(3)
    together = GenerationSums.count(nats, pixels, labels, 3)
    classes = ("a", "b", "c")
    one, other = total.figures(classes), together.figures(classes)
    assert one.pop("bits_per_dim_by_class") == pytest.approx(other.pop("bits_per_dim_by_class"))
    assert one.pop("labels") == other.pop("labels")
    assert one == pytest.approx(other)
