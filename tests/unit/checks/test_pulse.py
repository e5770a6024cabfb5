"""A loop that hangs, and a thread that died, are noticed by their not asking."""

from __future__ import annotations

import threading

from deploy.daemons.pulse import Pulse
from deploy.daemons.supervision import Manager


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def in_a_thread(ask: object) -> None:
    thread = threading.Thread(target=ask)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def test_a_loop_that_asks_is_alive_and_one_that_stops_asking_is_not() -> None:
    clock = Hand()
    pulse = Pulse(clock)
    assert pulse.is_alive(10.0)  # nobody has asked yet
    pulse.is_set()
    clock.now += 10.0
    assert pulse.is_alive(10.0)
    clock.now += 0.1
    assert not pulse.is_alive(10.0)
    pulse.is_set()
    assert pulse.is_alive(10.0)


def test_a_loop_that_waits_is_alive_as_long_as_it_may_wait() -> None:
    clock = Hand()
    pulse = Pulse(clock)
    in_a_thread(lambda: pulse.wait(0.01))
    clock.now += 10.005
    assert pulse.is_alive(10.0)
    clock.now += 0.01
    assert not pulse.is_alive(10.0)


def test_each_thread_counts() -> None:
    clock = Hand()
    pulse = Pulse(clock)
    held, asked = threading.Event(), threading.Event()

    def loop() -> None:
        pulse.is_set()
        asked.set()
        held.wait()

    other = threading.Thread(target=loop)
    other.start()
    asked.wait()
    clock.now += 20.0
    pulse.is_set()
    assert not pulse.is_alive(10.0)
    held.set()
    other.join()


def test_who_looks_on_is_no_loop() -> None:
    clock = Hand()
    pulse = Pulse(clock)
    assert not pulse.ended()
    clock.now += 100.0
    assert pulse.is_alive(1.0)
    pulse.set()
    assert pulse.ended() and pulse.is_set() and pulse.wait(0.0)


def test_a_service_manager_is_found_in_the_environment() -> None:
    assert Manager.of({}, 7) is None
    assert Manager.of({"NOTIFY_SOCKET": "/run/n"}, 7) == Manager("/run/n", 0.0)
    told = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "3000000"}
    assert Manager.of(told, 7) == Manager("/run/n", 3.0)
    assert Manager.of({**told, "WATCHDOG_PID": "7"}, 7) == Manager("/run/n", 3.0)
    assert Manager.of({**told, "WATCHDOG_PID": "8"}, 7) == Manager("/run/n", 0.0)  # another process is meant


def test_a_manager_that_is_gone_ends_nobody() -> None:
    Manager("/nowhere/notify").say("READY=1")
