"""Logs checked offline: each by itself, and each against what the others noted of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common.audit import AuditLog
from common.errors import AuditBroken
from common.evidence.entry import Entry, Head
from common.evidence.export import export_line
from common.evidence.source import open_source
from common.evidence.verdict import examine
from common.evidence.verification import verify

LogAt = Callable[..., AuditLog]


def entries(folder: Path) -> list[Entry]:
    return list(AuditLog(folder / "audit.jsonl").entries())


def exported(folder: Path, since: int = 1) -> Path:
    path = folder.with_suffix(".jsonl")
    path.write_bytes(b"".join(export_line(entry) for entry in entries(folder)[since - 1 :]))
    return path


def rewritten(folder: Path, log_at: LogAt, keep: int, *, longer: int = 0) -> None:
    """Who holds every key of a side writes its log anew, sound in itself, from one entry on."""
    old = entries(folder)
    shutil.rmtree(folder)
    log = log_at(folder)
    for entry in old:
        if not entry.event.startswith("audit."):
            changed = {"site": "mallory"} if entry.number > keep and "site" in entry.facts else {}
            if entry.number <= keep or "task" not in entry.facts or "site" in entry.facts:
                log.append(entry.event, **{**entry.facts, **changed})
    for _ in range(longer):
        log.append("site.created", site="alder")


def logs_of(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in ("alder", "birch", "coordinator")}


def test_logs_that_were_written_together_agree(federation: Path) -> None:
    report = verify(logs_of(federation))
    assert report.is_whole and not list(report.faults)
    assert [verdict.owner for verdict in report.verdicts] == ["alder", "birch", "coordinator"]
    assert {pair: count > 0 for pair, count in report.agreed.items()} == {
        ("alder", "coordinator"): True,
        ("birch", "coordinator"): True,
        ("coordinator", "alder"): True,
        ("coordinator", "birch"): True,
    }
    assert all(verdict.ended_by == "audit.head" and len(verdict.files) > 2 for verdict in report.verdicts)


def test_exports_agree_as_well(federation: Path) -> None:
    report = verify({name: exported(path) for name, path in logs_of(federation).items()})
    assert report.is_whole and len(report.agreed) == 4
    assert all("no entries came after" in verdict.remarks[0] for verdict in report.verdicts)


@pytest.mark.parametrize("side", ["alder", "coordinator"])
@pytest.mark.parametrize("keep", [1, 3, 9])
@pytest.mark.parametrize("form", ["home", "export"])
def test_a_side_that_rewrote_its_history_is_found_by_the_other(
    federation: Path, log_at: LogAt, side: str, keep: int, form: str
) -> None:
    rewritten(federation / side, log_at, keep, longer=40)
    assert examine(side, open_source(federation / side)).first_bad is None, "sound in itself"
    logs = logs_of(federation)
    report = verify({name: exported(path) for name, path in logs.items()} if form == "export" else logs)
    assert not report.is_whole and all(verdict.first_bad is None for verdict in report.verdicts)
    assert {found.log for found in report.disagreements} == {side}
    assert all(found.head.number > keep and "was rewritten" in str(found) for found in report.disagreements)


def test_a_side_that_cut_its_history_off_is_found_by_the_other(federation: Path) -> None:
    path = exported(federation / "alder")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-4]))
    (found,) = verify({"alder": path, "coordinator": federation / "coordinator"}).disagreements
    assert found.log == "alder" and "entries are missing, or it is an older copy" in str(found)


def test_one_site_cannot_tell_of_another(federation: Path, log_at: LogAt) -> None:
    rewritten(federation / "birch", log_at, 3)
    logs = logs_of(federation)
    assert verify({name: logs[name] for name in ("alder", "birch")}).is_whole
    assert not verify({name: logs[name] for name in ("coordinator", "birch")}).is_whole


def test_what_lies_before_an_export_cannot_be_told(federation: Path) -> None:
    folder = federation / "alder"
    path, before = exported(folder, since=6), entries(folder)[4].place
    logs = {"alder": path, "coordinator": federation / "coordinator"}
    assert "give the head of what came before it" in str(verify(logs).verdicts[0].first_bad)
    report = verify(logs, [before], {"alder"})
    assert report.is_whole
    everything = verify({**logs, "alder": folder})
    assert 0 < report.agreed["coordinator", "alder"] <= everything.agreed["coordinator", "alder"]
    assert report.verdicts[0].before == before


def test_a_head_that_was_kept_tells_where_a_log_ended(federation: Path) -> None:
    path = exported(federation / "alder")
    last = entries(federation / "alder")[-1].place
    assert verify({"log": path}, [last]).verdicts[0].ended_by == "--head"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    (found,) = verify({"log": path}, [last]).disagreements
    assert found.head == last and f"it ends with entry {last.number - 1}" in str(found)


def test_a_head_that_none_of_several_logs_holds_is_told_once(federation: Path) -> None:
    strange = Head(2, "d" * 64)
    (found,) = verify(logs_of(federation), [strange]).disagreements
    assert "in none of them" in str(found)
    last = entries(federation / "birch")[-1].place
    assert verify(logs_of(federation), [last]).is_whole


def test_one_closed_file_is_verified_against_the_head_before_it(federation: Path) -> None:
    second = federation / "coordinator" / "audit-000002.jsonl"
    fault = verify({"log": second}).verdicts[0].first_bad
    assert fault is not None and "'audit-000001.jsonl', which is not there" in fault.why
    before = entries(federation / "coordinator")[3].place
    assert verify({"log": second}, [before]).is_whole


def test_half_a_line_at_the_end_is_odd_only_where_nothing_is_being_written(federation: Path) -> None:
    for path, is_odd in (
        (federation / "alder" / "audit.jsonl", False),
        (exported(federation / "alder"), True),
    ):
        with path.open("ab") as file:
            file.write(b'{"digest"')
        verdict = verify({"log": path}).verdicts[0]
        assert (verdict.first_bad is not None) == is_odd
        assert is_odd or "9 bytes after the last entry" in verdict.remarks[0]


def test_a_head_that_a_crash_left_behind_is_nothing_odd(tmp_path: Path, log_at: LogAt) -> None:
    log = log_at(tmp_path)
    for number in range(5):
        head = (tmp_path / "audit.head").read_bytes() if number else b""
        log.append("site.created", site=f"s{number}")
    (tmp_path / "audit.head").write_bytes(head)
    assert verify({"log": tmp_path}).verdicts[0].first_bad is not None, "the file was closed in between"
    log = AuditLog(tmp_path / "other.jsonl")
    log.append("site.created", site="a")
    (tmp_path / "other.head").write_bytes(b"")
    assert verify({"log": log.path}).is_whole


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"?", "damaged or missing"),
        (None, "damaged or missing"),
        ("older", "is not the end"),
        ("later", "is missing"),
    ],
)
def test_a_head_that_says_otherwise_is_told(federation: Path, content: bytes | str | None, why: str) -> None:
    folder = federation / "alder"
    head = folder / "audit.head"
    given = {"older": entries(folder)[2].place.to_bytes(), "later": Head(99, "a" * 64).to_bytes()}
    head.unlink() if content is None else head.write_bytes(given.get(content, content))  # type: ignore[arg-type]
    fault = verify({"log": folder}).verdicts[0].first_bad
    assert fault is not None and why in fault.why


def test_what_is_not_in_the_table_and_who_is_accused_are_remarked(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.append("site.destroyed")
    log.append("peer.rolled-back", peer="alder", head="2:" + "a" * 64, before="3:" + "a" * 64)
    remarks = verify({"log": tmp_path}).verdicts[0].remarks
    assert "event site.destroyed is not in the table" in remarks[0]
    assert "entry 2 tells that the log of alder went back" in remarks[1]


def test_what_holds_no_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(AuditBroken, match=r"holds no audit\.jsonl"):
        open_source(tmp_path)
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(AuditBroken, match="cannot be read"):
        open_source(tmp_path)


def test_a_coordinators_log_is_not_taken_for_that_of_a_site(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    enrolled = {"site": "alder", "serial": "1", "fingerprint": "a" * 64}
    log.append("site.enrolled", **enrolled, node=7)
    assert examine("log", open_source(tmp_path)).owner == ""
    log.append("site.enrolled", **enrolled)
    assert examine("log", open_source(tmp_path)).owner == "alder"
    log.append("coordinator.created", federation="0123456789ab", authority="a" * 64)
    log.append("site.created", site="birch")
    assert examine("log", open_source(tmp_path)).owner == "coordinator"
