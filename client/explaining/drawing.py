"""An explanation as one picture: of pictures what spoke where, of a record what added how much when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.explaining.contributions import Contributions
from client.explaining.explanation import Explanation
from client.explaining.heat_map import heat_map
from client.explaining.marks import MARK, marked
from client.explaining.occlusion import field_of
from client.explaining.overlay import legend_of, shown_values
from client.explaining.panels import Entry, panelled
from client.explaining.pictures import LEAST_EDGE, grey_of, overlaid, sheet, strongest_of
from client.predicting.model import TrainedModel
from common.study import PictureSequence

SMALL_EDGE = 96
"""Pixels of a picture's longer side, at least, where all of a case stand side by side."""

Panel = tuple[str, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The pictures of a case, T' of them, each (H, W, 3).

    Attributes:
        plain: As the model reads them.
        attributed: Under integrated gradients.
        covered: Under occlusion.
        picture: The one to look at first: where the explained stands, else where most is attributed.
    """

    plain: list[NDArray[np.uint8]]
    attributed: list[NDArray[np.uint8]]
    covered: list[NDArray[np.uint8]]
    picture: int


def layers_of(model: TrainedModel, found: Explanation) -> Layers:
    """The pictures of an explained case."""
    sequence, lost = model.study.sequence, found.occlusion.parts
    assert isinstance(sequence, PictureSequence)  # noqa: S101  records have none
    greys = [grey_of(field) for field in field_of(found.case.steps, sequence)]
    values = shown_values(found.attribution.values, sequence)
    strongest, place = strongest_of(values), found.question.place
    most = int(values.abs().sum(dim=(1, 2)).argmax())
    return Layers(
        plain=[np.stack([grey] * 3, axis=2) for grey in greys],
        attributed=[overlaid(grey, own, strongest) for grey, own in zip(greys, values, strict=True)],
        covered=[overlaid(grey, lost, strongest_of(lost)) for grey in greys],
        picture=most if place is None else place.picture,
    )


def drawing_of(model: TrainedModel, found: Explanation) -> NDArray[np.uint8]:
    """(H, W, 3) the explanation of a case."""
    if not isinstance(model.study.sequence, PictureSequence):
        return heat_map(Contributions.of(model.study, found), found)
    layers, place, count = layers_of(model, found), found.question.place, len(found.case.steps)
    first = panelled(key_panels(layers, found), () if len(layers.plain) > 1 else _legend(found))
    if len(layers.plain) == 1:
        return first
    whole = sheet([marked(p, place, i, SMALL_EDGE) for i, p in enumerate(layers.attributed)])
    words = f"integrated gradients, all {count} pictures"
    return _stacked([first, panelled([(words, whole)], _legend(found))])


def key_panels(layers: Layers, found: Explanation) -> list[Panel]:
    """The picture to look at first, as it is and under what was found, with the mark that it has."""
    named = f"picture {layers.picture + 1}, " if len(layers.plain) > 1 else ""
    shown = (
        (f"{named}as the model reads it", layers.plain),
        ("integrated gradients", layers.attributed),
        ("occlusion", layers.covered),
    )
    place, own = found.question.place, layers.picture
    return [(words, marked(pictures[own], place, own, LEAST_EDGE)) for words, pictures in shown]


def _legend(found: Explanation) -> list[Entry]:
    place, entries = found.question.place, legend_of(found.target)
    if place is None:
        return entries
    box = place.box
    words = f"what is explained: {found.target}" + ("" if box is None else f", score {box.score:.2f}")
    return [*entries, (MARK, words)]


def _stacked(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """One below the other, on black."""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([np.pad(p, ((0, 6), (0, width - p.shape[1]), (0, 0))) for p in pictures])
