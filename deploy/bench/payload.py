"""What a round costs whose model is large: every site gets it, trains one step, and sends as much back.

The rival moves the same bytes over bare TLS 1.3 sockets from memory to memory, to as many processes at a
time, and does no more. The round signs, hashes, writes durably, journals, checks each update and combines
them.

The coordinator's memory is looked at from outside, many times a second: what it has beyond what it had before
the first round, in models. Counted is anonymous memory (``RssAnon``): pages of files that the system may drop
at any moment are not the coordinator's. The number of sites makes no difference to it if updates are combined
from where they lie, which is why a second figure is taken with four times as many.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from client.manifest import Row, write_manifest
from common.chain import utc_now
from common.identity import Authority, coordinator_name, key_pem, new_federation, new_tls_key
from common.identity.authority import site_request
from common.study import Study, parse_study
from deploy.bench.bench import Figure, Results
from deploy.bench.plain_tls import LEAST_BYTES, PlainTls, TlsFiles, connected
from deploy.bench.plain_tls import serve as serve_plain_tls
from deploy.engines.engine import build_engine
from deploy.federation import resolve
from server.record import read_run
from server.study_run import RunPlan

ROUNDS, LEAST_ROUNDS, SEED, CASES = 4, 2, 0, 2
MANY = 4
"""How many times as many sites the second look at the memory has."""

_LOOK_S = 0.02
_BYTES_EACH = 4


@dataclass(frozen=True, slots=True)
class _Run:
    """A run as it was measured: seconds of each round, and the coordinator's memory beyond idle, in bytes."""

    rounds_s: tuple[float, ...]
    peak_bytes: int


def measure(payload_bytes: int, sites: int, many: int = MANY) -> Results:
    """``payload_ratio_to_tls`` and ``coordinator_peak_models``, with what they are made of.

    Args:
        payload_bytes: Size of the model.
        sites: How many train it.
        many: How many times as many train it in the second look at the memory; 0 for no second look.
    """
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        folder = Path(name)
        tls_s = _plain(folder, payload_bytes, sites)
        few = _run(folder / "few", payload_bytes, sites, ROUNDS)
        again_s = _plain(folder, payload_bytes, sites)
        more = _run(folder / "many", payload_bytes, many * sites, LEAST_ROUNDS) if many else None
    round_s, rival_s = statistics.median(few.rounds_s[1:]), statistics.median([*tls_s, *again_s])
    return Results(
        (
            Figure("payload_ratio_to_tls", round_s / rival_s, "x", goal=2.5),
            Figure("coordinator_peak_models", few.peak_bytes / payload_bytes, "models", goal=2.0),
            *(
                [Figure("peak_models_many_sites", more.peak_bytes / payload_bytes, "models", goal=2.0)]
                if more
                else []
            ),
            Figure("payload_round_s", round_s, "s"),
            Figure("payload_tls_s", rival_s, "s"),
        )
    )


# The round


def _run(folder: Path, payload_bytes: int, sites: int, rounds: int) -> _Run:
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_coordinate, args=(theirs, folder, payload_bytes, sites, rounds))
    process.start()
    theirs.close()
    try:
        ours.recv()  # all that a coordinator imports is there
        idle, peak = _anonymous(process.pid), 0
        while process.is_alive():
            peak = max(peak, _anonymous(process.pid))
            time.sleep(_LOOK_S)
    finally:
        process.join()
        ours.close()
    record = read_run(folder / "run")
    assert record is not None and record["status"] == "completed"  # noqa: S101  a bench of what failed says nothing
    return _Run(tuple(each["duration_s"] for each in record["rounds"]), peak - idle)


def _coordinate(connection: Connection, folder: Path, payload_bytes: int, sites: int, rounds: int) -> None:
    """Be the coordinator of one run."""
    study = _study(payload_bytes, rounds)
    data = resolve(study, _write_pictures(folder, sites))
    engine, out = build_engine("link"), folder / "run"
    out.mkdir()
    plan = RunPlan(study, SEED, out, "link", expect_sites=sites, gather_timeout_s=600.0)
    placed = data.materialise(folder, "cpu")
    connection.send("ready")
    engine.run(plan, placed, data.loads)


def _anonymous(process: int | None) -> int:
    """Bytes of memory of a process that stand in no file; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    found = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return 1024 * int(found[0]) if found else 0


def _study(payload_bytes: int, rounds: int) -> Study:
    """A GRU with as many weights as the payload asks for: nearly 3 H^2 of them are in its one layer.

    A picture is one step: it is the way that is looked at, not the training.
    """
    hidden = round((payload_bytes / _BYTES_EACH / 3) ** 0.5)
    return parse_study(
        {
            "study": {"name": "bench-payload", "labels": {"0": "left", "1": "right"}},
            "data": {"min_test_cases": 0},
            "sequence": {"kind": "patches", "size": 8, "patch": 8},
            "model": {"hidden": hidden},
            "training": {"batch_size": CASES, "optimizer": "sgd"},
            "federation": {"rounds": rounds, "evaluate_every": rounds, "deadline_s": 1800.0},
        }
    )


def _write_pictures(folder: Path, sites: int) -> Path:
    images = np.random.default_rng(SEED).integers(0, 256, (sites * CASES, 8, 8), dtype=np.uint8)
    np.savez(folder / "pictures.npz", train_images=images)
    manifest = folder / "pictures.csv"
    rows = (
        Row(f"pictures.npz#train_images/{i}", f"site-{i % sites}", f"p-{i}", "train", str(i // sites), i)
        for i in range(len(images))
    )
    write_manifest(manifest, rows)
    return manifest


# The rival


@dataclass(frozen=True, slots=True)
class _Ends:
    """What either end shows, and the name of the one that is called."""

    server: TlsFiles
    client: TlsFiles
    name: str


def _plain(folder: Path, payload_bytes: int, sites: int) -> list[float]:
    """Seconds in which as many bytes go to each of the sites at a time, and come back."""
    with ExitStack() as stack:
        ends, most = _certificates(folder), payload_bytes + LEAST_BYTES
        wires = [stack.enter_context(_rival(ends, most)) for _ in range(sites)]
        return [_exchange(wires, payload_bytes) for _ in range(3)]


def _exchange(wires: list[PlainTls], payload_bytes: int) -> float:
    threads = [threading.Thread(target=wire.exchange, args=(payload_bytes, payload_bytes)) for wire in wires]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


@contextmanager
def _rival(ends: _Ends, most_bytes: int) -> Iterator[PlainTls]:
    """A connection to a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_plain_tls, args=(theirs, ends.server, most_bytes), daemon=True)
    process.start()
    theirs.close()
    try:
        with connected(ours.recv(), ends.client, ends.name, most_bytes) as wire:
            yield wire
    finally:
        ours.close()
        process.join()


def _certificates(folder: Path) -> _Ends:
    """What both ends show, and the name of the one that is called."""
    federation, now = new_federation(), utc_now()
    authority = Authority.new(federation, now)
    called, caller = new_tls_key(), new_tls_key()
    server = authority.coordinator_certificate(called.public_key(), now)
    client = authority.site_certificate(site_request(caller, federation, "bench"), "bench", now)
    return _Ends(
        _written(folder / "server", server, key_pem(called), authority.pem),
        _written(folder / "client", client, key_pem(caller), authority.pem),
        coordinator_name(federation),
    )


def _written(folder: Path, certificate: bytes, key: bytes, authority: bytes) -> TlsFiles:
    folder.mkdir(exist_ok=True)
    files = TlsFiles(folder / "certificate.pem", folder / "key.pem", folder / "authority.pem")
    for path, pem in zip(
        (files.certificate, files.key, files.authority), (certificate, key, authority), strict=True
    ):
        path.write_bytes(pem)
    return files
