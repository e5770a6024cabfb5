"""The network is cut, black or slow in the middle of a study: the model is that of an undisturbed one.

Durations are ``SCALE`` times shorter than they are called, and so is the time after which the link gives a
connection up; see ``test_network_slow.py`` for the real ones.
"""

from __future__ import annotations

import time

import pytest

from tests.faults.injector import SCALE
from tests.faults.injector.messages import Delivery, delivering, out_of_turn, repeated
from tests.faults.injector.network import Direction
from tests.faults.link import LARGE, RESET_SOCKETS, Studies

GOES_ON = "weights go on at the piece where they stopped, nothing is trained twice; the model is bit-equal"
MODEL_BYTES, PIECE_BYTES = 3_200_000, 2**20

pytestmark = RESET_SOCKETS


@pytest.fixture(scope="module")
def undisturbed_large(quick: Studies) -> str:
    """Digest of the large model that comes out where nothing happens."""
    return quick.model(quick.begin("undisturbed-large", model=LARGE))


@pytest.mark.parametrize(
    "real_s",
    [
        pytest.param(
            each,
            marks=[
                pytest.mark.fault(
                    f"the network is cut for {each} s (scaled), for one hospital in mid-upload, for another "
                    "while it trains",
                    GOES_ON,
                ),
                *([pytest.mark.slow] if each > 5 else []),
            ],
        )
        for each in (5, 30, 120)
    ],
)
def test_a_cut(real_s: int, quick: Studies, undisturbed_large: str) -> None:
    wire, other = quick.wire("alder"), quick.wire("birch")
    sent_before = wire.carried_bytes["up"]
    in_upload = wire.after(2 * PIECE_BYTES + PIECE_BYTES // 2, "up", wire.cut)
    contract = quick.begin(f"cut-{real_s}", model=LARGE)
    quick.trains("birch")
    with other.broken(other.cut):
        assert in_upload.wait(60)
        time.sleep(real_s / SCALE)
        wire.mend()
    assert quick.model(contract) == undisturbed_large
    sent = wire.carried_bytes["up"] - sent_before
    assert sent < 2 * MODEL_BYTES + 2 * PIECE_BYTES, "what had arrived was not sent again"


@pytest.mark.parametrize(
    "directions",
    [
        pytest.param(
            directions,
            marks=pytest.mark.fault(
                f"packets {what} vanish in mid-round for 60 s (scaled), and nobody is told",
                "both sides notice within seconds, and the hospital connects anew; the model is bit-equal",
            ),
        )
        for directions, what in (
            ((), "both ways"),
            (("up",), "to the coordinator"),
            (("down",), "to a hospital"),
        )
    ],
)
def test_a_black_hole(directions: tuple[Direction, ...], quick: Studies, undisturbed: str) -> None:
    wire, before = quick.wire("alder"), len(quick.federation.entries("coordinator"))
    contract = quick.begin(f"hole-{'-'.join(directions)}")
    quick.trains("alder")
    with wire.broken(lambda: wire.hold(*directions)):
        time.sleep(60 / SCALE)
    assert quick.model(contract) == undisturbed
    told = quick.federation.entries("coordinator")[before:]
    lost = [e for e in told if e.event == "link.disconnected" and e.facts["site"] == "alder"]
    assert lost, "the coordinator noticed"


@pytest.mark.fault(
    "a line of 20 kB/s, on which a model takes ten seconds (scaled), and half a second for a packet",
    "the study takes as long as it takes; the model is bit-equal",
)
def test_a_slow_line(quick: Studies) -> None:
    size = {"hidden": 128}  # 200 kB
    undisturbed = quick.model(quick.begin("undisturbed-middling", model=size))
    wire = quick.wire("alder")
    wire.rate_bytes_s, wire.delay_s = 20_000.0 * SCALE, 0.5 / SCALE
    try:
        assert quick.model(quick.begin("slow-line", model=size)) == undisturbed
    finally:
        wire.mend()


@pytest.mark.parametrize(
    ("name", "delivery"),
    [
        pytest.param(
            "again",
            repeated,
            marks=pytest.mark.fault(
                "all that was said in a session is said again with each new word: tasks, answers and "
                "acknowledgements of earlier rounds, contracts, consents",
                "what came before is known by its signature and counts once; the model is bit-equal",
            ),
        ),
        pytest.param(
            "out-of-turn",
            out_of_turn,
            marks=pytest.mark.fault(
                "every second message of a session comes after the one that follows it",
                "each is judged by itself; the model is bit-equal",
            ),
        ),
    ],
)
def test_messages(name: str, delivery: Delivery, quick: Studies, undisturbed: str) -> None:
    with delivering(delivery):
        assert quick.model(quick.begin(name)) == undisturbed
