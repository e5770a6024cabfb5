"""Early stopping: the kept round is one of the best, and once it is over nothing follows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.metrics import Figure
from server.stopping import Patience, Standing

VALUES = st.lists(st.none() | st.floats(0.0, 1.0), max_size=12)
FIGURES = st.sampled_from([Figure("auroc", "AUROC"), Figure("loss", "Loss", higher_is_better=False)])


def standing(patience: Patience, values: list[float | None]) -> Standing:
    return patience.standing(
        [{"round": number, "validation": {"value": v}} for number, v in enumerate(values, start=1)]
    )


@given(VALUES, FIGURES)
def test_without_a_margin_the_best_round_is_the_first_of_the_best(
    values: list[float | None], figure: Figure
) -> None:
    found = standing(Patience(3, figure), values)
    known = [v for v in values if v is not None]
    if not known:
        assert found == Standing()
        return
    best = max(known) if figure.higher_is_better else min(known)
    assert found.value == best and found.best == values.index(best) + 1
    assert found.since == sum(v is not None for v in values[values.index(best) + 1 :])


@given(VALUES, FIGURES, st.floats(0.0, 0.5))
def test_the_kept_round_is_within_the_margin_of_the_best(
    values: list[float | None], figure: Figure, min_delta: float
) -> None:
    found = standing(Patience(3, figure, min_delta), values)
    for value in values:
        assert value is None or figure.better(value, found.value or 0.0) <= min_delta


@given(VALUES, FIGURES, st.integers(1, 4), st.floats(0.0, 0.5))
def test_it_ends_once_and_for_the_same_round_whatever_would_have_come(
    values: list[float | None], figure: Figure, tests: int, min_delta: float
) -> None:
    """A study is looked at after each round: as soon as it is over, nothing follows."""
    patience = Patience(tests, figure, min_delta)
    ends = [n for n in range(len(values) + 1) if patience.is_over(standing(patience, values[:n]))]
    if ends:
        first = standing(patience, values[: ends[0]])
        assert first.since == tests and first.best is not None and first.best < ends[0]
