"""What is to be learnt of a case: each task's targets, on the grid that its steps are on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from client.ages import age_band
from client.cases import CaseCache, PooledCases, StreamedCases, decode, labels, site_cases, subgroups
from client.sources import ManifestSource
from client.tensors import mask_on_grid
from common.errors import DataError, ImageUnreadable, LabelUnknown, ManifestInvalid, TargetInvalid
from common.sequences import NO_TARGET, SequenceBatch, from_steps
from common.study import Study
from tests.unit.sources.conftest import Save, Written

CPU = torch.device("cpu")
FRAMES = {"kind": "frames", "size": 8}
PATCHES = {"kind": "patches", "size": 16, "patch": 8}
AnyStudy = Callable[..., Study]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def targets(path: Path, study: Study) -> torch.Tensor:
    source = ManifestSource(path, "elm")
    return decode(source, source.entries(study), study, CPU).targets


# --- case by case


def test_several_labels_are_as_many_zeros_and_ones(
    any_study: AnyStudy, save: Save, manifest: Written
) -> None:
    study = any_study(labels={"e": "effusion", "p": "pneumonia"}, study={"several_labels": True})
    picture = save("a.png", noise(8, 8))
    rows = [{"path": picture, "label": "p|e"}, {"path": save("b.png", noise(8, 8)), "label": "-"}]
    path = manifest(rows)
    assert targets(path, study).tolist() == [[1.0, 1.0], [0.0, 0.0]]
    source = ManifestSource(path, "elm")
    assert labels(source.entries(study), study, source) == (1, 1)


@pytest.mark.parametrize(
    ("time", "wanted"), [("", -1.0), ("-1", -1.0), ("-1.0", -1.0), ("0", 0.0), ("90", 1.5), ("1e2", 100 / 60)]
)
def test_risk_is_event_and_time(
    any_study: AnyStudy, tmp_path: Path, manifest: Written, time: str, wanted: float
) -> None:
    from client.sources.record_file import write_records

    write_records(tmp_path / "r.npz", ["HR"], [(np.array([0.0]), np.array([[80.0]], np.float32))])
    sequence = {"kind": "steps", "time_scale": 60.0, "variables": {"HR": {"centre": 80.0, "scale": 1.0}}}
    path = manifest([{"path": "r.npz#0", "label": "1", "time": time}])
    found = targets(path, any_study("risk", sequence))
    assert found.dtype == torch.float32 and torch.allclose(found, torch.tensor([[1.0, wanted]]))


@pytest.mark.parametrize("time", ["soon", "nan", "inf", "-2"])
def test_a_time_that_is_none_is_refused_before_anything_is_read(
    any_study: AnyStudy, manifest: Written, time: str
) -> None:
    study = any_study("risk", {"kind": "frames"})
    entries = ManifestSource(manifest([{"path": "a.png", "time": time}]), "elm").entries(study)
    with pytest.raises(TargetInvalid, match="line 2: the time"):
        site_cases(entries, "elm", study)


def test_what_is_generated_is_brightness_and_not_standardised(
    any_study: AnyStudy, save: Save, manifest: Written
) -> None:
    picture = noise(8, 8)
    path = manifest([{"path": save("a.png", picture), "label": "1"}])
    source, study = ManifestSource(path, "elm"), any_study("generation")
    batch = decode(source, source.entries(study), study, CPU)
    assert np.allclose(batch.steps[0], picture / 255, atol=1e-6) and batch.targets.tolist() == [1]


# --- by pixel

LABELS = {"0": "ground", "7": "ventricle", "9": "wall", "8": "wall"}


def mask(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 7, 8, 9], np.uint8), shape)


CLASS = np.zeros(256, np.uint8)
CLASS[[0, 7, 9, 8, 255]] = 0, 1, 2, 2, NO_TARGET


@pytest.mark.parametrize(
    "sequence",
    [{"kind": "rows", "size": 16}, PATCHES, {**PATCHES, "order": "hilbert"}],
    ids=["rows", "patches", "hilbert"],
)
def test_pixels_of_a_picture_stand_where_its_steps_have_them(
    any_study: AnyStudy, save: Save, manifest: Written, sequence: dict[str, object]
) -> None:
    drawn = mask(16, 16)
    path = manifest([{"path": save("a.png", drawn * 20), "mask_path": save("m.png", drawn), "label": ""}])
    study = any_study("segmentation", sequence, LABELS)
    source = ManifestSource(path, "elm")
    batch = decode(source, source.entries(study), study, CPU)
    assert batch.targets.dtype == torch.uint8 and batch.targets.shape == batch.steps.shape
    assert np.array_equal(from_steps(batch.targets, study.sequence)[0], CLASS[drawn])  # type: ignore[arg-type]


def test_pixels_of_clips_are_padded_as_not_labelled(
    any_study: AnyStudy, save: Save, manifest: Written
) -> None:
    masks = [mask(2, 8, 8), mask(3, 8, 8)]
    masks[0][0, 0, 0] = 255
    rows = [
        {"path": save(f"{n}.npz", noise(*drawn.shape)), "mask_path": save(f"m{n}.npz", drawn)}
        for n, drawn in enumerate(masks)
    ]
    path, study = manifest(rows), any_study("segmentation", FRAMES, LABELS)
    found = targets(path, study)
    assert found.shape == (2, 3, 64) and (found[0, 2] == NO_TARGET).all()
    assert np.array_equal(found[0, :2].reshape(2, 8, 8), CLASS[masks[0]])
    source = ManifestSource(path, "elm")
    assert labels(source.entries(study), study, source) == (2, 2, 2)


def test_a_mask_goes_the_way_of_its_picture_when_it_is_resampled(any_study: AnyStudy) -> None:
    drawn = np.zeros((1, 32, 24), np.uint8)
    drawn[0, 8:24, 6:12] = 7
    study = any_study("segmentation", {"kind": "slices", "size": 8}, LABELS)
    laid = mask_on_grid(drawn, None, study, "x")
    wanted = np.zeros((1, 8, 8), np.uint8)
    wanted[0, 2:6, 2:4] = 7
    assert np.array_equal(laid, wanted)


def test_beyond_the_picture_nothing_is_labelled(any_study: AnyStudy) -> None:
    study = any_study("segmentation", {"kind": "slices", "size": 8, "pixel_spacing_mm": 1.0}, LABELS)
    laid = mask_on_grid(np.full((1, 4, 6), 7, np.uint8), (1.0, 1.0, 1.0), study, "x")
    wanted = np.full((1, 8, 8), NO_TARGET, np.uint8)
    wanted[0, 2:6, 1:7] = 7
    assert np.array_equal(laid, wanted)


def test_slices_of_a_mask_are_resampled_along_the_normal(any_study: AnyStudy) -> None:
    sequence = {"kind": "slices", "size": 8, "slice_spacing_mm": 2.0}
    drawn = np.repeat(np.array([7, 7, 8, 8], np.uint8), 64).reshape(4, 8, 8)
    laid = mask_on_grid(drawn, (1.0, 1.0, 1.0), any_study("segmentation", sequence, LABELS), "x")
    assert laid.shape == (2, 8, 8) and laid[:, 0, 0].tolist() == [7, 8]


def test_views_bring_a_mask_each(any_study: AnyStudy, save: Save, manifest: Written) -> None:
    drawn = mask(2, 8, 8)
    rows = [
        {"path": save(f"{n}.png", noise(8, 8)), "mask_path": save(f"m{n}.png", drawn[n]), "patient_id": "p"}
        for n in range(2)
    ]
    path, study = manifest(rows), any_study("segmentation", {"kind": "views", "size": 8}, LABELS)
    assert np.array_equal(targets(path, study)[0].reshape(2, 8, 8), CLASS[drawn])
    rows[1]["mask_path"] = ""
    entries = ManifestSource(manifest(rows), "elm").entries(study)
    with pytest.raises(TargetInvalid, match="needs a mask"):
        site_cases(entries, "elm", study)


def test_a_palette_is_read_by_its_numbers(
    any_study: AnyStudy, tmp_path: Path, save: Save, manifest: Written
) -> None:
    from PIL import Image

    drawn = mask(8, 8)
    image = Image.fromarray(drawn, mode="L").convert("P")
    image.putdata(drawn.reshape(-1).tolist())
    image.save(tmp_path / "m.png")
    path = manifest([{"path": save("a.png", noise(8, 8)), "mask_path": "m.png"}])
    assert np.array_equal(targets(path, any_study("segmentation", None, LABELS))[0], CLASS[drawn])


@pytest.mark.parametrize(
    ("drawn", "kind", "word"),
    [
        pytest.param(np.full((8, 8), 5, np.uint8), LabelUnknown, "value 5", id="unnamed"),
        pytest.param(mask(4, 8), TargetInvalid, "another height", id="another shape"),
        pytest.param(np.zeros((8, 8, 3), np.uint8), ImageUnreadable, "RGB", id="colour"),
        pytest.param(np.full((8, 8), 300, np.uint16), ImageUnreadable, "0 to 255", id="too large"),
    ],
)
def test_masks_that_do_not_fit_are_refused(
    any_study: AnyStudy, save: Save, manifest: Written, drawn: np.ndarray, kind: type[DataError], word: str
) -> None:
    path = manifest([{"path": save("a.png", noise(8, 8)), "mask_path": save("m.png", drawn)}])
    with pytest.raises(kind, match=word):
        targets(path, any_study("segmentation", None, LABELS))


def test_only_a_mask_or_boxes_take_the_place_of_a_label(manifest: Written, any_study: AnyStudy) -> None:
    with pytest.raises(ManifestInvalid, match="label is empty"):
        ManifestSource(manifest([{"path": "a.png", "label": ""}]), "elm").entries(any_study())


# --- by box


def test_boxes_of_frames_are_fractions_of_the_picture(
    any_study: AnyStudy, save: Save, manifest: Written
) -> None:
    told = [[[1, 2, 4, 8, 16]], [], [["0", 0, 0, 16, 16], [1, 0.5, 0, 1, 1]]]
    path = manifest([{"path": save("a.npy", noise(3, 16, 16)), "boxes": json.dumps(told), "label": ""}])
    study = any_study("detection", FRAMES, data={"max_boxes": 2})
    found = targets(path, study)
    assert found.shape == (1, 3, 2, 5)
    assert found[0, 0].tolist() == [[1.0, 0.125, 0.25, 0.5, 1.0], [-1.0] * 5]
    assert (found[0, 1] == -1).all()
    assert found[0, 2].tolist() == [[0.0, 0.0, 0.0, 1.0, 1.0], [1.0, 0.03125, 0.0, 0.0625, 0.0625]]
    source = ManifestSource(path, "elm")
    assert labels(source.entries(study), study, source) == (1, 1)


@pytest.mark.parametrize(("order", "steps"), [("raster", [0, 3]), ("hilbert", None)])
def test_a_box_stands_at_the_patch_of_its_centre(
    any_study: AnyStudy, save: Save, manifest: Written, order: str, steps: list[int] | None
) -> None:
    told = [[0, 0, 0, 4, 4], [1, 20, 18, 32, 32]]  # upper left, lower right of 32 x 32 pixels
    path = manifest([{"path": save("a.png", noise(32, 32)), "boxes": json.dumps(told)}])
    study = any_study("detection", {**PATCHES, "order": order}, data={"max_boxes": 1})
    found = targets(path, study)[0, :, 0]
    held = (found[:, 0] >= 0).nonzero().flatten().tolist()
    if steps is None:  # where the curve has the two corners
        from common.sequences import hilbert

        steps = sorted(hilbert(2).tolist().index(place) for place in (0, 3))
    assert held == steps
    whole = {tuple(found[step].tolist()) for step in held}
    assert whole == {(0.0, 0.0, 0.0, 0.125, 0.125), (1.0, 0.625, 0.5625, 1.0, 1.0)}


def test_boxes_are_drawn_around_the_segments_of_a_mask(
    any_study: AnyStudy, save: Save, manifest: Written
) -> None:
    drawn = np.zeros((2, 8, 8), np.uint8)
    drawn[0, 2:4, 1:6] = 7
    path = manifest([{"path": save("a.npy", noise(2, 8, 8)), "mask_path": save("m.npy", drawn)}])
    study = any_study("detection", FRAMES, {"7": "nodule"}, data={"max_boxes": 1})
    found = targets(path, study)
    assert found[0, 0].tolist() == [[0.0, 0.25, 0.125, 0.5, 0.75]] and (found[0, 1] == -1).all()
    source = ManifestSource(path, "elm")
    assert labels(source.entries(study), study, source) == (1,)


@pytest.mark.parametrize(
    ("boxes", "kind", "word"),
    [
        ("", TargetInvalid, "needs boxes"),
        ("nonsense", TargetInvalid, "lists in JSON"),
        ("{}", TargetInvalid, "lists in JSON"),
        ("[[1, 0, 0, 4, 4]]", TargetInvalid, "a box is"),
        ("[[[1, 0, 0, 4]]]", TargetInvalid, "a box is"),
        ("[[[5, 0, 0, 4, 4]]]", LabelUnknown, "class '5'"),
    ],
)
def test_what_is_no_box_is_refused_before_a_picture_is_read(
    any_study: AnyStudy, manifest: Written, boxes: str, kind: type[DataError], word: str
) -> None:
    study = any_study("detection", FRAMES)
    entries = ManifestSource(manifest([{"path": "a.npy", "boxes": boxes}]), "elm").entries(study)
    with pytest.raises(kind, match=word):
        site_cases(entries, "elm", study)


@pytest.mark.parametrize(
    ("boxes", "word"),
    [
        ("[[], []]", "boxes of 2 pictures, and there are 1"),
        ("[[[1, 0, 0, 9, 4]]]", "in a picture of 8 x 8"),
        ("[[[1, 4, 0, 4, 4]]]", "in a picture of 8 x 8"),
        ("[[[1, NaN, 0, 4, 4]]]", "in a picture of 8 x 8"),
        ('[[[1, "0", 0, 4, 4]]]', "are numbers"),
        ("[[[1, 0, 0, 4, 4], [1, 0, 0, 4, 4]]]", "2 boxes at step 0, and the study takes 1"),
    ],
)
def test_boxes_that_do_not_fit_the_pictures_are_refused(
    any_study: AnyStudy, save: Save, manifest: Written, boxes: str, word: str
) -> None:
    path = manifest([{"path": save("a.npy", noise(1, 8, 8)), "boxes": boxes}])
    with pytest.raises(TargetInvalid, match=word):
        targets(path, any_study("detection", FRAMES, data={"max_boxes": 1}))


# --- held, streamed and pooled


def test_targets_by_step_are_the_same_however_cases_are_held(
    any_study: AnyStudy, save: Save, manifest: Written
) -> None:
    rows = [
        {"path": save(f"{n}.npz", noise(n + 1, 8, 8)), "mask_path": save(f"m{n}.npz", mask(n + 1, 8, 8))}
        for n in range(3)
    ]
    study = any_study("segmentation", FRAMES, LABELS, data={"min_test_cases": 0})
    source = ManifestSource(manifest(rows), "elm")
    held = CaseCache().get(source, "train", study, CPU)
    streamed = CaseCache(limit_bytes=1).get(source, "train", study, CPU)
    assert isinstance(streamed, StreamedCases) and torch.equal(streamed.targets, held.targets)
    pooled = PooledCases([held, streamed])
    assert len(pooled) == 6 and torch.equal(pooled.targets, torch.cat([held.targets, held.targets]))
    index = torch.tensor([4, 0])
    assert torch.equal(pooled.take(index).targets, held.take(torch.tensor([1, 0])).targets)


def test_a_cache_tells_tasks_apart(any_study: AnyStudy, save: Save, manifest: Written) -> None:
    source = ManifestSource(manifest([{"path": save("a.png", noise(8, 8))}]), "elm")
    cache, data = CaseCache(), {"min_test_cases": 0}
    plain = cache.get(source, "train", any_study(data=data), CPU)
    drawn = cache.get(source, "train", any_study("generation", data=data), CPU)
    assert isinstance(plain, SequenceBatch) and isinstance(drawn, SequenceBatch)
    assert plain.steps.min() < 0 <= drawn.steps.min()  # standardised, and brightness


# --- subgroups


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("0", "0-17"), ("17.9", "0-17"), ("18", "18-39"), ("39", "18-39"), ("063Y", "40-64"), ("65", "65+"),
        ("149", "65+"), ("150", ""), ("-1", ""), ("nan", ""), ("", ""),
        ("old", ""), ("215M", "0-17"), ("216M", "18-39"), ("003W", "0-17"), ("010D", "0-17"),
        ("Y", ""), ("inf", ""), ("-1Y", ""),
    ],
)  # fmt: skip
def test_ages_become_bands(text: str, band: str) -> None:
    assert age_band(text) == band


def test_subgroups_stand_beside_the_entries(any_study: AnyStudy, manifest: Written) -> None:
    rows = [{"path": "a.png", "sex": "F", "age": "63"}, {"path": "b.png", "sex": "M"}, {"path": "c.png"}]
    entries = ManifestSource(manifest(rows), "elm").entries(any_study())
    found = {kind: groups.tolist() for kind, groups in subgroups(entries).items()}
    assert found == {"age": ["40-64", "", ""], "sex": ["F", "M", ""]}
