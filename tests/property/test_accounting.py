"""More releases never cost less, more noise never more; order and bookkeeping do not matter."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from common.private.accounting import epsilon_of, exceeds
from common.private.event import Event, merged

DELTA = 1e-5
noises = st.floats(0.5, 20.0)
rates = st.floats(0.001, 0.3) | st.just(1.0)
events = st.builds(Event, noises, rates, st.integers(1, 500))
large = st.floats(4.0, 20.0)  # quicker to compute
few = settings(max_examples=6)
fewer = settings(max_examples=2)  # PRV takes a fifth of a second


@few
@given(events, st.integers(1, 500))
def test_more_steps_cost_no_less(event: Event, more: int) -> None:
    longer = Event(event.noise_multiplier, event.sample_rate, event.steps + more)
    assert epsilon_of([event], DELTA, "rdp") <= epsilon_of([longer], DELTA, "rdp") + 1e-12


@few
@given(noises, rates, rates, st.integers(1, 500))
def test_a_higher_rate_costs_no_less(noise: float, one: float, other: float, steps: int) -> None:
    low, high = (Event(noise, rate, steps) for rate in sorted((one, other)))
    assert epsilon_of([low], DELTA, "rdp") <= epsilon_of([high], DELTA, "rdp") * (1 + 1e-6) + 1e-9


@few
@given(noises, noises, rates, st.integers(1, 500))
def test_more_noise_costs_no_more(one: float, other: float, rate: float, steps: int) -> None:
    low, high = (Event(noise, rate, steps) for noise in sorted((one, other)))
    assert epsilon_of([high], DELTA, "rdp") <= epsilon_of([low], DELTA, "rdp") * (1 + 1e-6) + 1e-9


@fewer
@given(large, st.floats(1.1, 3.0), st.floats(0.005, 0.3), st.integers(2, 200))
def test_the_tight_accountant_is_as_monotone_but_for_its_grid(
    noise: float, factor: float, rate: float, steps: int
) -> None:
    cost = epsilon_of([Event(noise, rate, steps)], DELTA, "prv")
    slack = 1 + 0.01
    assert epsilon_of([Event(noise, rate, steps // 2)], DELTA, "prv") <= cost * slack + 1e-3
    assert epsilon_of([Event(noise * factor, rate, steps)], DELTA, "prv") <= cost * slack + 1e-3
    assert epsilon_of([Event(noise, rate / factor, steps)], DELTA, "prv") <= cost * slack + 1e-3
    assert cost <= epsilon_of([Event(noise, rate, steps)], DELTA, "rdp")


@few
@given(st.lists(events, max_size=3), st.randoms(use_true_random=False), st.integers(0, 500))
def test_order_and_bookkeeping_do_not_matter(spent: list[Event], order: object, part: int) -> None:
    divided = [
        Event(event.noise_multiplier, event.sample_rate, steps)
        for event in spent
        for steps in (min(part, event.steps), event.steps - min(part, event.steps))
    ]
    order.shuffle(divided)  # type: ignore[attr-defined]
    whole = epsilon_of(spent, DELTA, "rdp")
    assert epsilon_of(divided, DELTA, "rdp") == whole == epsilon_of(merged(spent), DELTA, "rdp")
    assert not exceeds(divided, whole, DELTA, "rdp")


@fewer
@given(st.lists(st.builds(Event, large, rates, st.integers(1, 500)), min_size=2, max_size=2))
def test_the_order_does_not_matter_to_the_tight_accountant(spent: list[Event]) -> None:
    assert epsilon_of(spent, DELTA, "prv") == epsilon_of(spent[::-1], DELTA, "prv")


@few
@given(st.lists(events, max_size=2), events)
def test_spending_more_never_costs_less(spent: list[Event], event: Event) -> None:
    before, after = epsilon_of(spent, DELTA, "rdp"), epsilon_of([*spent, event], DELTA, "rdp")
    assert before <= after
