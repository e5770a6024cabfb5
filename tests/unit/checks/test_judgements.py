"""What the looks of a check make of what they see: pure, so each edge is a line here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from client.checks.data import cohorts, judged_budget
from client.checks.training import judged_memory
from client.cohorts.overview import Overview
from client.ledger import Budget, Spending
from client.link.meeting import judged_skew
from common.checks import Advice, Finding, Section, first_failure, passed_over, taken
from common.checks.machine import (
    MEAGRE,
    RESERVE_BYTES,
    judged_clock,
    judged_disk,
    judged_shared_memory,
    size,
)
from common.errors import AuditBroken, CohortEmpty, ConsiliumError, DiskFull
from server.checks.federation import sites
from server.link.store import InvitationRow, SiteRow

MIB = 2**20
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("free", "level"),
    [
        (RESERVE_BYTES + 3 * MIB - 1, "FAIL"),
        (RESERVE_BYTES + 3 * MIB, "WARN"),
        (MEAGRE * (RESERVE_BYTES + 3 * MIB) - 1, "WARN"),
        (MEAGRE * (RESERVE_BYTES + 3 * MIB), "ok"),
    ],
)
def test_the_disk_has_room_for_the_reserve_and_copies_of_the_largest_model(free: int, level: str) -> None:
    found = judged_disk(free, 3, MIB)
    assert found.level == level
    assert found.code == {"FAIL": "disk-full", "WARN": "disk-low", "ok": ""}[level]
    assert "3 copies of the largest model, 1.0 MiB" in found.said
    assert bool(found.remedy) == (level != "ok")


@pytest.mark.parametrize(("mib", "level"), [(0, "WARN"), (64, "WARN"), (65, "ok")])
def test_shared_memory_as_small_as_a_containers_is_told(mib: int, level: str) -> None:
    found = judged_shared_memory(mib * MIB)
    assert found.level == level
    assert ("--shm-size=1g" in found.remedy) == (level == "WARN")


@pytest.mark.parametrize(
    ("answer", "level"), [("yes", "ok"), ("no", "WARN"), ("", "ok"), ("gibberish", "ok")]
)
def test_a_clock_that_nobody_sets_is_told_and_one_that_is_not_known_is_no_fault(
    answer: str, level: str
) -> None:
    found = judged_clock(answer)
    assert found.level == level
    assert ("not known" in found.said) == (answer not in ("yes", "no"))


@pytest.mark.parametrize(("free", "level"), [(40, "ok"), (20, "ok"), (19, "WARN")])
def test_a_gpu_that_others_use_is_told(free: int, level: str) -> None:
    assert judged_memory("cuda:0 (a GPU)", free * MIB, 40 * MIB).level == level


@pytest.mark.parametrize(
    ("spent", "code"),
    [(0.0, ""), (7.19, ""), (7.21, "budget-low"), (8.0, "budget-spent"), (float("inf"), "budget-spent")],
)
def test_a_budget_is_told_when_less_than_a_tenth_is_left(spent: float, code: str) -> None:
    found = judged_budget("chest", Spending(spent, 1e-5, Budget(8.0, 1e-5), (), ()))
    assert (found.step, found.code) == ("budget chest", code)
    assert found.ok


def test_a_ledger_without_a_budget_warns_of_nothing() -> None:
    assert judged_budget("chest", Spending(99.0, 1e-5, None, (), ())).level == "ok"


@pytest.mark.parametrize(
    ("skew_ms", "level"), [(0, "ok"), (-30_000, "ok"), (30_001, "WARN"), (-40_000, "WARN")]
)
def test_clocks_that_drift_apart_are_told_before_they_are_refused(skew_ms: int, level: str) -> None:
    assert judged_skew(skew_ms).level == level


def cohort(name: str, trouble: ConsiliumError | None = None) -> Overview:
    return Overview(
        name, "slices", (), "f", {"seen": 9}, {}, {}, {}, {"train": {"0": 2, "1": 3}}, 4, {}, {}, trouble
    )


@pytest.mark.parametrize(
    ("names", "in_use", "levels"),
    [
        ("", "", ["WARN"]),  # there is none
        ("a", "", ["ok"]),
        ("a b!", "", ["ok", "WARN"]),  # another one can be used
        ("a b!", "b", ["ok", "FAIL"]),  # a study was approved for it
        ("b!", "", ["FAIL"]),  # none can be used
    ],
)
def test_a_cohort_that_cannot_be_used_fails_where_it_is_needed(
    names: str, in_use: str, levels: list[str]
) -> None:
    found = tuple(cohort(n[0], CohortEmpty("no case") if n.endswith("!") else None) for n in names.split())
    assert [each.level for each in cohorts(found, frozenset(in_use))] == levels


def test_a_cohort_is_told_in_cases_and_patients() -> None:
    (found,) = cohorts((cohort("a"),), frozenset())
    assert found.said == "5 train cases of 4 patients"


def site(name: str, days: float, revoked: str | None = None) -> SiteRow:
    return SiteRow(1, name, "s", "f", "p", NOW.isoformat(), (NOW + timedelta(days=days)).isoformat(), revoked)


def test_sites_whose_certificates_end_are_named() -> None:
    known = [site("alder", 8), site("birch", 6), site("cedar", -1), site("dogwood", -9, NOW.isoformat())]
    later, before = ((NOW + timedelta(days=days)).isoformat() for days in (1, -1))
    invited = [
        InvitationRow("1", "elm", "f", later),
        InvitationRow("2", "elm", "f", before),
        InvitationRow("3", "alder", "f", later, used_at=before),
        InvitationRow("4", "dogwood", "f", later, void_at=before),
    ]
    count, *named = sites(known, invited, NOW)
    assert count.said == "3 enrolled, 1 invited, 1 revoked"
    assert [(each.step, each.code) for each in named] == [
        ("site birch", "site-expiring"),
        ("site cedar", "site-expiring"),
    ]
    assert "is over" in named[1].said


def test_sizes_are_told_as_people_read_them() -> None:
    assert [size(n) for n in (512, 1536, 64 * MIB, 3 * 2**30, 2**41)] == [
        "512 B",
        "1.5 KiB",
        "64.0 MiB",
        "3.0 GiB",
        "2048.0 GiB",
    ]


def test_a_look_that_ends_in_an_error_is_a_failed_finding() -> None:
    def broken() -> Finding:
        raise AuditBroken("entry 3 is not what was written")

    def unreadable() -> Finding:
        raise PermissionError(13, "Permission denied", "/srv/home")

    (one,) = taken("audit log", broken)
    assert (one.level, one.code, one.said) == ("FAIL", "audit-broken", "entry 3 is not what was written")
    (other,) = taken("keys", unreadable)
    assert (other.level, other.said) == ("FAIL", "/srv/home: Permission denied")


def test_the_first_failure_counts_and_warnings_do_not() -> None:
    warned = Finding("disk", "little", advice=Advice("disk-low", "free some"))
    failed = Finding.failed("disk", DiskFull("none"))
    (unlooked,) = passed_over("there is no home", "keys")
    assert [each.level for each in (warned, failed, unlooked)] == ["WARN", "FAIL", "-"]
    assert warned.ok and unlooked.ok and not failed.ok
    assert first_failure([Section("a", (warned, unlooked)), Section("b", (failed,))]) is failed.error
    assert first_failure([Section("a", (warned,))]) is None
