"""The figures in docs/network.md are those of the program."""

from __future__ import annotations

import re

import pytest

from client.link import Timing
from common.link.transport import KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS
from deploy.cli.coordinator import init
from server.link.enrolment import TOGETHER, TRIES_EACH
from tests.integration.network.nginx import PAGE, block

SAID = re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "figure",
    [
        f"| every {KEEPALIVE_TIME_MS // 1000} s,",
        f"| after {KEEPALIVE_TIMEOUT_MS // 1000} s the connection counts as lost",
        f"up to {Timing().longest_s:g} s |",
        f"{TRIES_EACH} attempts a minute from one, {TOGETHER * TRIES_EACH} from all",
    ],
)
def test_a_figure_is_the_programs(figure: str) -> None:
    assert figure in SAID


def test_the_first_wait_is_half_a_second() -> None:
    assert Timing().first_s == 0.5


def test_nginx_leads_to_where_the_coordinator_listens_unless_told_otherwise() -> None:
    assert init.__defaults__ is not None and "127.0.0.1:8443" in init.__defaults__
    assert "upstream coordinator { server 127.0.0.1:8443; }" in block()


def test_nginx_waits_longer_than_the_keep_alive() -> None:
    (minutes,) = re.findall(r"proxy_timeout (\d+)m;", block())
    assert int(minutes) * 60_000 > 2 * (KEEPALIVE_TIME_MS + KEEPALIVE_TIMEOUT_MS)
