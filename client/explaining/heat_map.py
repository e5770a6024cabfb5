"""What a record's measurements add, as a picture: a line for each variable, a column for each step.

Red raises what is explained, blue lowers it. A dot says that the variable was measured then. Beside each line
stands what the variable adds in all, and what is lost without it; below all lines stand what each step adds,
and what is lost without the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.explaining.contributions import Contributions
from client.explaining.explanation import Explanation
from client.explaining.panels import Colour, font, plain
from client.explaining.pictures import AGAINST, FOR
from common.page.wording import plain as measure

SHOWN = 12
"""Variables that have a line of their own, those that add the most."""
SUMS = 2
"""Lines below, of the steps; their colours have their own scale, for sums are larger than parts."""
LINE, TOP, BOTTOM = 24, 64, 76
LEAST_COLUMN, MOST_COLUMN, PLOT = 4, 44, 420
"""Width of a step's column; the plot is about so wide, a long record's wider."""
NUMBERS = 76
"""Width of a column of numbers."""
FINER = 3
LETTERS = 13
INK: Colour = (40, 40, 40)
FAINT: Colour = (200, 200, 200)
GROUND: Colour = (255, 255, 255)


def heat_map(found: Contributions, explained: Explanation) -> NDArray[np.uint8]:
    """(H, W, 3) the contributions of a record."""
    return _Sheet.of(found, explained).drawn()


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of cells.

    Attributes:
        name: In front of it.
        cells: (T,) what each adds.
        dots: (T,) whether each was measured.
        numbers: Behind it, of each column of numbers; None for an empty cell.
        apart: Whether a gap stands above it.
    """

    name: str
    cells: list[float]
    dots: list[bool]
    numbers: tuple[float | None, float | None]
    apart: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Sheet:
    """A sheet with its lines; places are in pixels of the finished picture."""

    image: Image.Image
    pencil: ImageDraw.ImageDraw
    rows: list[_Row]
    title: tuple[str, str]
    times: tuple[float, ...]
    timed: bool
    left: float
    column: float

    @classmethod
    def of(cls, found: Contributions, explained: Explanation) -> _Sheet:
        """Large enough for all of it."""
        rows, count = _rows(found), len(found.times)
        title = (f"Explained: {explained.question.words}", _sum(explained))
        left = max(_reach(row.name) for row in rows) + 14.0
        column = min(MOST_COLUMN, max(LEAST_COLUMN, PLOT / count))
        needed = max(
            left + column * count + 2 * NUMBERS + 10, *(_reach(words) + 16.0 for words in title), 260
        )
        height = TOP + LINE * len(rows) + _gaps(rows, len(rows)) + BOTTOM
        image = Image.new("RGB", (FINER * int(needed + 1), FINER * int(height)), GROUND)
        return cls(image, ImageDraw.Draw(image), rows, title, found.times, found.timed, left, column)

    def drawn(self) -> NDArray[np.uint8]:
        """(H, W, 3) the finished picture."""
        for place, words in enumerate(self.title):
            self._write((8, 14 + 18 * place), words, "lm")
        strongest = _strongest(self.rows[:-SUMS]), _strongest(self.rows[-SUMS:])
        for place, row in enumerate(self.rows):
            self._row(row, self._y(place), strongest[place >= len(self.rows) - SUMS])
        right = self.left + self.column * len(self.times)
        for place, words in enumerate(("adds", "lost without it")):
            self._write((right + NUMBERS * (place + 1) + 4 * place, TOP - 10), words, "rm", LETTERS - 2)
        self._axis()
        self._legend(f"full colour: {measure(strongest[0])}, of the lowest two lines {measure(strongest[1])}")
        return np.asarray(self.image.reduce(FINER))

    def _row(self, row: _Row, y: float, strongest: float) -> None:
        middle = y + LINE / 2
        self._write((self.left - 8, middle), row.name, "rm")
        for step, (cell, dot) in enumerate(zip(row.cells, row.dots, strict=True)):
            x = self.left + step * self.column
            gap = 1 if self.column > 8 else 0
            self._box((x, y + 1, x + self.column - gap, y + LINE - 1), colour_of(cell, strongest))
            if dot:
                self._dot(x + (self.column - gap) / 2, middle)
        right = self.left + self.column * len(row.cells)
        for place, number in enumerate(row.numbers):
            if number is not None:
                self._write((right + NUMBERS * (place + 1) + 4 * place, middle), _signed(number), "rm")

    def _dot(self, x: float, y: float) -> None:
        wide = min(2.0, self.column / 3)
        self.pencil.ellipse([FINER * side for side in (x - wide, y - wide, x + wide, y + wide)], fill=INK)

    def _axis(self) -> None:
        """Times, or numbers of steps, below as many columns as have room for them."""
        y, words = self._y(len(self.rows)) + 12, [measure(time) for time in self.times]
        every = int(np.ceil((max(_reach(word) for word in words) + 10) / self.column))
        for step in range(0, len(words), every):
            self._write((self.left + (step + 0.5) * self.column, y), words[step], "mm")
        self._write((self.left - 8, y), "time" if self.timed else "step", "rm")

    def _legend(self, scale: str) -> None:
        x, y = 8.0, self._y(len(self.rows)) + 40
        for shades, words in ((FOR, "raises it"), (AGAINST, "lowers it")):
            self._box((x, y - 6, x + 12, y + 6), (int(shades[0]), int(shades[1]), int(shades[2])))
            self._write((x + 18, y), words, "lm")
            x += 18 + _reach(words) + 18
        self._dot(x + 4, y)
        self._write((x + 14, y), "measured", "lm")
        self._write((8, y + 20), scale, "lm", LETTERS - 2)

    def _y(self, place: int) -> float:
        return TOP + LINE * place + _gaps(self.rows, place + 1)

    def _box(self, sides: tuple[float, float, float, float], colour: Colour) -> None:
        left, top, right, bottom = (FINER * side for side in sides)
        self.pencil.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def _write(self, place: tuple[float, float], words: str, anchor: str, size: int = LETTERS) -> None:
        x, y = place
        self.pencil.text(
            (FINER * x, FINER * y), plain(words), fill=INK, font=font(FINER * size), anchor=anchor
        )


def colour_of(value: float, strongest: float) -> Colour:
    """White for nothing, red for what raises and blue for what lowers; all of it at ``strongest``."""
    share = min(1.0, abs(value) / strongest)
    shades = FOR if value > 0 else AGAINST
    red, green, blue = (round(255 + share * (shade - 255)) for shade in shades)
    return red, green, blue


def _rows(found: Contributions) -> list[_Row]:
    """A line for each of the strongest variables, one for all others, and two of the steps."""
    shown, places, steps = found.strongest(SHOWN), found.by_place, len(found.times)
    total = places.sum(0)
    rows = [
        _Row(
            found.names[v],
            places[:, v].tolist(),
            found.measured[:, v].tolist(),
            (float(total[v]), float(found.lost[v])),
        )
        for v in shown
    ]
    others = [v for v in range(len(found.names)) if v not in shown]
    no_dots = [False] * steps
    if others:
        own = places[:, others].sum(1)
        rows.append(_Row(f"{len(others)} others", own.tolist(), no_dots, (float(own.sum()), None)))
    all_steps = places.sum(1)
    rows.append(_Row("each step adds", all_steps.tolist(), no_dots, (float(all_steps.sum()), None), True))
    rows.append(_Row("lost without step", found.lost_steps.tolist(), no_dots, (None, None)))
    return rows


def _sum(explained: Explanation) -> str:
    found = explained.attribution
    return (
        f"log-odds {found.evidence:+.2f}; of an empty record {found.baseline:+.2f}; "
        f"all below adds {found.evidence - found.baseline:+.2f}"
    )


def _signed(number: float) -> str:
    """With its sign; 0.00 has none."""
    words = f"{number:+.2f}"
    return words if float(words) else words[1:]


def _strongest(rows: list[_Row]) -> float:
    return max(1e-9, *(abs(cell) for row in rows for cell in row.cells), 0.0)


def _gaps(rows: list[_Row], count: int) -> float:
    """Height of the gaps above the first ``count`` lines."""
    return 8.0 * sum(row.apart for row in rows[:count])


def _reach(words: str) -> int:
    """How wide words are, in pixels."""
    return int(font(LETTERS).getlength(plain(words))) + 2
