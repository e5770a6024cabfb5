"""A study of any task has phantoms that it can be run on, and what they say of themselves is true."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.cases import decode
from client.images import place_of
from client.sources import ManifestSource
from client.sources.record_file import open_records
from common.errors import InvalidValue
from common.sequences import NO_TARGET, SequenceBatch
from common.study import Study, parse_study
from deploy.federation import resolve
from deploy.phantom import write_phantom
from deploy.phantom.courses import draw_outcome, hazard
from deploy.phantom.lesions import draw_case, draw_lesion
from deploy.phantom.textures import DEVIATION, MEMORY, texture
from tests.fitting_models import model_for

PICTURES = [
    {"kind": "rows", "size": 16},
    {"kind": "patches", "size": 32, "patch": 8},
    {"kind": "frames", "size": 16},
    {"kind": "slices", "size": 16, "max_steps": 3},
    {"kind": "views", "size": 16},
]
STEPS = {
    "kind": "steps",
    "time_scale": 60.0,
    "max_steps": 6,
    "variables": {name: {"centre": 80.0, "scale": 20.0} for name in ("HR", "Lactate")},
}
NAMED = {**STEPS, "categories": {"pain": [1, 2, 4], "ward": [1, 2]}, "fill": "last"}
COMBINATIONS = [
    *[("classification", sequence) for sequence in [*PICTURES[2:], STEPS, NAMED]],
    *[("several labels", sequence) for sequence in PICTURES],
    *[("segmentation", sequence) for sequence in PICTURES],
    *[("detection", sequence) for sequence in PICTURES[1:4]],
    ("generation", PICTURES[0]),
    *[("risk", sequence) for sequence in [*PICTURES[2:4], STEPS]],
]
THREE = {"0": "none", "5": "nodule", "9": "cyst"}
CPU = torch.device("cpu")


def study_of(task: str, sequence: dict[str, Any]) -> Study:
    several = task == "several labels"
    labels = {"0": "alive", "1": "event"} if task == "risk" else THREE
    head = {"name": "x", "labels": labels, "several_labels": several}
    document = {"study": {**head, "task": "classification" if several else task}, "sequence": sequence}
    return parse_study({**document, "model": model_for(task, sequence["kind"])})


def batches(folder: Path, study: Study, sites: int = 2, patients: int = 8) -> dict[str, SequenceBatch]:
    manifest = write_phantom(folder / "phantom", study, sites=sites, patients=patients)
    data = resolve(study, manifest)
    assert len(data.cases) == sites
    return {
        site: decode(ManifestSource(manifest, site), (*cases.train, *cases.test), study, CPU)
        for site, cases in data.cases.items()
    }


@pytest.mark.parametrize(
    ("task", "sequence"), COMBINATIONS, ids=lambda v: v if isinstance(v, str) else v["kind"]
)
def test_every_task_and_sequence_has_phantoms(tmp_path: Path, task: str, sequence: dict[str, Any]) -> None:
    study = study_of(task, sequence)
    for batch in batches(tmp_path, study).values():
        assert len(batch) == 8 and batch.steps.isfinite().all()
        assert batch.steps.shape[2] == np.prod(study.sequence.frame)
        if "max_steps" in sequence:
            assert int(batch.lengths.max()) <= sequence["max_steps"]
        targets = batch.targets
        match task:
            case "segmentation":
                assert targets.shape == batch.steps.shape
                assert set(targets.unique().tolist()) <= {0, 1, 2, NO_TARGET} and (targets == 1).any()
            case "detection":
                assert targets.shape == (*batch.steps.shape[:2], 8, 5) and (targets[..., 0] >= 0).any()
            case "generation":
                assert float(batch.steps.min()) >= 0 and float(batch.steps.max()) <= 1
            case "risk":
                assert (targets[:, 1] > 0).all() and set(targets[:, 0].tolist()) <= {0.0, 1.0}
            case "several labels":
                assert targets.shape == (8, 3)


@pytest.mark.parametrize("task", ["segmentation", "generation", "risk"])
def test_the_same_seed_gives_the_same_cases_and_another_seed_others(tmp_path: Path, task: str) -> None:
    study, found = study_of(task, PICTURES[2 if task == "risk" else 0]), {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        manifest = write_phantom(tmp_path / name, study, sites=1, seed=seed, patients=4)
        files = sorted(path for path in manifest.parent.rglob("*") if path.is_file())
        found[name] = [(path.name, path.read_bytes()) for path in files]
    assert found["a"] == found["b"] != found["c"]


def test_sites_differ_in_matrix_and_brightness(tmp_path: Path) -> None:
    study = study_of("segmentation", {"kind": "slices", "size": 16})
    write_phantom(tmp_path / "p", study, sites=2, patients=4)
    sizes = {
        site: np.load(next((tmp_path / "p" / site).glob("*-0001.npy"))).shape[1]
        for site in ("alder", "birch")
    }
    assert sizes == {"alder": 16, "birch": 20}


def test_a_mask_needs_stored_labels_that_are_its_values(tmp_path: Path) -> None:
    labels = {"ground": "none", "lesion": "lesion"}
    study = parse_study({"study": {"name": "x", "task": "segmentation", "labels": labels}})
    with pytest.raises(InvalidValue, match="0 to 254"):
        write_phantom(tmp_path / "p", study, sites=1)


def test_boxes_and_mask_of_a_lesion_are_where_it_is_seen() -> None:
    rng = np.random.default_rng(0)
    lesion = draw_lesion(rng, 0, 5)
    drawn = draw_case(rng, (5, 48, 48), [lesion])
    without = draw_case(np.random.default_rng(1), (5, 48, 48), [])
    assert not without.kinds.any() and not any(without.boxes)
    seen = drawn.kinds == 1
    assert drawn.pictures[seen].mean() > drawn.pictures[~seen].mean() + 0.2
    for picture, boxes in enumerate(drawn.boxes):
        inside = np.zeros((48, 48), bool)
        for _, top, left, bottom, right in boxes:
            inside[top:bottom, left:right] = True
        assert not (seen[picture] & ~inside).any() and bool(boxes) == bool(seen[picture].any())


def test_a_texture_is_drawn_from_the_density_that_it_names() -> None:
    rng, density = np.random.default_rng(0), texture(1, 0, 12)
    pictures = np.stack([density.draw(10, rng) for _ in range(4000)])
    off = pictures - density.mean
    assert abs(off.std() - DEVIATION) < 5e-4
    assert abs((off[:, 1:] * off[:, :-1]).mean() / off.var() - MEMORY) < 0.005
    lost = -np.mean([density.log_density(picture) for picture in pictures]) / (10 * 12)
    assert abs(lost - density.nats_per_pixel(10)) < 0.01
    other = -np.mean([texture(0, 0, 12).log_density(picture) for picture in pictures]) / (10 * 12)
    assert other > lost + 0.1, "classes have densities of their own"


@pytest.mark.parametrize("severity", [0.1, 0.5, 0.9])
def test_events_come_as_often_as_the_hazard_says(severity: float) -> None:
    rng = np.random.default_rng(0)
    outcomes = [draw_outcome(rng, severity) for _ in range(4000)]
    events, time = sum(o.event for o in outcomes), sum(o.time for o in outcomes)
    assert events / time == pytest.approx(hazard(severity), rel=5 / np.sqrt(events))


def test_nobody_is_measured_after_the_end(tmp_path: Path) -> None:
    manifest = write_phantom(tmp_path / "p", study_of("risk", STEPS), sites=1, patients=40)
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    records = open_records(manifest.parent / "alder" / "records.npz")
    for row in rows:
        times, _ = records.record(place_of(manifest.parent, row["path"]))
        assert times[-1] < float(row["time"])


def test_the_manifest_tells_the_hazard_and_who_is_who(tmp_path: Path) -> None:
    manifest = write_phantom(tmp_path / "p", study_of("risk", STEPS), sites=1, patients=40)
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    known = np.array([float(row["hazard"]) for row in rows])
    event = np.array([row["label"] == "1" for row in rows])
    assert known[event].mean() > 2 * known[~event].mean()
    assert {row["sex"] for row in rows} == {"F", "M"} and all(0 <= int(row["age"]) < 90 for row in rows)
