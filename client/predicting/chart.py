"""The course of a risk as a PNG file: how it rose and fell, and what became of the patient if that is known.

Time goes to the right, in the record's own units; of a clip or a stack, steps do. A risk holds until the next
step, and a dot is a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.explaining.panels import Colour, font, plain
from client.explaining.pictures import png_of
from client.predicting.case import Given
from client.predicting.model import TrainedModel
from client.predicting.risk import RiskAnswer
from client.predicting.truth import Outcome
from client.predicting.writing import made
from common.files import write_atomically

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 34, 44
"""Margins around the plot, in pixels."""
FINER = 3
"""It is drawn so much larger, and made smaller, so that edges are smooth."""
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
GROUND: Colour = (255, 255, 255)
INK: Colour = (40, 40, 40)
FAINT: Colour = (215, 215, 215)
COURSE: Colour = (0, 114, 178)
EVENT: Colour = (200, 70, 0)
ENDED: Colour = (110, 110, 110)


def write_chart(folder: Path, model: TrainedModel, case: Given, answer: RiskAnswer, number: int) -> Path:
    """Write the course of a case's risk as ``NUMBER.png``.

    Args:
        folder: Made if it is not there.
        model: The model.
        case: As it reads it.
        answer: What it says.
        number: Place of the case among the results.

    Raises:
        DiskFull, OutputUnwritable: It cannot be written.
        TargetInvalid: What a manifest says of its time is no time.
    """
    outcome = None if case.truth is None else case.truth.outcome(model.study)
    path = made(folder) / f"{number:04d}.png"
    write_atomically(path, png_of(chart(answer, outcome)))
    return path


def chart(answer: RiskAnswer, outcome: Outcome | None = None) -> NDArray[np.uint8]:
    """(HEIGHT, WIDTH, 3) the course of a risk.

    Args:
        answer: What the model says after each step.
        outcome: What became of the patient; None where not known.
    """
    times = answer.times or tuple(float(step) for step in range(1, 1 + len(answer.risks)))
    ended = outcome.time if outcome is not None and answer.times else None
    sheet = _Sheet.over(times, ended)
    sheet.axes("time" if answer.times else "step")
    if outcome is not None:
        sheet.outcome(outcome, ended)
    sheet.course(times, answer.risks)
    sheet.write((LEFT, 12), f"{answer.event}: {100 * answer.risks[-1]:.0f} % after the last step", INK, "lm")
    return sheet.pixels()


@dataclass(frozen=True, slots=True, eq=False)
class _Sheet:
    """A sheet and its scale; places are in pixels of the finished picture.

    Attributes:
        image: What is drawn on.
        pencil: What draws.
        start: Time at the left edge of the plot.
        end: Time at the right edge.
    """

    image: Image.Image
    pencil: ImageDraw.ImageDraw
    start: float
    end: float

    @classmethod
    def over(cls, times: tuple[float, ...], ended: float | None) -> _Sheet:
        """A white sheet whose scale shows all of the record, from its beginning or from 0."""
        image = Image.new("RGB", (FINER * WIDTH, FINER * HEIGHT), GROUND)
        start, last = min(0.0, times[0]), max(times[-1], times[-1] if ended is None else ended)
        end = last + 0.04 * (last - start) if last > start else start + 1.0
        return cls(image, ImageDraw.Draw(image), start, end)

    def axes(self, words: str) -> None:
        """Lines at parts of a whole, and times below."""
        for share in TICKS:
            y = self._y(share)
            self._line([(LEFT, y), (WIDTH - RIGHT, y)], FAINT, 1)
            self.write((LEFT - 6, y), f"{100 * share:.0f} %", INK, "rm")
        for time in _round_times(self.start, self.end):
            x = self._x(time)
            self._line([(x, self._y(0.0)), (x, self._y(0.0) + 4)], INK, 1)
            self.write((x, self._y(0.0) + 12), f"{time:g}", INK, "mm")
        self._line([(LEFT, self._y(0.0)), (WIDTH - RIGHT, self._y(0.0))], INK, 1)
        self.write((WIDTH - RIGHT, HEIGHT - 10), words, INK, "rm")

    def course(self, times: tuple[float, ...], risks: tuple[float, ...]) -> None:
        """The risk, from the first step on."""
        corners = [(self._x(times[0]), self._y(risks[0]))]
        for time, risk in zip(times[1:], risks[1:], strict=True):
            corners += [(self._x(time), corners[-1][1]), (self._x(time), self._y(risk))]
        if len(corners) > 1:
            self._line(corners, COURSE, 2)
        for time, risk in zip(times, risks, strict=True):
            x, y = self._x(time), self._y(risk)
            box = [FINER * side for side in (x - 3, y - 3, x + 3, y + 3)]
            self.pencil.ellipse(box, fill=COURSE)

    def outcome(self, outcome: Outcome, ended: float | None) -> None:
        """What became of the patient: in words, and where its time is known as a line."""
        colour = EVENT if outcome.event else ENDED
        if ended is None:
            words = outcome.name
        else:
            words = f"{outcome.name} {'at' if outcome.event else 'until'} {ended:.4g}"
            x = self._x(ended)
            self._line([(x, self._y(0.0)), (x, self._y(1.0))], colour, 2)
        self.write((WIDTH - RIGHT, 12), f"in truth: {words}", colour, "rm")

    def write(self, place: tuple[float, float], words: str, colour: Colour, anchor: str) -> None:
        """Words at a place, which is where ``anchor`` of them lies, as Pillow names it."""
        x, y = place
        letters = font(FINER * 13)
        self.pencil.text((FINER * x, FINER * y), plain(words), fill=colour, font=letters, anchor=anchor)

    def pixels(self) -> NDArray[np.uint8]:
        """(HEIGHT, WIDTH, 3) the finished picture."""
        return np.asarray(self.image.reduce(FINER))

    def _line(self, corners: list[tuple[float, float]], colour: Colour, width: int) -> None:
        finer = [(FINER * x, FINER * y) for x, y in corners]
        self.pencil.line(finer, fill=colour, width=FINER * width)

    def _x(self, time: float) -> float:
        return LEFT + (time - self.start) / (self.end - self.start) * (WIDTH - LEFT - RIGHT)

    def _y(self, share: float) -> float:
        return TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM)


def _round_times(start: float, end: float) -> list[float]:
    """Three to six round numbers from start to end."""
    rough = (end - start) / 5
    size = 10.0 ** np.floor(np.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first = np.ceil(start / step)
    return [float(step * number) for number in np.arange(first, np.floor(end / step) + 1)]
