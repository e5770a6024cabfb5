"""How far a cohort has moved, and when chance explains it."""

import json
from math import log

import numpy as np
import pytest

from client.cohorts.quality import CaseFacts, FileCounts, Reference, assess, picture_of
from client.cohorts.quality.drift import Drift, Level, Shift, _chi_square_95, drift, psi
from client.cohorts.quality.reference import doubling_class


def cohort(number: int, brightness: float = 0.5, seed: int = 0, **facts: object) -> Reference:
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(number):
        mean = brightness + 0.05 * rng.normal()
        pixels = np.clip(rng.normal(mean, 0.1, (1, 16, 16)), 0, 1).astype(np.float32)
        values: dict[str, object] = {"label": str(i % 2), "scanner": "One", "shape": (1, 512, 400), **facts}
        cases.append((CaseFacts(f"c{i}", f"p{i}", **values), picture_of(pixels)))  # type: ignore[arg-type]
    return assess(FileCounts(0), cases).reference


def shift(found: Drift, what: str, measure: str = "PSI") -> Shift:
    return next(s for s in found.shifts if (s.what, s.measure) == (what, measure))


def test_psi_follows_its_formula() -> None:
    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    assert psi(p, q) == pytest.approx(0.25 * log(2) - 0.25 * log(2 / 3))
    assert psi(p, p) == 0


def test_a_cohort_has_not_moved_from_itself() -> None:
    now = cohort(30)
    assert {(s.value, s.level) for s in drift(now, now).shifts} == {(0.0, Level.steady)}


def test_two_samples_of_one_population_are_steady() -> None:
    found = drift(cohort(200, seed=1), cohort(200, seed=2))
    assert {s.level for s in found.shifts} == {Level.steady}


def test_another_brightness_is_seen_by_both_measures() -> None:
    found = drift(cohort(100, 0.7, seed=1), cohort(100, 0.4, seed=2))
    assert shift(found, "brightness").level is Level.far
    ks = shift(found, "brightness", "KS")
    assert ks.level is Level.far and 0.5 < ks.value <= 1


def test_another_scanner_is_named_with_its_shares() -> None:
    moved = shift(drift(cohort(100, scanner="Two"), cohort(100)), "scanners")
    assert moved.level is Level.far
    assert set(moved.most) == {("One", 1.0, 0.0), ("Two", 0.0, 1.0)}


def test_few_patients_cannot_be_told_from_chance() -> None:
    few, many = ({"label": {"0": n // 4, "1": n - n // 4}} for n in (8, 800))

    def of(counts: dict[str, int]) -> Reference:
        n = sum(counts.values())
        blank = {"modalities": {"CT": n}, "scanners": {"One": n}, "sizes": {"1": n}, "lengths": {"1": n}}
        zeros = (0.0,) * 64
        return Reference(
            cases=n, patients=n, pictured=0, brightness=zeros, squares=zeros, labels=counts, **blank
        )

    for sides, level in ((few, Level.uncertain), (many, Level.far)):
        counts = sides["label"]
        turned = {"0": counts["1"], "1": counts["0"]}
        assert shift(drift(of(turned), of(counts)), "labels").level is level


def test_chance_is_measured_in_patients() -> None:
    many = cohort(60)
    few = many.model_copy(update={"patients": 6})
    assert shift(drift(few, few), "labels").chance == pytest.approx(
        10 * shift(drift(many, many), "labels").chance
    )


def test_chance_of_classes_is_that_of_the_chi_square_distribution() -> None:
    exact = {1: 3.841, 2: 5.991, 5: 11.070, 10: 18.307, 30: 43.773}
    for freedom, value in exact.items():
        assert _chi_square_95(freedom) == pytest.approx(value, rel=0.03)


def test_what_either_does_not_know_is_left_out() -> None:
    records = assess(FileCounts(0), [(CaseFacts("c", "p"), None)]).reference
    assert "brightness" not in {s.what for s in drift(records, cohort(5)).shifts}
    nothing = assess(FileCounts(0), []).reference
    assert drift(nothing, cohort(5)).shifts == () == drift(cohort(5), nothing).shifts


def test_a_reference_is_kept_as_json_and_read_again() -> None:
    reference = cohort(7)
    assert Reference.of_json(reference.to_json()) == reference


def test_a_reference_holds_no_case() -> None:
    text = cohort(7).to_json()
    assert '"c1"' not in text and '"p1"' not in text


@pytest.mark.parametrize(
    "change",
    [
        {"consilium_reference": 2},
        {"brightness": [0.1] * 63},
        {"labels": {"0": 6}},
        {"labels": {"0": 8, "1": -1}},
        {"pictured": 8},
        {"patients": 0},
        {"patient_names": []},
    ],
)
def test_a_reference_that_is_not_one_is_refused(change: dict[str, object]) -> None:
    document = {**json.loads(cohort(7).to_json()), **change}
    with pytest.raises(ValueError):
        Reference.of_json(json.dumps(document))


def test_classes_double() -> None:
    assert [doubling_class(n) for n in (0, 1, 2, 3, 511, 512, 1023, 1024)] == [
        "0", "1", "2 to 3", "2 to 3", "256 to 511", "512 to 1023", "512 to 1023", "1024 to 2047",
    ]  # fmt: skip
