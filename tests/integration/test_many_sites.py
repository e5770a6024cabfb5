"""What is there for thousands of virtual sites holds for a few: the same record, less of it held at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from flwr.app import MessageType

from common.metrics import ClassificationSums
from common.study import Study
from common.tasks import Evaluation
from server import roster, run_rounds
from server.journal.counted import Counted
from server.report.filing import REPORT_FILE, file_report
from server.roster import gather
from server.study_run import RunPlan, run_study
from tests.unit.conftest import grid_of, hospitals, make_study, site_of

__all__ = ["grid_of", "hospitals", "make_study", "site_of"]

SCHEMA = Path(__file__).parents[2] / "docs" / "run.schema.json"
NAMES = ("alder", "birch", "cedar", "dogwood")


def evaluation(site: str, n: int, classes: int = 2, *, single: bool = True) -> Evaluation:
    rng = np.random.default_rng(n)
    scores = rng.dirichlet(np.ones(classes), n)
    return Evaluation(
        site, 3, "1" * 64, ClassificationSums.count(scores, rng.integers(0, classes, n), keep_scores=single)
    )


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(("n", "classes"), [(0, 2), (1, 2), (7, 5)])
def test_counts_come_out_as_they_went_in(n: int, classes: int, single: bool) -> None:
    given, counted = evaluation("birch", n, classes, single=single), Counted()
    counted.add(evaluation("birch", 3))
    counted.add(given)
    counted.add(evaluation("alder", 2))
    assert list(counted) == ["alder", "birch"] and len(counted) == 2 and "cedar" not in counted
    found = counted["birch"]
    assert (found.site, found.round, found.base_digest) == ("birch", 3, "1" * 64)
    assert found.sums.loss == given.sums.loss
    for name in ("confusion", "calibration", "histogram", "scores", "labels"):
        before, after = getattr(given.sums, name), getattr(found.sums, name)
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        assert np.array_equal(before, after) and after.base is None, "nothing else is kept by it"


def test_sites_are_asked_in_lots_and_all_are_found(
    grid_of: Callable[..., Any], make_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "AT_ONCE", 3)
    grid, sent = grid_of(), []
    push = grid.push_messages
    monkeypatch.setattr(grid, "push_messages", lambda messages: sent.append(list(messages)) or push(sent[-1]))
    assert tuple(sorted(gather(grid, make_study(), 4, 5.0).nodes)) == NAMES
    assert [len(messages) for messages in sent] == [3, 1]
    assert grid.asked == [(MessageType.QUERY, name) for name in NAMES]


def test_single_metrics_of_many_sites_stand_in_the_record_once(
    grid_of: Callable[..., Any],
    make_study: Callable[..., Study],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_rounds, "MOST_SITES", 3)
    run_study(grid_of(), RunPlan(make_study(), 0, tmp_path, "test", 4, 5.0))
    run = json.loads((tmp_path / "run.json").read_text())
    jsonschema.validate(run, json.loads(SCHEMA.read_text()))
    assert [entry["metrics"]["sites"] for entry in run["rounds"]] == [{}, {}]
    assert all(entry["metrics"]["pooled"]["n"] == 10 for entry in run["rounds"])
    assert tuple(run["final"]["sites"]) == NAMES
    file_report(tmp_path)
    assert "dogwood" in (tmp_path / REPORT_FILE).read_text()
