"""The certificate: everything that matters is on it, it speaks to everybody, and it is never written over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from client.ledger import Budget, Decision, Ledger, Task
from client.ledger.certificate import NOT_COVERED, Certificate, Holder, certify
from client.ledger.filing import file_certificate
from client.ledger.page import render
from common.errors import LedgerRolledBack, OutputExists, OutputUnwritable
from common.private.event import Event
from tests.unit.ledger.benches import Bench
from tests.unit.page_reader import (
    EVIL,
    Page,
    check_can_be_read_without_eyes,
    check_policy_admits_only_its_style,
    check_reaches_for_nothing,
)

MakeTask = Callable[..., Task]
ISSUED = "2026-03-01T10:00:00+00:00"


@pytest.fixture
def made(bench: Bench, task: MakeTask) -> Certificate:
    """A certificate with everything on it."""
    bench.budget = Budget(60.0, 1e-5)
    bench.train(1)
    bench.train(2, study="hearts", study_digest="f" * 64, unit="image")
    bench.train(2, purpose="evaluation")
    bench.path.unlink()
    bench.ledger.accept(Decision("r.meier", "the disk was replaced", (Event(2.0, 0.1, 4),)))
    bench.ledger.reserve(task(3), Event(1.5, 0.1, 9), 1e-5)
    return certified(bench)


def certified(bench: Bench, **holder: object) -> Certificate:
    whose = Holder(
        **{"site": "alder", "cohort": "chest", "fingerprint": "e" * 64, "patients": 3120, **holder}
    )  # type: ignore[arg-type]
    return certify(bench.ledger, whose, ISSUED)


def test_the_document_says_what_the_ledger_adds_up_to(made: Certificate, bench: Bench) -> None:
    document = made.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    guarantee = document["guarantee"]
    assert guarantee["epsilon"] == bench.ledger.spent().epsilon == 38.0 and guarantee["left"] == 22.0
    assert guarantee["budget"] == {"epsilon": 60.0, "delta": 1e-5, "accountant": "prv"}
    assert guarantee["units"] == ["image", "patient"]
    assert [(study["study"], study["purpose"], study["steps"]) for study in document["studies"]] == [
        ("lungs", "training", 19),
        ("hearts", "training", 10),
        ("lungs", "evaluation", 10),
        ("", "training", 4),
    ]
    (waiting,) = document["open_reservations"]
    assert (waiting["round"], waiting["steps"]) == (3, 9)
    (decision,) = document["decisions"]
    assert (decision["by"], decision["reason"]) == ("r.meier", "the disk was replaced")
    assert document["ledger"]["head"] == bench.ledger.head and document["ledger"]["carried"] == 4
    assert document["not_covered"] == list(made.limits)
    assert document["cohort"] == {"name": "chest", "fingerprint": "e" * 64, "patients": 3120}


def test_the_page_says_it_to_people(made: Certificate) -> None:
    text = Page(render(made, "9" * 64)).text
    for words in (
        "alder",
        "chest",
        "epsilon 38.00 of a budget of 60",
        "1e-05, one in 100,000",
        "lungs",
        "hearts",
        "added by a person",
        "evaluation",
        "All together",
        "Two cohorts are neighbours",
        "r.meier",
        "the disk was replaced",
        "Reserved and never settled",
        "group privacy",
        "9" * 64,
        "1 March 2026",
        "Signature",
        made.checked.head,
    ):
        assert words in text, words
    for limit in NOT_COVERED:
        assert limit.replace("`", "") in text


def test_the_page_is_safe_and_speaks_to_everybody(made: Certificate) -> None:
    html = render(made, "9" * 64)
    check_reaches_for_nothing(html)
    check_policy_admits_only_its_style(html)
    check_can_be_read_without_eyes(html)


def test_names_cannot_write_markup(bench: Bench) -> None:
    bench.train(1, study=EVIL)
    bench.ledger.accept(Decision(EVIL, EVIL, (Event(1.0, 0.1, 1),)))
    html = render(certified(bench, site=EVIL, cohort=EVIL), "9" * 64)
    check_reaches_for_nothing(html)
    assert html.count("&lt;script&gt;") >= 5 and "<script" not in html


def test_a_cohort_that_spent_nothing(bench: Bench) -> None:
    made = certified(bench, fingerprint="", patients=None)
    page = Page(render(made, "9" * 64))
    assert "epsilon 0.00" in page.text and "removed" in page.text and "within the budget" in page.text
    assert "Reserved and never settled" not in page.text and "Decisions" not in page.text
    assert made.to_dict()["cohort"]["fingerprint"] is None and made.units == ("patient",)


@pytest.mark.parametrize(
    ("budget", "words"), [(100.0, "within the budget"), (10.5, "nearly spent"), (9.0, "over the budget")]
)
def test_how_spending_stands_to_the_budget(bench: Bench, budget: float, words: str) -> None:
    bench.train(1)
    bench.budget = Budget(budget, 1e-5)
    assert words in Page(render(certified(bench), "9" * 64)).text


def test_lines_that_were_lost_are_told(bench: Bench) -> None:
    with pytest.raises(LedgerRolledBack):
        bench.ledger.check(f"9:{'e' * 64}")
    assert certified_limits(bench.of("knee")) == NOT_COVERED
    bench.ledger.accept(Decision("m", "all copies were old"))
    (more,) = set(certified_limits(bench.ledger)) - set(NOT_COVERED)
    assert "8 lines of an earlier ledger" in more


def certified_limits(ledger: Ledger) -> tuple[str, ...]:
    return certify(ledger, Holder("alder", ledger.name), ISSUED).limits


def test_without_a_budget(bench: Bench) -> None:
    bench.budget = None
    bench.train(1)
    made = certified(bench)
    assert made.to_dict()["guarantee"]["budget"] is None and made.to_dict()["guarantee"]["left"] is None
    assert "of a budget" not in Page(render(made, "9" * 64)).text


def test_where_no_bound_is_known_none_is_claimed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.train(1)
    monkeypatch.setattr(bench.reckoning, "epsilon_of", lambda events, delta, accountant: float("inf"))
    made = certified(bench)
    assert made.to_dict()["guarantee"]["epsilon"] is None
    text = Page(render(made, "9" * 64)).text
    assert "no bound" in text and "over the budget" in text


def test_no_certificate_of_a_ledger_that_lacks_something(bench: Bench) -> None:
    bench.train(1)
    with pytest.raises(LedgerRolledBack):
        bench.ledger.check(f"9:{'e' * 64}")
    with pytest.raises(LedgerRolledBack):
        certified(bench)


# On the disk


def test_page_and_document_belong_together(made: Certificate, tmp_path: Path) -> None:
    filed = file_certificate(made, tmp_path / "deep" / "out")
    content = filed.document.read_bytes()
    assert hashlib.sha256(content).hexdigest() == filed.sha256
    assert filed.sha256 in filed.page.read_text() and json.loads(content) == made.to_dict()
    assert {path.stat().st_mode & 0o777 for path in (filed.page, filed.document)} == {0o600}


@pytest.mark.parametrize("there", ["certificate.html", "certificate.json"])
def test_what_was_filed_is_not_written_over(made: Certificate, tmp_path: Path, there: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / there).write_text("filed")
    with pytest.raises(OutputExists):
        file_certificate(made, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [there]


def test_a_folder_that_cannot_be(made: Certificate, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnwritable):
        file_certificate(made, tmp_path / "file" / "out")
