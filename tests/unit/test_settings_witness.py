"""A file of settings that is another than before stands in the audit log, once."""

from __future__ import annotations

from pathlib import Path

from common.audit import AuditLog
from common.evidence.events import objection
from common.evidence.settings import SettingsWitness


def test_each_change_is_told_once_whoever_looks(tmp_path: Path) -> None:
    log, file = AuditLog(tmp_path / "audit.jsonl"), tmp_path / "policy.toml"
    file.write_text("minimum = 1")
    for _ in range(2):  # a daemon that starts again
        witness = SettingsWitness(log, tmp_path, ("policy.toml", "site.toml"))
        witness.look()
        witness.look()
    file.write_text("minimum = 20")
    witness.look()
    told = [entry.facts for entry in log.entries()]
    assert [facts["file"] for facts in told] == ["policy.toml", "policy.toml"]
    assert told[0]["sha256"] != told[1]["sha256"]
    assert all(objection(entry.event, entry.facts) is None for entry in log.entries())
