"""A generator learns what Gaussians of pixels cannot, and draws pictures that have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.sequences import SequenceBatch
from common.study import Study, parse_study
from deploy.rivals.generation import compare, main, nearest, read_cases, sheet

SIDE = 8


def halves(count: int, seed: int) -> SequenceBatch:
    """Dark pictures with a bright half: by chance upper or lower (class 0), left or right (class 1)."""
    generator = torch.Generator().manual_seed(seed)
    pictures = 0.2 + 0.02 * torch.randn(count, SIDE, SIDE, generator=generator)
    places = torch.randint(0, 2, (count,), generator=generator) * (SIDE // 2)
    for case, place in enumerate(places.tolist()):
        half = slice(place, place + SIDE // 2)
        pictures[case][(half, slice(None)) if case % 2 == 0 else (slice(None), half)] += 0.6
    levels = (pictures.clamp(0, 1) * 255).round() / 255
    return SequenceBatch(levels, torch.full((count,), SIDE), torch.arange(count) % 2)


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(
        {
            "study": {"name": "halves", "task": "generation", "labels": {"0": "level", "1": "upright"}},
            "sequence": {"size": SIDE},
            "model": {"hidden": 32},
            "training": {"learning_rate": 4e-3, "batch_size": 16, "schedule": "cosine", "local_epochs": 6},
            "federation": {"rounds": 2},
        }
    )


@pytest.mark.slow
def test_it_beats_the_gaussians_and_draws_halves_of_its_class(study: Study) -> None:
    found = compare(halves(256, seed=0), halves(64, seed=1), study, seed=0, each=12)
    generator, gaussian = (
        sums.figures(study.study.classes)["bits_per_dim"] for sums in (found.generator, found.gaussian)
    )
    assert generator < gaussian - 1.5
    # Of the class asked for: the halves that differ are upper and lower, or left and right.
    down, across = (found.drawn.mean(dim=dim).diff(dim=1).abs().amax(dim=1) for dim in (2, 1))
    right = torch.cat([(down > across)[:12], (across > down)[12:]])
    assert right.float().mean() > 0.75
    assert 0 < found.least_distance <= found.drawn_distance


def test_a_copy_is_at_no_distance() -> None:
    known = halves(16, seed=0).steps
    assert nearest(known[:4], known).max() < 1e-3
    assert nearest(halves(4, seed=5).steps, known).min() > 1e-3


def test_the_sheet_has_a_row_for_each_class() -> None:
    pictures = torch.stack([torch.full((2, 3), shade / 5) for shade in range(6)])
    pixels = np.asarray(sheet(pictures, rows=2, scale=2))
    assert pixels.shape == (8, 18)
    assert pixels[0, ::6].tolist() == [0, 51, 102] and pixels[4, ::6].tolist() == [153, 204, 255]


def test_the_command_writes_a_sheet_and_tells_both_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = tmp_path / "halves.npz", tmp_path / "sheet.png"
    arrays = {}
    for split, cases in (("train", halves(32, seed=0)), ("val", halves(16, seed=1))):
        arrays[f"{split}_images"] = (cases.steps * 255).round().to(torch.uint8).numpy()
        arrays[f"{split}_labels"] = cases.targets.numpy().reshape(-1, 1)
    np.savez(file, **arrays)
    torch.testing.assert_close(read_cases(file, "val").steps, halves(16, seed=1).steps)
    main(file, picture, epochs=1, hidden=4, most=24)
    told = capsys.readouterr().out
    assert "generator: " in told and "Gaussians of pixels: " in told and "on 16 pictures" in told
    with Image.open(picture) as drawn:
        assert drawn.size == (8 * SIDE * 4, 2 * SIDE * 4)
