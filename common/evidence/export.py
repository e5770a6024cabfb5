"""Entries as a SIEM reads them: JSON Lines with the field names of the Elastic Common Schema (ECS).

Everything outside ``consilium`` follows from what is inside, by rules that are part of the format: so a line
has one spelling only, and an export is verified as strictly as the log. Changing a rule changes ``FORMAT``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from common.evidence.entry import Entry, Form, canonical

FORMAT = 1
ECS = "8.17.0"
BEGINNING = b'{"@timestamp":'
_CATEGORIES = {
    "audit": "configuration", "certificate": "file", "cohort": "database", "consent": "iam",
    "coordinator": "process", "dicom": "file", "enrolment": "iam", "executor": "process",
    "ledger": "database", "link": "network", "message": "network", "pacs": "network", "peer": "configuration",
    "release": "network", "reply": "network", "settings": "configuration", "site": "iam", "study": "iam",
    "task": "process",
}  # fmt: skip
_FAILURES = {"refused", "interrupted", "failed", "died", "rolled-back"}
_PEOPLE = ("approver", "by")
_OWN = {"number": int, "time": str, "event": str, "facts": dict, "previous": str, "digest": str}


def export_line(entry: Entry) -> bytes:
    """The line of an entry, with its end, under the digest of its content."""
    sealed = entry.sealed()
    what, _, how = entry.event.partition(".")
    person = next((entry.facts[name] for name in _PEOPLE if entry.facts.get(name)), None)
    document: dict[str, Any] = {
        "@timestamp": entry.time,
        "consilium": {"facts": dict(entry.facts), "format": FORMAT, "previous": entry.previous},
        "ecs": {"version": ECS},
        "event": {
            "action": entry.event,
            "category": [_CATEGORIES.get(what, "process")],
            "dataset": "consilium.audit",
            "hash": sealed.digest,
            "kind": "event",
            "module": "consilium",
            "outcome": "failure" if how in _FAILURES or entry.facts.get("code") else "success",
            "sequence": entry.number,
        },
    }
    if isinstance(person, str):
        document["user"] = {"name": person}
    return canonical(document) + b"\n"


def read_export(line: bytes) -> Entry | None:
    """The entry that an exported line holds, whatever became of it since; None if it cannot be read."""
    try:
        document: Mapping[str, Any] = json.loads(line)
        event, own = document["event"], document["consilium"]
        found = {
            "number": event["sequence"],
            "time": document["@timestamp"],
            "event": event["action"],
            "facts": own["facts"],
            "previous": own["previous"],
            "digest": event["hash"],
        }
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return Entry(**found) if {key: type(value) for key, value in found.items()} == _OWN else None


EXPORTED = Form(read_export, export_line)
