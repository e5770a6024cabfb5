"""The table of events: it has what the program writes, and says what is wrong with what it has not."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.ledger.records import Accepted, Carried, Former, Record, Reserved, Settled, Stopped, facts_of
from common.audit import AuditLog
from common.evidence.events import EVENTS, objection

ROOT = Path(__file__).parents[3]
NAME = re.compile(r"[a-z]+\.[a-z]+(-[a-z]+)*")
HEAD = "1:" + "a" * 64


def _calls() -> Iterator[tuple[str, str, set[str], bool]]:
    """Place, event, names of facts, and whether these are all, of every call that audits."""
    for package in ("client", "server", "common", "deploy"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                    continue
                first = node.args[0]
                event = first.value if isinstance(first, ast.Constant) else None
                if node.func.attr not in ("audit", "append", "note", "refuse") or not isinstance(event, str):
                    continue
                if NAME.fullmatch(event):
                    names = {word.arg for word in node.keywords if word.arg}
                    names |= {"code"} if node.func.attr == "refuse" else set()
                    whole = all(word.arg for word in node.keywords)
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", event, names, whole


def test_what_the_program_writes_is_in_the_table() -> None:
    calls = list(_calls())
    assert len(calls) > 20
    wrong = []
    for place, event, names, whole in calls:
        row = EVENTS.get(event)
        if row is None:
            wrong.append(f"{place}: {event} is not in the table")
            continue
        unknown = set() if row.others else names - {*row.facts, *row.optional}
        missing = row.facts.keys() - names if whole else set()
        if unknown or missing:
            wrong.append(f"{place}: {event}: unknown {sorted(unknown)}, missing {sorted(missing)}")
    assert not wrong, "\n".join(wrong)


def test_every_event_is_documented_with_its_facts() -> None:
    page = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    for name, event in EVENTS.items():
        facts = ", ".join(
            [*event.facts, *(f"[{fact}]" for fact in event.optional), *("…" * bool(event.others))]
        )
        assert f"| `{name}` | {event.what} | {facts} |" in page


RESERVED = {
    "id": "0" * 32, "study": "s", "study_digest": "d", "round": 1, "base_digest": "b", "cohort": "c",
    "fingerprint": "f", "purpose": "training", "unit": "patient", "noise_multiplier": 1.0, "sample_rate": 0.5,
    "steps": 3, "delta": 1e-5,
}  # fmt: skip
RECORDS = (
    Reserved.model_construct(**RESERVED),
    Settled(id="0" * 32, steps=3),
    Settled(id="0" * 32, steps=3, clip_norm=1.0),
    Stopped(head=HEAD),
    Accepted(by="m", reason="r", aside="", lost=0),
    Carried.model_construct(**RESERVED, origin="person", reserved_at="", clip_norm=None),
    Former(head=HEAD),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.kind)
def test_what_a_ledger_tells_is_in_the_table(record: Record) -> None:
    told = {**facts_of(record), "ledger": "c", "number": 1, "digest": "a" * 64}
    assert objection(f"ledger.{record.kind}", told) is None


@pytest.mark.parametrize(
    ("event", "facts", "wrong"),
    [
        ("a", {}, "event a is not in the table"),
        ("site.created", {}, "lacks site"),
        ("site.created", {"site": "alder", "patient": "x"}, "has no fact patient"),
        ("site.created", {"site": 3}, "site is no text"),
        ("site.created", {"site": "x" * 1001}, "site is no text"),
        ("site.created", {"site": None}, "site is no text"),
        ("cohort.records-begun", {"cohort": "c", "cases": -1}, "cases is no count"),
        ("cohort.records-begun", {"cohort": "c", "cases": True}, "cases is no count"),
        ("dicom.deidentifying", {"seen": 1, "allow_burned_in": 1}, "allow_burned_in is no flag"),
        ("certificate.issued", {"cohort": "c", "head": "", "sha256": "A" * 64}, "sha256 is no digest"),
        ("peer.head", {"peer": "p", "head": "1:2"}, "head is no head"),
        ("cohort.intake-ended", {"cohort": "c", "intake": 1, "case": "x"}, "case is no count"),
    ],
)
def test_what_is_wrong_is_said(event: str, facts: dict[str, str], wrong: str) -> None:
    assert str(objection(event, facts)).endswith(wrong)


def test_an_optional_fact_may_be_none_and_counts_may_have_other_names() -> None:
    assert objection("peer.head", {"peer": "p", "head": HEAD, "statement": None}) is None
    assert objection("cohort.intake-ended", {"cohort": "c", "intake": 1, "quarantined": 3}) is None


def test_a_strict_log_refuses_what_the_table_has_not(tmp_path: Path, log_at: Callable[..., AuditLog]) -> None:
    log = log_at(tmp_path)
    with pytest.raises(ValueError, match="not in the table"):
        log.append("site.destroyed")
    assert not list(tmp_path.iterdir())
    assert AuditLog(log.path).append("site.destroyed").number == 1
