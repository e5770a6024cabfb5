"""Whether a model is the one that a federation made is told by its logs; a liar is contradicted by others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.audit import AuditLog
from common.errors import AuditBroken, ModelMissing, ModelNotInEvidence
from common.evidence.verification import verify
from common.evidence.vouching import Vouched, vouched
from common.files import file_sha256
from common.weights import StoredWeights, digest, save_weights

CONTRACT = "c" * 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A finished model in the folder of its run."""
    (tmp_path / "run").mkdir()
    return written(tmp_path / "run" / "model.safetensors", 1.0)


@pytest.fixture
def ended(federation: Path, log_at: Callable[..., AuditLog], model: Path) -> Path:
    """Logs of a study that ended with the model, which both sites tested."""
    for site in ("alder", "birch"):
        answered(log_at(federation / site), "b" * 64)
        answered(log_at(federation / site), digest_of(model))
    told(log_at(federation / "coordinator"), model)
    return federation


def written(path: Path, value: float, **about: str) -> Path:
    save_weights(path, {"weight": np.full(3, value, np.float32)}, {"study": "x", **about})
    return path


def digest_of(model: Path) -> str:
    return digest(StoredWeights(model))


def answered(log: AuditLog, weights: str, contract: str = CONTRACT) -> None:
    facts = {"task": "t", "contract": contract, "digest": "e" * 64, "message_type": "evaluate"}
    log.append("release.sent", **facts, bytes=1, model=weights)


def told(log: AuditLog, model: Path, weights: str | None = None) -> None:
    named = {"digest": weights or digest_of(model), "sha256": file_sha256(model)}
    log.append("study.ended", study="lungs", contract=CONTRACT, rounds=2, **named)


def judged(folder: Path, model: Path, *names: str) -> Vouched:
    return vouched(verify({name: folder / name for name in names}), model)


def test_all_sides_speak_for_the_model(ended: Path, model: Path) -> None:
    found = judged(ended, model, "coordinator", "alder", "birch")
    assert (found.log, found.made.study, found.made.contract) == ("coordinator", "lungs", CONTRACT)
    assert set(found.tested_by) == {"alder", "birch"} and found.made.weights == digest_of(model)
    assert "entry" in str(found) and "tested by alder (entry " in str(found)
    assert judged(ended, model.parent, "coordinator", "alder") == judged(ended, model, "coordinator", "alder")


def test_the_coordinator_alone_is_told_apart(ended: Path, model: Path) -> None:
    found = judged(ended, model, "coordinator")
    assert not found.tested_by and "no log of a site" in str(found)


@pytest.mark.parametrize("place", [0, 40, -1], ids=["length", "header", "weights"])
def test_a_byte_that_is_another_is_noticed(ended: Path, model: Path, place: int) -> None:
    content = bytearray(model.read_bytes())
    content[place] ^= 1
    model.write_bytes(content)
    with pytest.raises(ModelNotInEvidence, match=f"{file_sha256(model)}; the logs name\n.* of study lungs"):
        judged(ended, model, "coordinator", "alder", "birch")


def test_what_stands_beside_the_weights_counts_too(ended: Path, model: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other", 1.0, **{"consilium.calibration": "{}"})
    assert digest_of(other) == digest_of(model)
    with pytest.raises(ModelNotInEvidence):
        judged(ended, other, "coordinator", "alder", "birch")


def test_a_coordinator_that_exchanged_the_model_is_contradicted(
    ended: Path, tmp_path: Path, log_at: Callable[..., AuditLog]
) -> None:
    other = written(tmp_path / "other", 2.0)
    told(log_at(ended / "coordinator"), other)
    assert not judged(ended, other, "coordinator").tested_by
    with pytest.raises(ModelNotInEvidence, match="alder, birch tested models of this study, and not this"):
        judged(ended, other, "coordinator", "alder", "birch")
    third = written(tmp_path / "third", 3.0)
    told(log_at(ended / "coordinator"), third, "b" * 64)  # weights that the sites did test
    with pytest.raises(ModelNotInEvidence, match="weights that are not its"):
        judged(ended, third, "coordinator", "alder", "birch")


def test_a_site_that_left_early_is_no_contradiction(
    ended: Path, model: Path, log_at: Callable[..., AuditLog]
) -> None:
    log_at(ended / "cedar").append("site.created", site="cedar")
    answered(log_at(ended / "cedar"), "b" * 64)
    assert set(judged(ended, model, "coordinator", "alder", "cedar").tested_by) == {"alder"}


def test_what_cannot_vouch(ended: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotInEvidence, match="none of the logs is a coordinator's"):
        judged(ended, model, "alder", "birch")
    with pytest.raises(ModelMissing):
        judged(ended, tmp_path / "nothing", "coordinator")
    path = ended / "coordinator" / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b"lungs", b"hands"))
    with pytest.raises(AuditBroken):
        judged(ended, model, "coordinator")
