"""A clock that is wrong: seconds are borne, minutes are refused with a code, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from tests.attacks.federation import ALDER, BIRCH, COORDINATOR, Federation, Ward

TEN_S, TEN_MINUTES, DAY = timedelta(seconds=10), timedelta(minutes=10), timedelta(days=1)


@contextmanager
def clock_off(off: timedelta, federation: Federation) -> Iterator[None]:
    """Alder's clock is wrong during the block, in which it connects anew; it comes back by itself."""
    federation.alder.clock.ahead = off
    federation.drop(ALDER)
    yield
    federation.alder.clock.ahead *= 0
    federation.goes_on(ALDER)


@pytest.mark.parametrize("off", [TEN_S, -TEN_S], ids=["ahead", "behind"])
def test_ten_seconds(off: timedelta, federation: Federation) -> None:
    with clock_off(off, federation):
        federation.goes_on(ALDER, BIRCH)


@pytest.mark.parametrize("off", [TEN_MINUTES, -TEN_MINUTES, DAY, -DAY], ids=str)
def test_a_sites_clock(off: timedelta, alder: Ward, federation: Federation) -> None:
    refused = {"site": ALDER, "call": "Session"}
    with (
        clock_off(off, federation),
        federation.refusing(ALDER, "link.refused", "clock-skewed", [BIRCH]),
        federation.refusing(COORDINATOR, "link.refused", "clock-skewed", [BIRCH], **refused),
    ):
        alder.shows("clock-skewed")
