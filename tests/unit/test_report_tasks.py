"""The page, the terminal and run.json of a task that is no classification have the figures of that task."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from common.metrics import ClassificationSums, Figure
from deploy.cli.progress import _round_line, show_summary
from server.report import render
from tests.unit.page_reader import Page, check_can_be_read_without_eyes

HERE = Path(__file__).parent
SCHEMA = json.loads((HERE.parents[1] / "docs" / "run.schema.json").read_text(encoding="utf-8"))

SEGMENTATION = (
    Figure("dice", "Dice"),
    Figure("hd95", "HD95", higher_is_better=False, share=False),
)
GENERATION = (Figure("bits_per_dim", "Bits per dimension", higher_is_better=False, share=False),)
RISK = (Figure("auroc", "AUROC"), Figure("auprc", "AUPRC"), Figure("concordance", "Concordance"))

KINDS: dict[str, tuple[tuple[Figure, ...], str, str]] = {
    "segmentation": (SEGMENTATION, "slices", "volume"),
    "generation": (GENERATION, "rows", "image"),
    "risk": (RISK, "steps", "record"),
}


def measured(figures: tuple[Figure, ...], scores: dict[str, Any]) -> dict[str, Any]:
    """A task's figures made of a classification's: the AUROC, or as many units as its error has tenths."""
    base = 0.6 if scores["auroc"] is None else scores["auroc"]
    values = {f.key: base if f.higher_is_better else round(10 * (1 - base), 4) for f in figures}
    return {"n": scores["n"], "loss": scores["loss"], **values}


def made_up(task: str) -> dict[str, Any]:
    """The completed sample, as if its task were another."""
    run: dict[str, Any] = json.loads((HERE / "samples" / "run_completed.json").read_text(encoding="utf-8"))
    figures, kind, _ = KINDS[task]
    run["study"]["study"]["task"], run["study"]["sequence"]["kind"] = task, kind
    run["figures"] = [asdict(figure) for figure in figures]
    for found in [run["final"], *(entry["metrics"] for entry in run["rounds"])]:
        found["pooled"] = measured(figures, found["pooled"])
        found["sites"] = {site: measured(figures, scores) for site, scores in found["sites"].items()}
    for name, model in [("pooled", run["baselines"]["pooled"]), *run["baselines"]["local"].items()]:
        sites = {site: measured(figures, scores) for site, scores in model["sites"].items()}
        place = run["baselines"] if name == "pooled" else run["baselines"]["local"]
        place[name] = {**measured(figures, model), "sites": sites}
    return run


@pytest.mark.parametrize("task", KINDS)
def test_the_document_is_valid_and_the_page_whole(task: str) -> None:
    run = made_up(task)
    jsonschema.Draft202012Validator(SCHEMA).validate(run)
    html = render(run, "")
    check_can_be_read_without_eyes(html)
    page = Page(html)
    figures, _, case = KINDS[task]
    assert page.tables[0][0] == ["Site", f"Test {case}s", *(figure.title for figure in figures)]
    assert f"on 400 test {case}s of all sites the shared model's {figures[0].spoken} is" in page.text
    assert ("image" in page.text) == (case == "image")
    for absent in ("F1", "cross-entropy", "Confusion matrix", "Accuracy"):
        assert absent not in page.text


def test_of_a_figure_that_should_be_low_the_lowest_model_is_best() -> None:
    run = made_up("generation")
    page = Page(render(run, ""))
    alone = {site: model["bits_per_dim"] for site, model in run["baselines"]["local"].items()}
    best = min(alone, key=lambda site: alone[site])
    assert f"the best model of a single site ({best}, bits per dimension {alone[best]:.3f})" in page.text
    sites = run["final"]["sites"]
    worst = max(sites, key=lambda site: sites[site]["bits_per_dim"])
    assert "Highest bits per dimension of a site" in page.text and f"at {worst}" in page.text
    models = next(table for table in page.tables if table[0][0] == "Trained by")
    lead = alone[best] - run["final"]["pooled"]["bits_per_dim"]
    shown = next(row for row in models if row[0] == f"{best} alone")
    assert shown[3] == f"+{lead:.3f}" and lead > 0
    assert "(lower is better)" in page.text and "a coin toss" not in page.text


def test_segmentation_s_dice_is_drawn_and_its_distance_beside_it() -> None:
    html = render(made_up("segmentation"), "")
    assert {"curve-dice-title", "curve-loss-title", "curve-hd95-title"} <= set(Page(html).ids)
    models = next(table for table in Page(html).tables if table[0][0] == "Trained by")
    assert models[0][3:] == ["Shared model's lead", "HD95"]


@pytest.mark.parametrize("task", KINDS)
def test_the_terminal_shows_the_task_s_figures(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_up(task)
    figures = KINDS[task][0]
    line = _round_line(run["rounds"][-1], 30, figures)
    pooled = run["rounds"][-1]["metrics"]["pooled"]
    assert f"{figures[0].spoken} {pooled[figures[0].key]:.3f}" in line and "accuracy" not in line
    show_summary(run, Path("/somewhere"))
    table = capsys.readouterr().out
    assert all(figure.heading in table for figure in figures) and "ECE" not in table
    assert f"{run['final']['pooled'][figures[0].key]:.3f}" in table


def test_a_detection_counts_boxes_and_tells_each_class_apart() -> None:
    run = made_up("segmentation")
    run["study"]["study"]["task"], run["study"]["sequence"]["kind"] = "detection", "frames"
    for scores in (run["final"]["pooled"], *run["final"]["sites"].values()):
        scores |= {"labels": {"nodule": 61}, "ap50_by_class": {"nodule": 0.811}}
    (found,) = [table for table in Page(render(run, "")).tables if table[0][0] == "Class"]
    assert found == [["Class", "Test boxes", "AP at IoU 0.5"], ["nodule", "61", "0.811"]]


def test_pooling_is_named_where_there_is_any() -> None:
    completed = (HERE / "samples" / "run_completed.json").read_text(encoding="utf-8")
    assert "pooling over time" in Page(render(json.loads(completed), "")).text
    assert "pooling over time" not in Page(render(made_up("segmentation"), "")).text


def test_words_within_a_sentence() -> None:
    titles = {"Accuracy": "accuracy", "AUROC": "AUROC", "Dice": "Dice", "mAP": "mAP", "F1": "F1"}
    assert {title: Figure("x", title).spoken for title in titles} == titles


def test_figures_of_a_classification_are_those_of_documents_that_do_not_say() -> None:
    run: dict[str, Any] = json.loads((HERE / "samples" / "run_completed.json").read_text(encoding="utf-8"))
    told = copy.deepcopy(run) | {
        "figures": [asdict(figure) for figure in ClassificationSums.FIGURES if figure.key != "auprc"]
    }
    jsonschema.Draft202012Validator(SCHEMA).validate(told)
    assert render(told, "") == render(run, "")
