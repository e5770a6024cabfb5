"""Work behind the caller: in order, one step at a time, and what it raises is heard of."""

from __future__ import annotations

import threading

import pytest

from common.link.behind import Behind

WAIT_S = 5.0


def test_steps_are_done_in_order_and_the_last_one_answers() -> None:
    done: list[int] = []

    def step(number: int, *, by: int) -> int:
        done.append(number * by)
        return len(done)

    with Behind(step) as behind:
        assert behind.result() is None
        for number in range(5):
            behind.go_on(number, by=2)
        assert behind.result() == behind.result() == 5
    assert done == [0, 2, 4, 6, 8]


def test_the_caller_goes_on_meanwhile_and_the_next_step_waits() -> None:
    may_end, began = threading.Event(), list[int]()

    def step(number: int) -> None:
        began.append(number)
        assert may_end.wait(WAIT_S)

    with Behind(step) as behind:
        behind.go_on(1)  # returns, although the step cannot end
        threading.Timer(0.05, may_end.set).start()
        behind.go_on(2)
        assert may_end.is_set()
    assert began == [1, 2]


def test_a_step_that_fails_is_the_last_one() -> None:
    done: list[int] = []

    def step(number: int) -> None:
        done.append(number)
        if number == 1:
            raise ValueError(number)

    with Behind(step) as behind:
        behind.go_on(0)
        behind.go_on(1)
        for _ in range(2):
            with pytest.raises(ValueError, match="1"):
                behind.go_on(2)
        with pytest.raises(ValueError, match="1"):
            behind.result()
    assert done == [0, 1]


def test_the_block_ends_when_the_last_step_has_also_where_the_caller_fails() -> None:
    done: list[int] = []

    def step(number: int) -> None:
        threading.Event().wait(0.05)
        done.append(number)

    with pytest.raises(KeyError), Behind(step) as behind:
        behind.go_on(1)
        raise KeyError
    assert done == [1]
