"""An export is what a SIEM reads, and as good a proof as the log."""

from __future__ import annotations

import json

import pytest

from common.evidence.entry import Entry, Facts, Head, canonical, follower, next_entry
from common.evidence.events import EVENTS
from common.evidence.export import EXPORTED, export_line, read_export

TIME = "2026-01-02T03:04:05+00:00"
GOLDEN = (
    rb'{"@timestamp":"2026-01-02T03:04:05+00:00","consilium":{"facts":{"approver":"br\u00f6st","contract":"c",'
    rb'"share":0.5},"format":1,"previous":"0000000000000000000000000000000000000000000000000000000000000000"},'
    rb'"ecs":{"version":"8.17.0"},"event":{"action":"study.approved","category":["iam"],'
    rb'"dataset":"consilium.audit","hash":"a4642c98cc13bd6c97a1d7327896a37c5f27cd32609c71a9da3ccd2bfbc82dab",'
    rb'"kind":"event","module":"consilium","outcome":"success","sequence":1},"user":{"name":"br\u00f6st"}}'
    b"\n"
)


def made(event: str, facts: Facts) -> Entry:
    return next_entry(None, TIME, event, facts)


def test_the_format_is_that_of_the_first_release() -> None:
    entry = made("study.approved", {"approver": "bröst", "contract": "c", "share": 0.5})
    assert export_line(entry) == GOLDEN
    assert read_export(GOLDEN[:-1]) == entry


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_comes_back(event: str) -> None:
    entry = made(event, {"a": 1, "b": 0.25, "c": None, "d": True, "e": "ä\u2028"})
    assert follower(export_line(entry)[:-1], Head(), EXPORTED) == entry


@pytest.mark.parametrize(
    ("event", "facts", "outcome"),
    [
        ("task.received", {}, "success"),
        ("task.refused", {}, "failure"),
        ("pacs.interrupted", {}, "failure"),
        ("peer.rolled-back", {}, "failure"),
        ("study.ended", {"code": "quorum-not-reached"}, "failure"),
        ("study.ended", {}, "success"),
    ],
)
def test_the_outcome_is_told(event: str, facts: Facts, outcome: str) -> None:
    assert json.loads(export_line(made(event, facts)))["event"]["outcome"] == outcome


@pytest.mark.parametrize(
    "change",
    [
        {"event": {"kind": "alert"}},
        {"event": {"category": ["file"]}},
        {"event": {"outcome": "failure"}},
        {"event": {"module": "other"}},
        {"event": {"risk": 1}},
        {"ecs": {"version": "1.0"}},
        {"consilium": {"format": 2}},
        {"user": {"name": "somebody"}},
        {"host": {"name": "h"}},
    ],
    ids=str,
)
def test_what_is_derived_counts_too(change: dict[str, dict[str, object]]) -> None:
    line = export_line(made("study.approved", {"approver": "m"}))
    document = json.loads(line)
    for name, fields in change.items():
        document[name] = {**document.get(name, {}), **fields}
    changed = canonical(document)
    assert changed + b"\n" != line and read_export(changed) == read_export(line)
    with pytest.raises(ValueError, match="was changed"):
        follower(changed, Head(), EXPORTED)


@pytest.mark.parametrize("line", [b"", b"[]", b"3", b"{}", b'{"a":', b'{"event":3}', b"[" * 100_000, b"\xff"])
def test_what_is_no_export_is_no_entry(line: bytes) -> None:
    assert read_export(line) is None


def test_numbers_that_json_has_not_are_no_entry() -> None:
    line = export_line(made("study.approved", {"share": 0.5})).replace(b"0.5", b"NaN")
    with pytest.raises(ValueError, match="was changed"):
        follower(line[:-1], Head(), EXPORTED)
