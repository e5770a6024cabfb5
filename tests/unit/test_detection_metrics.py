"""Counts of detections agree with an exact evaluation box by box; what cannot be counts is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.metrics.detection import RATES, DetectionSums, Tally, average_precision, tally

Array = NDArray[Any]
Picture = tuple[Array, Array, Array, Array]
NAMES = ("nodule", "cyst")


def pictures(seed: int, count: int = 30, classes: int = 2) -> list[Picture]:
    """Boxes found with score and class, and true boxes, of each picture; good scores lean to true boxes."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        true = np.full((4, 5), -1.0)
        for place in range(rng.integers(0, 4)):
            corner, size = rng.uniform(0, 0.7, 2), rng.uniform(0.1, 0.3, 2)
            true[place] = [rng.integers(0, classes), *corner, *(corner + size)]
        found = [(*(row[1:] + rng.normal(0, 0.03, 4)), rng.beta(4, 2), row[0]) for row in true if row[0] >= 0]
        for _ in range(rng.integers(0, 5)):
            corner, size = rng.uniform(0, 0.7, 2), rng.uniform(0.1, 0.3, 2)
            found.append((*corner, *(corner + size), rng.beta(2, 4), rng.integers(0, classes)))
        rows = np.array(sorted(found, key=lambda each: -each[4])).reshape(-1, 6)
        made.append((rows[:, :4], rows[:, 4], rows[:, 5].astype(int), true))
    return made


def counted(made: list[Picture], keep: bool = True) -> DetectionSums:
    """Two pictures a case."""
    tallies = [tally(*picture, 2) for picture in made]
    cases = [one + other for one, other in zip(tallies[::2], tallies[1::2], strict=True)]
    return DetectionSums.of(cases, 0.5 * len(cases), 2, keep=keep)


def overlap(one: Array, other: Array) -> float:
    high = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    wide = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return high * wide / (sum(areas) - high * wide)


def judged(made: list[Picture], of_class: int, least: float) -> tuple[list[tuple[float, bool]], int]:
    """Each box found of a class with its score and whether it is true, and how many true ones there are."""
    verdicts, truths = [], 0
    for boxes, scores, classes, true in made:
        left = [row[1:] for row in true if row[0] == of_class]
        truths += len(left)
        for place in np.argsort(-scores, kind="stable"):
            if classes[place] != of_class:
                continue
            common = [overlap(boxes[place], box) for box in left]
            hit = bool(common) and max(common) >= least
            if hit:
                left.pop(int(np.argmax(common)))
            verdicts.append((float(scores[place]), hit))
    return sorted(verdicts, key=lambda each: -each[0]), truths


def exact_precision(made: list[Picture], of_class: int, least: float) -> float:
    """Average precision, score by score."""
    verdicts, truths = judged(made, of_class, least)
    hits = [hit for _, hit in verdicts]
    precisions = [sum(hits[: place + 1]) / (place + 1) for place in range(len(hits))]
    return sum(max(precisions[place:]) for place, hit in enumerate(hits) if hit) / truths


def exact_sensitivity(made: list[Picture], rate: float) -> float:
    pooled = [judged(made, of_class, 0.3) for of_class in (0, 1)]
    verdicts = sorted((each for found, _ in pooled for each in found), key=lambda each: -each[0])
    best = false = true = 0
    for _, hit in verdicts:
        true, false = true + hit, false + (not hit)
        best = true if false <= rate * len(made) else best
    return best / sum(truths for _, truths in pooled)


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_single_scores_but_for_the_bins(seed: int) -> None:
    made = pictures(seed, count=60)
    figures = counted(made).figures(NAMES)
    for key, least in (("ap50_by_class", 0.5), ("ap30_by_class", 0.3)):
        for of_class, name in enumerate(NAMES):
            # Boxes whose scores share one of 512 bins change places: a few of some hundred.
            assert figures[key][name] == pytest.approx(exact_precision(made, of_class, least), abs=0.01)
    for rate in RATES:
        # A bin is taken whole or not at all, so what is read is at most what is so.
        lacking = exact_sensitivity(made, rate) - figures["sensitivity"][f"{rate:g}"]
        assert -1e-9 <= lacking <= 0.04
    assert figures["froc"] == pytest.approx(np.mean(list(figures["sensitivity"].values())))
    assert figures["map50"] == pytest.approx(np.mean(list(figures["ap50_by_class"].values())))
    assert figures["map30"] >= figures["map50"]


def test_figures_are_exact_where_no_scores_share_a_bin() -> None:
    made = pictures(9, count=20)
    spaced = iter(np.linspace(5, -5, sum(len(picture[1]) for picture in made)))
    order = np.argsort(-np.concatenate([picture[1] for picture in made]), kind="stable")
    logits = np.empty(len(order))
    logits[order] = list(spaced)
    ends = np.cumsum([0, *(len(picture[1]) for picture in made)])
    apart = [
        (boxes, 1 / (1 + np.exp(-logits[a:b])), classes, true)
        for (boxes, _, classes, true), a, b in zip(made, ends, ends[1:], strict=False)
    ]
    figures = counted(apart).figures(NAMES)
    for of_class, name in enumerate(NAMES):
        assert figures["ap50_by_class"][name] == pytest.approx(
            exact_precision(apart, of_class, 0.5), abs=1e-12
        )
    for rate in RATES:
        assert figures["sensitivity"][f"{rate:g}"] == pytest.approx(exact_sensitivity(apart, rate), abs=1e-12)


def test_one_true_box_is_found_once() -> None:
    true = np.array([[0, 0.1, 0.1, 0.5, 0.5], [-1, -1, -1, -1, -1]])
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.3]])
    counts = tally(boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3, dtype=int), true, 1)
    assert counts.scores.sum(axis=3).tolist() == [[[2, 1], [2, 1]]]
    assert (counts.truths.tolist(), counts.pictures) == ([1], 1)


def test_box_of_another_class_is_false() -> None:
    true = np.array([[1, 0.1, 0.1, 0.5, 0.5]])
    counts = tally(true[:, 1:], np.array([0.9]), np.array([0]), true, 2)
    assert counts.scores[0, :, 0].sum() == 2
    assert counts.scores[:, :, 1].sum() == 0


def test_precision_of_a_known_order() -> None:
    # From the best score down: true, false, true; of three there are.
    assert average_precision(np.array([0, 1, 0]), np.array([1, 0, 1]), 3) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(np.zeros(3), np.zeros(3), 0) is None


def test_no_case_has_no_figures() -> None:
    none = DetectionSums.none(2)
    none.check(2)
    figures = none.figures(NAMES)
    assert (figures["n"], figures["map50"], figures["froc"], figures["loss"]) == (0, None, None, None)
    assert none.curves(NAMES)["froc_curve"] == {"false": [], "sensitivity": []}


def test_pictures_without_any_box_found_have_sensitivity_zero() -> None:
    nothing = np.zeros((0, 4))
    true = np.array([[0, 0.1, 0.1, 0.5, 0.5]])
    sums = DetectionSums.of([tally(nothing, np.zeros(0), np.zeros(0, dtype=int), true, 2)], 1.0, 2, keep=True)
    sums.check(2)
    figures = sums.figures(NAMES)
    assert (figures["map50"], figures["froc"], figures["ap50_by_class"]["cyst"]) == (0.0, 0.0, None)


@pytest.mark.parametrize("keep", [True, False])
def test_sum_of_the_sites_is_the_count_of_all_cases(keep: bool) -> None:
    made = pictures(3)
    parts = [counted(made[a:b], keep) for a, b in ((0, 8), (8, 8), (8, 30))]
    total, whole = DetectionSums.total([DetectionSums.none(2), *parts]), counted(made, keep)
    total.check(2)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(getattr(total, name), array)
    assert total.loss == pytest.approx(whole.loss)


def test_rows_of_cases_give_their_sums_again() -> None:
    sums = counted(pictures(4))
    tallies = [
        Tally(finds, truths[:-1], int(truths[-1]))
        for finds, truths in zip(sums.case_finds, sums.case_truths, strict=True)
    ]
    again = DetectionSums.of(tallies, sums.loss, 2, keep=True)
    for name, array in sums.arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array)


def tampered(name: str, where: tuple[int, ...], value: int) -> DetectionSums:
    sums = counted(pictures(2))
    array = getattr(sums, name).copy()
    array[where] = value
    changed: dict[str, Any] = {name: array}
    return replace(sums, **changed)


@pytest.mark.parametrize(
    "broken",
    [
        tampered("searched", (0,), 10**6),
        tampered("searched", (1,), 0),
        tampered("truths", (0,), 0),
        tampered("truths", (0,), -1),
        tampered("finds", (0, 0, 0, 300), 10**5),
        tampered("finds", (0, 0, 0, 300), -1),
        tampered("case_finds", (0, 0, 0, 0, 300), 10**5),
        tampered("case_finds", (0, 0, 0, 0, 300), -1),
        tampered("case_truths", (0, 0), 99),
        replace(counted(pictures(2)), case_truths=counted(pictures(2)).case_truths[:3]),
        replace(counted(pictures(2)), case_finds=counted(pictures(2)).case_finds.astype(np.int64)),
        replace(counted(pictures(2)), truths=np.zeros(3, dtype=np.int64)),
    ],
)
def test_what_cannot_be_counts_is_refused(broken: DetectionSums) -> None:
    counted(pictures(2)).check(2)
    with pytest.raises(ValueError, match=r"."):
        broken.check(2)
