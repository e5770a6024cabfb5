"""Logs of both sides that were written together."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.audit import AuditLog, Limits
from common.evidence.heads import PeerHeads

ROUNDS = 4


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def log_at() -> Callable[..., AuditLog]:
    """``log_at(folder, entries=4)``: the log of a folder that need not exist, closed at so many entries."""

    def make(folder: Path, entries: int = 4) -> AuditLog:
        folder.mkdir(exist_ok=True)
        now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        return AuditLog(folder / "audit.jsonl", lambda: now, limits=Limits(entries), strict=True)

    return make


@pytest.fixture
def federation(tmp_path: Path, log_at: Callable[..., AuditLog]) -> Path:
    """A folder with the logs ``alder``, ``birch`` and ``coordinator``, each with heads of the others."""
    logs = {name: log_at(tmp_path / name) for name in ("coordinator", "alder", "birch")}
    logs["coordinator"].append("coordinator.created", federation="0123456789ab", authority="a" * 64)
    for site in ("alder", "birch"):
        logs[site].append("site.created", site=site)
    heads = {name: PeerHeads(log) for name, log in logs.items()}
    issued = 0
    for number in range(ROUNDS):
        for site in ("alder", "birch"):
            task = {"task": f"{site}-{number}", "contract": "c" * 64}
            logs["coordinator"].append("task.sent", **task, site=site)
            heads[site].note("coordinator", logs["coordinator"].head, "d" * 64, issued)
            logs[site].append("task.received", **task)
            logs[site].append("release.sent", **task, digest="e" * 64, bytes=100)
            heads["coordinator"].note(site, logs[site].head, "f" * 64, issued + 1)
            issued += 2
    return tmp_path
