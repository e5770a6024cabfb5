"""A round judged: giants are quarantined, the angle is shown, what is remembered decides the same again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import numpy as np
import pytest

from common.errors import TaskInvalid, UpdateRefused
from common.study import Study
from common.update import Contribution
from common.weights import Weights
from server.gate import History, Judgement, judge, suspended
from server.gate.history import MOST_REMEMBERED, WINDOW
from server.gate.scores import mark_of
from server.gate.standing import PATIENCE
from server.gate.vectors import Direction
from tests.unit.gate.conftest import BASE, along, given

COMMON = np.arange(15) - 7.0


def honest(site: str, number: int, *, length: float = 1.0, sign: int = 1, counted: int = 4) -> Contribution:
    """An update along the common way, with a part of its own."""
    rng = np.random.default_rng([number, *site.encode()])
    return given(site, along(sign * (COMMON + 4 * rng.standard_normal(15)), length, counted), number=number)


SITES = ("ash", "birch", "cedar", "elm", "fir")


def round_of(number: int, sites: tuple[str, ...] = SITES) -> list[Contribution]:
    return [honest(site, number) for site in sites]


def played(
    rounds: int,
    change: Callable[[Contribution], Contribution] = lambda one: one,
    *,
    site: str = "elm",
    since: int = 1,
) -> tuple[History, list[Judgement]]:
    """A study whose ``site`` sends something else from a round on, as the coordinator would run it."""
    history, judged = History(), []
    for number in range(1, rounds + 1):
        asked = tuple(name for name in SITES if name not in suspended(history))
        sent = [
            change(one) if one.site == site and number >= since else one for one in round_of(number, asked)
        ]
        judged.append(judge(history, sent, BASE))
        history = history.after(number, judged[-1].scores, {})
    return history, judged


def times(factor: float) -> Callable[[Contribution], Contribution]:
    return lambda one: replace(
        one,
        delta={n: (a * factor).astype(a.dtype) if a.dtype.kind == "f" else a for n, a in one.delta.items()},
    )


def test_honest_rounds_have_scores_and_no_findings() -> None:
    history, judged = played(12)
    scores = [score for one in judged for score in one.scores]
    assert len(scores) == 60 and not any(score.refused or score.mark for score in scores)
    assert all(score.norm == pytest.approx(1, rel=1e-5) and (score.cosine or 0) > 0 for score in scores)
    assert [score.site for score in judged[0].scores] == list(SITES)
    assert not history.standings and not suspended(history)


@pytest.mark.parametrize("factor", [30.0, -30.0, 1e6, 1e30, 3e37])
@pytest.mark.parametrize("since", [1, 6])
def test_a_giant_is_quarantined_alone_and_its_site_is_suspended_after_three_rounds(
    factor: float, since: int
) -> None:
    history, judged = played(since + PATIENCE, times(factor), since=since)
    for one in judged[since - 1 : since - 1 + PATIENCE]:
        assert set(one.quarantined) == {"elm"} and one.quarantined["elm"].code == "update-refused"
    assert [score.site for score in judged[-1].scores] == ["ash", "birch", "cedar", "fir"]
    error = suspended(history)["elm"]
    assert error.code == "site-suspended" and "readmit STUDY elm" in error.hint
    assert f"rounds {since}, {since + 1}, {since + 2}" in error.private and "norm of" in error.private


def test_what_is_kept_is_what_is_not_quarantined_in_the_order_given() -> None:
    sent = [times(1e6)(one) if one.site == "birch" else one for one in round_of(1)][::-1]
    kept = judge(History(), sent, BASE).kept(sent)
    assert [one.site for one in kept] == ["fir", "elm", "cedar", "ash"]


def test_with_two_sites_the_first_rounds_do_not_tell_which_one_is_right_later_ones_do() -> None:
    pair = ("ash", "elm")
    first = [honest("ash", 1), times(30)(honest("elm", 1))]
    assert not judge(History(), first, BASE).quarantined
    assert set(judge(History(), [honest("ash", 1), times(1e6)(honest("elm", 1))], BASE).quarantined) == {
        "elm"
    }
    history = History()
    for number in (1, 2, 3):
        history = history.after(number, judge(history, round_of(number, pair), BASE).scores, {})
    later = [honest("ash", 4), times(30)(honest("elm", 4))]
    assert set(judge(history, later, BASE).quarantined) == {"elm"}


def test_a_flipped_update_is_marked_and_not_refused() -> None:
    _, judged = played(6, times(-1))
    for one in judged:
        assert not one.quarantined
        marks = {score.site: score.mark for score in one.scores}
        assert marks == {**dict.fromkeys(SITES, ""), "elm": "against"}


def test_a_site_that_was_with_the_others_and_turns_is_suspended() -> None:
    history, judged = played(9, times(-1), since=5)
    marks = [[score.mark for score in one.scores if score.site == "elm"] for one in judged]
    assert marks == [[""]] * 4 + [["turned"]] * 3 + [[], []]
    assert "turned against the others (cosine -0." in suspended(history)["elm"].private


def test_a_site_that_was_always_against_the_others_is_never_suspended() -> None:
    history, _ = played(15, times(-1))
    assert not history.standings


def test_among_three_none_is_marked() -> None:
    sent = [times(-1)(one) if one.site == "elm" else one for one in round_of(1, ("ash", "birch", "elm"))]
    assert {score.mark for score in judge(History(), sent, BASE).scores} == {""}


def test_where_the_others_do_not_agree_none_is_against_them() -> None:
    ways = [np.eye(15)[at] for at in range(4)]
    apart = [given(site, along(way, 1.0)) for site, way in zip(SITES, [*ways, -sum(ways)], strict=True)]
    scores = judge(History(), apart, BASE).scores
    assert scores[-1].cosine == pytest.approx(-1) and scores[-1].mark == ""


def test_counters_weigh_nothing() -> None:
    quiet, loud = round_of(1), [honest("ash", 1, counted=2**40), *round_of(1)[1:]]
    assert judge(History(), quiet, BASE) == judge(History(), loud, BASE)


def test_who_answered_first_does_not_matter() -> None:
    forth = judge(History(), round_of(1), BASE)
    assert judge(History(), round_of(1)[::-1], BASE) == forth


def test_no_update_no_score_and_a_single_one_has_neither_factor_nor_cosine() -> None:
    assert judge(History(), [], BASE) == Judgement()
    (score,) = judge(History(), [honest("elm", 1)], BASE).scores
    assert (score.factor, score.z, score.cosine, score.mark, score.refused) == (None, None, None, "", "")


def test_an_update_that_changes_nothing_has_no_direction_and_is_let_in() -> None:
    sent = [*round_of(1), given("yew", {name: np.zeros_like(array) for name, array in BASE.items()})]
    score = judge(History(), sent, BASE).scores[-1]
    assert (score.norm, score.factor, score.cosine, score.refused) == (0, 0, None, "")


def test_a_length_beyond_all_numbers_is_refused_and_can_be_journalled() -> None:
    wide: Weights = {"w": np.zeros(3)}
    sent = [
        given("ash", {"w": np.full(3, 1e200)}),
        given("elm", {"w": np.ones(3)}),
        given("fir", {"w": np.ones(3)}),
    ]
    judged = judge(History(), sent, wide)
    assert set(judged.quarantined) == {"ash"}
    json.dumps([asdict(score) for score in judged.scores], allow_nan=False)


def test_one_contribution_never_counts_twice() -> None:
    with pytest.raises(ValueError, match="one site and round"):
        judge(History(), [honest("elm", 1), honest("elm", 1)], BASE)
    late = [*round_of(2), replace(honest("elm", 1), round=1)]
    assert [(one.site, one.round) for one in judge(History(), late, BASE).scores][3:5] == [
        ("elm", 1),
        ("elm", 2),
    ]


def refusals(*sites: str) -> Mapping[str, UpdateRefused | TaskInvalid]:
    return {site: UpdateRefused("b holds values that are not finite") for site in sites}


def test_refused_answers_count_as_bad_rounds_and_a_good_one_ends_the_row() -> None:
    history = History()
    for number, bad in enumerate(["elm", "elm", "", "elm", "elm", "elm"], start=1):
        sent = round_of(number, tuple(site for site in SITES if site != bad))
        scores = judge(history, sent, BASE).scores
        history = history.after(number, scores, refusals(bad) if bad else {})
        assert bool(suspended(history)) is (number == 6)
    assert "rounds 4, 5, 6; the last: update-refused: b holds" in suspended(history)["elm"].private


def test_a_round_without_an_answer_neither_adds_to_the_row_nor_ends_it() -> None:
    history = History()
    for number in range(1, 10):
        there = tuple(site for site in SITES if site != "elm")
        history = history.after(
            number,
            judge(history, round_of(number, there), BASE).scores,
            refusals("elm") if number % 3 == 0 else {},
        )
    assert history.standings[0].bad_rounds == (3, 6, 9) and set(suspended(history)) == {"elm"}


def test_only_a_person_takes_a_suspended_site_back() -> None:
    history = History()
    for number in (1, 2, 3):
        history = history.after(number, (), refusals("elm", "fir"))
    for number in range(4, 40):
        history = history.after(number, judge(history, round_of(number), BASE).scores, {})
    assert list(suspended(history)) == ["elm", "fir"]
    assert list(suspended(history.readmit("elm"))) == ["fir"]
    assert history.readmit("nobody") == history
    again = history.readmit("elm").after(40, (), refusals("elm"))
    assert [one.bad_rounds for one in again.standings] == [(40,), (1, 2, 3)]


def test_a_history_comes_back_from_its_text_and_decides_the_same() -> None:
    for change in (times(1), times(1e6), times(-1)):
        for stop in (1, 3, 6, 8):
            history, _ = played(stop, change, since=4)
            back = History.from_json(history.to_json())
            assert back == history and back.to_json() == history.to_json()
            sent = [change(one) if one.site == "elm" else one for one in round_of(stop + 1)]
            assert judge(back, sent, BASE) == judge(history, sent, BASE)
            assert repr(suspended(back)) == repr(suspended(history))


def test_a_round_is_entered_once_and_in_order() -> None:
    history = History().after(3, (), {})
    for number in (1, 3):
        with pytest.raises(ValueError, match="has been entered"):
            history.after(number, (), {})


def test_a_history_does_not_grow_with_the_study_nor_with_what_errors_say() -> None:
    _, judged = played(3)
    history, sizes = History(), []
    for number in range(1, 60):
        history = history.after(
            number, judged[2].scores, {"yew": UpdateRefused("x" * 10_000)} if number < 4 else {}
        )
        sizes.append(len(history.to_json()))
    assert len(history.admitted) == WINDOW * len(SITES)
    assert max(sizes) < 8000 and sizes[-1] - sizes[20] < 100
    many = tuple(replace(judged[2].scores[0], site=f"s{number:05}") for number in range(3000))
    assert len(history.after(60, many, {}).admitted) == MOST_REMEMBERED


def test_refused_updates_are_not_remembered_and_marked_ones_without_their_angle() -> None:
    history, _ = played(2, times(1e6))
    assert {one.site for one in history.admitted} == set(SITES) - {"elm"}
    history, _ = played(2, times(-1))
    assert {one.site for one in history.admitted if one.cosine is None} == {"elm"}


@pytest.mark.parametrize("at_sites", [False, True])
def test_with_privacy_of_sites_nothing_is_scored_kept_or_decided(
    study: Callable[..., Study], at_sites: bool
) -> None:
    class Unread(dict[str, np.ndarray]):
        def __getitem__(self, name: str) -> np.ndarray:
            raise AssertionError("an update was looked at")

    sites = {"noise_multiplier": 1.0, "planned_sites": 5}
    privacy = {"sites": sites, **({"target_epsilon": 3.0} if at_sites else {})}
    begun = History.begin(study(privacy=privacy))
    history = begun
    for number in range(1, 8):
        sent = [replace(one, delta=Unread(one.delta)) for one in round_of(number)]
        judged = judge(history, sent, BASE)
        assert judged == Judgement() and not judged.quarantined and list(judged.kept(sent)) == sent
        history = history.after(number, judged.scores, refusals("elm"))
    assert history == begun and not suspended(history)
    assert History.from_json(history.to_json()) == begun


def test_a_study_says_whether_updates_are_noised(study: Callable[..., Study]) -> None:
    assert History.begin(study()) == History()
    assert History.begin(study(privacy={"target_epsilon": 3.0})) == History(noised=True)


def test_a_quarantined_update_has_no_voice_among_the_others_and_is_compared_with_them() -> None:
    alone = judge(History(), round_of(1, SITES[:4]), BASE).scores
    sent = [*round_of(1, SITES[:4]), times(-1e6)(honest("fir", 1))]
    *others, giant = judge(History(), sent, BASE).scores
    assert [one.cosine for one in others] == pytest.approx([one.cosine for one in alone])
    assert giant.refused and giant.cosine is not None and giant.cosine < -0.3 and giant.mark == ""


def test_what_is_refused_of_a_suspended_site_adds_nothing() -> None:
    history = History()
    for number in range(1, 6):
        history = history.after(number, (), refusals("elm"))
    assert history.standings[0].bad_rounds == (1, 2, 3)


@pytest.mark.parametrize(
    ("cosine", "before", "mark"),
    [
        (-0.3, [0.3, 0.3, 0.3], "turned"),
        (-0.29, [0.3, 0.3, 0.3], ""),
        (-0.3, [0.3, 0.29, 0.3], "against"),
        (-0.3, [-0.9, 0.3, 0.3, 0.3], "turned"),
        (-0.3, [0.3, 0.3], "against"),
        (-0.3, [0.3, 0.3, None, 0.3, None], "turned"),
        (-0.3, [], "against"),
    ],
)
def test_who_was_with_the_others_three_times_has_turned(
    cosine: float, before: list[float | None], mark: str
) -> None:
    assert mark_of(Direction(cosine, others=3, agreement=0.05), before) == mark
    assert mark_of(Direction(cosine, others=2, agreement=0.9), before) == ""
    assert mark_of(Direction(cosine, others=9, agreement=0.04), before) == ""
    assert mark_of(None, before) == ""
