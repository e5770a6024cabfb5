"""The bench of the link measures what it says it does."""

from __future__ import annotations

from pathlib import Path

from common.link.link_pb2 import BlobRequest
from deploy.bench.link import measure
from deploy.bench.link_pair import paired
from deploy.bench.plain_tls import LEAST_BYTES

SIZE = 1_000_000


def test_figures() -> None:
    figures = {figure.name: figure for figure in measure(SIZE, turns=2, calls=5).figures}
    assert {name for name, figure in figures.items() if figure.goal} == {"ratio_to_tls", "added_latency_ms"}
    assert {figure.unit for figure in figures.values()} == {"x", "MB/s", "ms"}
    for name, figure in figures.items():
        assert figure.value > 0 or name == "added_latency_ms", name
    values = {name: figure.value for name, figure in figures.items()}
    for way in ("fetch", "store"):
        ratio = values[f"{way}_mb_s"] / values[f"{way}_tls_mb_s"]
        assert abs(values[f"{way}_ratio_to_tls"] - ratio) < 1e-6 * ratio
    assert values["ratio_to_tls"] == min(values["fetch_ratio_to_tls"], values["store_ratio_to_tls"])
    added = max(values[f"{kind}_ms"] - values[f"{kind}_tls_ms"] for kind in ("question", "heartbeat"))
    assert abs(values["added_latency_ms"] - added) < 1e-6


def test_pair(tmp_path: Path) -> None:
    """Site and coordinator are what they are in a hospital; what is replaced is gone."""
    with paired(tmp_path, SIZE) as pair:
        first, size = pair.give(SIZE, "")
        assert size > SIZE
        second, _ = pair.give(SIZE, first)
        assert first != second
        given = {path.name for path in (tmp_path / "coordinator" / "blobs" / "tasks").iterdir()}
        assert second in given and first not in given
        digest = pair.blobs.put([b"made"])
        assert not pair.link.BlobOffset(BlobRequest(digest=digest), timeout=10).complete
        pair.plain.exchange(LEAST_BYTES, SIZE)
        pair.plain.exchange(SIZE, LEAST_BYTES)
