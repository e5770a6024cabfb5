"""Subgroups add up to the whole, and no small one leaves a site: not itself, and not as a difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.manifest import Row
from client.sources import Entry
from client.subgroups import Masks, told_subgroups
from common.metrics import ClassificationSums
from common.metrics.subgroups import arrays_of, check_subgroups, is_name, subgroups_of

KINDS = ("sex", "age", "scanner")
ITEM = Row("a.png", "elm", "p", "test", "0", 1)


@st.composite
def hospitals(draw: st.DrawFn) -> list[Entry]:
    """Test cases of a few patients; the kinds follow each other closely or not at all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cases, patients = draw(st.integers(1, 60)), draw(st.integers(1, 40))
    noise = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    base, whose = rng.integers(0, 3, cases), rng.integers(0, patients, cases)
    found = []
    for case in range(cases):
        told = {kind: str(base[case] if rng.random() > noise else rng.integers(0, 4)) for kind in KINDS}
        groups = {kind: name for kind, name in told.items() if name != "3"}
        found.append(Entry(str(whose[case]), "test", "0", f"case {case}", ITEM, groups))
    return found


def numbers(entries: Sequence[Entry]) -> NDArray[np.int64]:
    return np.array([int(entry.patient) for entry in entries])


def unions(groups: Sequence[NDArray[np.bool_]], size: int) -> Iterator[NDArray[np.bool_]]:
    for count in range(len(groups) + 1):
        for chosen in combinations(groups, count):
            yield np.any([np.zeros(size, dtype=bool), *chosen], axis=0)


def computable(masks: Masks, size: int) -> dict[str, list[NDArray[np.bool_]]]:
    """All sets of cases whose counts follow from one kind and from all cases together."""
    found = {}
    for kind, groups in masks.items():
        own = list(unions(list(groups.values()), size))
        found[kind] = [*own, *(~each for each in own)]
    return found


@settings(max_examples=50, deadline=None)
@given(hospitals(), st.integers(2, 12))
def test_no_small_group_leaves_and_none_can_be_worked_out(entries: list[Entry], least: int) -> None:
    masks, patients, size = told_subgroups(entries, KINDS, least), numbers(entries), len(entries)
    sets = computable(masks, size)
    for own in sets.values():
        for each in own:
            assert not each.any() or len(np.unique(patients[each])) >= least
    for one, other in combinations(sets.values(), 2):
        for mine in one:
            for theirs in other:
                apart = mine ^ theirs
                assert not apart.any() or len(np.unique(patients[apart])) >= least


@given(hospitals())
def test_large_groups_are_all_told_and_add_up_to_the_whole(entries: list[Entry]) -> None:
    rng = np.random.default_rng(len(entries))
    scores = rng.dirichlet([1.0, 1.0], len(entries))
    labels = rng.integers(0, 2, len(entries))
    whole = ClassificationSums.count(scores, labels, keep_scores=True)
    masks = {kind: told_subgroups(entries, [kind], 1)[kind] for kind in KINDS}
    told = {
        kind: {
            name: ClassificationSums.count(scores[mask], labels[mask], keep_scores=True)
            for name, mask in groups.items()
        }
        for kind, groups in masks.items()
    }
    read = subgroups_of(arrays_of(told), ClassificationSums)
    check_subgroups(read, whole, 2, KINDS, 1)
    for groups in read.values():
        total = ClassificationSums.total(groups.values())
        assert total.loss == pytest.approx(whole.loss)
        assert np.array_equal(total.confusion, whole.confusion)
        assert np.array_equal(total.histogram, whole.histogram)
        assert total.calibration == pytest.approx(whole.calibration, abs=1e-9)
        assert sorted(total.scores[:, 1]) == sorted(whole.scores[:, 1])


@given(st.lists(st.text(max_size=80), min_size=1, max_size=40))
def test_names_are_made_fit_to_be_told(names: list[str]) -> None:
    entries = [Entry(str(n), "test", "0", "", ITEM, {"scanner": name}) for n, name in enumerate(names)]
    for groups in told_subgroups(entries, ("scanner",), 1).values():
        assert 1 <= len(groups) <= 16
        assert all(map(is_name, groups))
