"""A sliding-window detector: a small classifier of windows, slid over each picture in several sizes.

What one would build without recurrence and without learning where boxes are (as Dalal and Triggs 2005 did
with other features). It is trained on the same pictures and boxes as a detection study, and counted alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy, grid_sample

from common.learning.boxes import Found, decode, iou
from common.metrics.detection import DetectionSums, Tally, tally
from common.sequences import SequenceBatch

LOOK = 12
"""Side in pixels that every window is resampled to."""
AT_ONCE = 4096
"""Windows that are classified together."""


@dataclass(frozen=True, slots=True)
class Slide:
    """How windows are laid and learnt.

    Attributes:
        sizes: Quantiles of the training boxes' sides that windows are made in.
        step: From a window to the next one, as a share of its side.
        near: Windows learnt of each box besides itself.
        elsewhere: Windows of the background for each of a box.
        epochs: Of training.
        learning_rate: Of Adam.
        batch: Windows of a step.
        least_iou: A window that has so much in common with a box is one of its class.
        most_iou: One that has less than this with every box is background; between the two none is learnt.
    """

    sizes: tuple[float, ...] = (0.1, 0.5, 0.9)
    step: float = 0.25
    near: int = 4
    elsewhere: int = 6
    epochs: int = 10
    learning_rate: float = 2e-3
    batch: int = 128
    least_iou: float = 0.5
    most_iou: float = 0.2


class SlidingWindow:
    """A trained detector.

    Attributes:
        classes: Number of classes of boxes.
        windows: (S, 4) that each picture is looked at in.
    """

    def __init__(self, classes: int, windows: torch.Tensor) -> None:
        self.classes, self.windows = classes, windows
        self.network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.GroupNorm(4, 8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * (LOOK // 4) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, classes + 1),
        )

    @torch.no_grad()
    def found(self, picture: torch.Tensor) -> Found:
        """The boxes of one picture, (H, W)."""
        self.network.eval()
        parts = torch.split(self.windows, AT_ONCE)
        logits = torch.cat([self.network(seen(picture, part)) for part in parts])
        # Against the background and all other classes: what a score in a detection is.
        shares = logits.log_softmax(dim=1)[:, : self.classes]
        odds = shares - torch.log1p(-shares.exp().clamp(max=1 - 1e-6))
        return decode(odds, self.windows)

    def count(self, cases: SequenceBatch, frame: tuple[int, int], *, keep: bool) -> DetectionSums:
        """The counts of cases of ``frames`` or ``slices``, as a study's are, without a loss."""
        tallies = []
        for case, length in enumerate(cases.lengths.tolist()):
            counted = Tally.none(self.classes)
            for step in range(length):
                found = self.found(cases.steps[case, step].reshape(frame))
                counted += tally(*found.arrays(), cases.targets[case, step].numpy(), self.classes)
            tallies.append(counted)
        return DetectionSums.of(tallies, 0.0, self.classes, keep=keep)


def train_sliding_window(
    cases: SequenceBatch, frame: tuple[int, int], classes: int, seed: int, slide: Slide | None = None
) -> SlidingWindow:
    """A detector trained on all pictures of the cases.

    Args:
        cases: Of ``frames`` or ``slices``, with the targets of a detection; at least one box.
        frame: Height and width of a picture.
        classes: Number of classes of boxes.
        seed: Of weights, windows and their order.
        slide: How; None for the usual way.

    Raises:
        ValueError: There is no box to learn.
    """
    slide = slide or Slide()
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        detector = SlidingWindow(classes, _windows(cases.targets, slide))
    pixels, labels = _examples(cases, frame, detector, slide, random)
    optimizer = torch.optim.Adam(detector.network.parameters(), lr=slide.learning_rate)
    detector.network.train()
    for _ in range(slide.epochs):
        for index in torch.split(torch.randperm(len(labels), generator=random), slide.batch):
            loss = cross_entropy(detector.network(pixels[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return detector


def seen(picture: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
    """(M, 1, LOOK, LOOK) what (M, 4) windows show of a picture (H, W)."""
    places = (torch.arange(LOOK) + 0.5) / LOOK
    low, high = windows[:, :2], windows[:, 2:]
    down = low[:, :1] + (high - low)[:, :1] * places
    right = low[:, 1:] + (high - low)[:, 1:] * places
    shape = (len(windows), LOOK, LOOK)
    points = torch.stack([right[:, None, :].expand(shape), down[:, :, None].expand(shape)], dim=-1)
    pictures = picture[None, None].expand(len(windows), 1, *picture.shape)
    return grid_sample(pictures, 2 * points - 1, padding_mode="border", align_corners=False)


def _windows(targets: torch.Tensor, slide: Slide) -> torch.Tensor:
    """(S, 4) windows of several sizes over a picture; the sizes are those of the boxes to be learnt."""
    boxes = targets[targets[..., 0] >= 0][:, 1:]
    if not len(boxes):
        raise ValueError("no case has a box")
    high, wide = (boxes[:, 2:] - boxes[:, :2]).unbind(dim=1)
    shares = torch.tensor(slide.sizes)
    every = [
        _laid(float(h), float(w), slide.step)
        for h, w in zip(high.quantile(shares), wide.quantile(shares), strict=True)
    ]
    return torch.cat(every)


def _laid(high: float, wide: float, step: float) -> torch.Tensor:
    """(S, 4) windows of one size, side by side up to the last that fits."""
    down, right = (
        torch.linspace(0, 1 - side, max(2, math.ceil((1 - side) / (step * side)) + 1))
        for side in (high, wide)
    )
    corners = torch.cartesian_prod(down, right)
    return torch.cat([corners, corners + torch.tensor([high, wide])], dim=1)


def _examples(
    cases: SequenceBatch,
    frame: tuple[int, int],
    detector: SlidingWindow,
    slide: Slide,
    random: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, 1, LOOK, LOOK) windows with their (M,) classes; the last class is the background."""
    pixels, labels = [], []
    for case, length in enumerate(cases.lengths.tolist()):
        for step in range(length):
            true = cases.targets[case, step]
            chosen, classes = _chosen(true[true[:, 0] >= 0], detector.windows, slide, random)
            pixels.append(seen(cases.steps[case, step].reshape(frame), chosen))
            labels.append(torch.where(classes < 0, detector.classes, classes))
    return torch.cat(pixels), torch.cat(labels)


def _chosen(
    true: torch.Tensor, windows: torch.Tensor, slide: Slide, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of one picture to learn, boxes first, and their classes; -1 is the background."""
    common = iou(windows, true[:, 1:]) if len(true) else torch.zeros(len(windows), 1)
    best, which = common.max(dim=1)
    near, far = (best >= slide.least_iou).nonzero().squeeze(1), (best < slide.most_iou).nonzero().squeeze(1)
    near = near[torch.randperm(len(near), generator=random)[: slide.near * len(true)]]
    most = slide.elsewhere * max(1, len(near) + len(true))
    far = far[torch.randperm(len(far), generator=random)[:most]]
    chosen = torch.cat([true[:, 1:], windows[near], windows[far]])
    of_near = true[which[near], 0] if len(true) else torch.zeros(0)
    return chosen, torch.cat([true[:, 0], of_near, torch.full((len(far),), -1.0)]).long()
