"""The network is cut, black or slow for as long as it is called, with the link as it is in hospitals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.injector.network import FaultyWire
from tests.faults.link import LARGE, RESET_SOCKETS, ROUNDS, Studies, in_real_time, studies

SITES = ("alder", "birch", "cedar")
CUTS_S = {"alder": 5.0, "birch": 30.0, "cedar": 120.0}
PATIENT = {"deadline_s": 900.0}
MODEL_BYTES, PIECE_BYTES = 3_200_000, 2**20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), *RESET_SOCKETS]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studies]:
    """Three hospitals, whose link has the waiting times that it has in life."""
    with in_real_time(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.attacks.federation.WAIT_S", 600.0)
        with studies(tmp_path_factory.mktemp("real"), *SITES) as made:
            yield made


@pytest.fixture(scope="module")
def undisturbed_large(real: Studies) -> str:
    """Digest of the large model that comes out where nothing happens."""
    return real.model(real.begin("undisturbed-large", model=LARGE, federation=PATIENT))


@pytest.mark.fault(
    "the network is cut for 5, 30 and 120 s, for one of three hospitals each, in mid-upload",
    "weights go on at the piece where they stopped, nothing is trained twice; the model is bit-equal",
)
def test_cuts_in_mid_upload(real: Studies, undisturbed_large: str) -> None:
    before = {site: real.wire(site).carried_bytes["up"] for site in SITES}
    cuts = []
    for site, for_s in CUTS_S.items():
        wire = real.wire(site)
        cut = wire.after(2 * PIECE_BYTES + PIECE_BYTES // 2, "up", wire.cut)
        cuts.append(threading.Thread(target=_mend, args=(wire, for_s, cut)))
        cuts[-1].start()
    contract = real.begin("cut-in-upload", model=LARGE, federation=PATIENT)
    for each in cuts:
        each.join()
    assert real.model(contract) == undisturbed_large
    for site in SITES:
        sent = real.wire(site).carried_bytes["up"] - before[site]
        assert sent < ROUNDS * MODEL_BYTES + 2 * PIECE_BYTES, f"{site} has sent again what had arrived"


@pytest.mark.fault(
    "packets vanish for 5, 30 and 120 s, for one of three hospitals each, while they train",
    "a hospital that is gone for longer than 15 s connects anew; the model is bit-equal",
)
def test_black_holes_while_training(real: Studies, undisturbed_large: str) -> None:
    contract = real.begin("hole-in-training", model=LARGE, federation=PATIENT)
    threads = []
    for site, for_s in CUTS_S.items():
        real.trains(site)
        real.wire(site).hold()
        threads.append(threading.Thread(target=_mend, args=(real.wire(site), for_s)))
        threads[-1].start()
    for each in threads:
        each.join()
    assert real.model(contract) == undisturbed_large


@pytest.mark.fault(
    "a line of 20 kB/s for one of three hospitals, on which a model takes five seconds each way",
    "the study takes as long as it takes, over one connection; the model is bit-equal",
)
def test_a_slow_line(real: Studies) -> None:
    size = {"hidden": 90}
    undisturbed = real.model(real.begin("undisturbed-middling", model=size, federation=PATIENT))
    wire = real.wire("alder")
    wire.rate_bytes_s, connections = 20_000.0, wire.carried
    try:
        assert real.model(real.begin("slow-line", model=size, federation=PATIENT)) == undisturbed
    finally:
        wire.mend()
    assert wire.carried == connections, "the link held"


def _mend(wire: FaultyWire, after_s: float, broken: threading.Event | None = None) -> None:
    if broken is not None:
        assert broken.wait(300)
    time.sleep(after_s)
    wire.mend()
