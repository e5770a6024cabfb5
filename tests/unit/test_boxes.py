"""Boxes: cells say them back, overlaps are those of areas, and of close boxes the best is kept."""

from __future__ import annotations

import pytest
import torch

from common.learning.boxes import Grid, decode, generalised_iou, iou, suppressed


def boxes(seed: int, count: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=random) * 0.7
    return torch.cat([low, low + 0.05 + 0.25 * torch.rand(count, 2, generator=random)], dim=1)


def test_cells_say_boxes_and_say_them_back() -> None:
    grid = Grid.of(3, 4, 1 / 3, 1 / 4)
    wanted = boxes(0, 12)
    torch.testing.assert_close(grid.boxes(grid.said(wanted)), wanted, atol=1e-6, rtol=0)


def test_cell_that_says_nothing_is_itself() -> None:
    grid = Grid.of(2, 2, 0.5, 0.5)
    expected = [[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0.5, 0.5, 1, 1]]
    assert grid.boxes(torch.zeros(4, 4)).tolist() == expected


def test_grid_in_another_order_has_the_same_cells() -> None:
    order = torch.tensor([0, 2, 3, 1])
    grid = Grid.of(2, 2, 0.5, 0.5)
    assert torch.equal(grid.in_order(order).centres, grid.centres[order])


def test_overlap_is_that_of_a_fine_raster() -> None:
    one, other = boxes(1, 6), boxes(2, 5)
    points = torch.cartesian_prod(torch.linspace(0, 1, 801), torch.linspace(0, 1, 801))

    def inside(given: torch.Tensor) -> torch.Tensor:
        return ((points[None] >= given[:, None, :2]) & (points[None] < given[:, None, 2:])).all(dim=2).float()

    both = inside(one) @ inside(other).T
    either = inside(one).sum(1)[:, None] + inside(other).sum(1)[None] - both
    torch.testing.assert_close(iou(one, other), both / either, atol=0.01, rtol=0)


def test_generalised_overlap_falls_on_where_boxes_part() -> None:
    here = torch.tensor([[0.0, 0.0, 0.2, 0.2]])
    near, far = torch.tensor([[0.0, 0.2, 0.2, 0.4]]), torch.tensor([[0.0, 0.8, 0.2, 1.0]])
    values = [float(generalised_iou(here, other)) for other in (here, near, far)]
    assert values == pytest.approx([1.0, 0.0, -0.6])


@pytest.mark.parametrize("seed", range(3))
def test_suppression_is_the_slow_one(seed: int) -> None:
    given = boxes(seed, 40)
    scores = torch.rand(40, generator=torch.Generator().manual_seed(seed))
    kept: list[int] = []
    for place in scores.argsort(descending=True).tolist():
        if all(float(iou(given[place : place + 1], given[other : other + 1])) <= 0.3 for other in kept):
            kept.append(place)
    assert suppressed(given, scores, 0.3).tolist() == kept


def test_boxes_of_two_classes_do_not_suppress_each_other() -> None:
    logits = torch.tensor([[3.0, 2.0], [2.5, -9.0], [-9.0, -9.0]])
    places = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.52], [0.0, 0.0, 1.0, 1.0]])
    found = decode(logits, places)
    assert found.classes.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx(torch.tensor([3.0, 2.0]).sigmoid().tolist())
    assert torch.equal(found.boxes, places[[0, 0]])


def test_no_more_boxes_than_asked_for_and_none_unlikely() -> None:
    places = Grid.of(10, 10, 0.1, 0.1).boxes(torch.zeros(100, 4))
    assert len(decode(torch.ones(100, 1), places, most=7).scores) == 7
    assert len(decode(torch.full((100, 1), -9.0), places).scores) == 0


def test_boxes_found_lie_in_the_picture() -> None:
    found = decode(torch.ones(1, 1), torch.tensor([[-0.2, 0.4, 0.5, 1.4]]))
    assert found.boxes.tolist() == [pytest.approx([0.0, 0.4, 0.5, 1.0])]
