"""The page that a physician looks at: for each case what the model says, and what that rests on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from client.explaining.contributions import Contributions
from client.explaining.courses import courses
from client.explaining.drawing import Layers, drawing_of, key_panels, layers_of
from client.explaining.explanation import Explanation
from client.explaining.path import histograms_of
from client.explaining.pictures import image_of, sheet
from client.explaining.variables import variables
from client.predicting.answer import Refused
from client.predicting.model import TrainedModel
from common.page.document import document, section
from common.page.header import KeyFigure, Standing, badge, header, key_figures
from common.page.markup import Child, Markup, joined, tag
from common.page.tables import Column, Row, table
from common.page.wording import capitalised, plural, signed
from common.study import PictureSequence

_STAYS = "This page shows patients' pictures or measurements. It stays in the hospital: do not send it on."
_LIMITS = (
    "Research software, no medical device. Red and blue show what moved this model, which need not be what "
    "is ill: a model may look at a marker, a tube or the edge of the picture."
)


def render(model: TrainedModel, found: Sequence[Explanation], refused: Sequence[Refused] = ()) -> str:
    """Explanations as one self-contained HTML document."""
    name = model.study.study.name
    return document(
        f"{name}: explanations",
        _header(model, found, refused),
        [
            section("refused", "Cases that were refused", _refused(refused)),
            *(_case(model, each, number) for number, each in enumerate(found, start=1)),
            section("reading", "How to read this page", _reading(model)),
        ],
        (_STAYS, _LIMITS),
        skip="Skip to the first case",
        package=__package__,
    )


def _header(model: TrainedModel, found: Sequence[Explanation], refused: Sequence[Refused]) -> Markup:
    doubtful = [each for each in found if not (each.sanity.passed and each.attribution.complete)]
    standing = Standing.warn if doubtful else Standing.good
    status = badge("look at the checks" if doubtful else "checks passed", standing)
    figures = (
        KeyFigure("Cases", str(len(found)), f"{len(refused)} refused" if refused else ""),
        KeyFigure("Model", model.digest[:12], "first digits of its digest"),
        KeyFigure("Checks failed", str(len(doubtful)), "completeness or weights"),
    )
    lede = f"What the model of study {model.study.study.name} says of {plural(len(found), 'case')}, and why."
    stays = tag("p", _STAYS, class_="stays")
    return header("Explanations", status, model.study.study.name, lede, stays, key_figures(figures))


def _refused(refused: Sequence[Refused]) -> Markup | None:
    if not refused:
        return None
    columns = (Column("Case"), Column("Code", words=True), Column("Why", words=True))
    return table("Refused", columns, [Row(r.name, (r.code, r.message)) for r in refused])


def _case(model: TrainedModel, found: Explanation, number: int) -> Markup | None:
    question, key = found.question, f"case-{number}"
    lede = tag("p", f"{question.said} Explained: {question.words}.")
    if isinstance(model.study.sequence, PictureSequence):
        shown = [_pictures(layers_of(model, found), found, key)]
    else:
        map_of = image_of(drawing_of(model, found), f"What each variable adds at each step, case {key}")
        figure = tag("figure", map_of, tag("figcaption", "What each variable adds, at each step"))
        shown = [tag("div", figure, class_="heat-map"), variables(Contributions.of(model.study, found))]
    parts: list[Child] = [lede, *shown, courses(found, key), _checks(found)]
    return section(key, f"{number}. {found.case.name}", joined(parts))


def _pictures(layers: Layers, found: Explanation, key: str) -> Markup:
    """The pictures of a case; where a part of one is explained, that one first, with a mark."""
    one, rows = len(layers.plain) == 1, list[Markup]()
    if one or found.question.place is not None:
        alts = ("The picture as the model reads it", "Attributions", "Evidence lost under a square")
        panels = key_panels(layers, found)
        rows.append(_figures([(p, w, a) for (w, p), a in zip(panels, alts, strict=True)], key, wide=False))
    if not one:
        shown = (
            (sheet(layers.plain), "As the model reads it", "All pictures as the model reads them"),
            (sheet(layers.attributed), "Integrated gradients", "Attributions in all pictures"),
            (sheet(layers.covered), "Occlusion", "Evidence lost under a square, in all pictures"),
        )
        rows.append(_figures(shown, key, wide=True))
    return joined(rows)


def _figures(shown: Sequence[tuple[NDArray[np.uint8], str, str]], key: str, *, wide: bool) -> Markup:
    """Pictures with their captions, side by side or each as wide as the page."""
    figures = (
        tag("figure", image_of(pixels, f"{alt}, case {key}"), tag("figcaption", capitalised(words)))
        for pixels, words, alt in shown
    )
    return tag("div", joined(figures), class_="figures-row wide" if wide else "figures-row")


def _checks(found: Explanation) -> Markup:
    attribution = found.attribution
    total = attribution.evidence - attribution.baseline
    rows = [
        Row("Log-odds of what is explained", (signed(attribution.evidence),)),
        Row("Log-odds of an even grey picture or empty record", (signed(attribution.baseline),)),
        Row("Difference that the attributions must add up to", (signed(total),)),
        Row(
            f"Missing in their sum ({attribution.nodes} points)",
            (signed(-attribution.gap),),
            None if attribution.complete else "warn",
        ),
        *(
            Row(f"Rank correlation with fresh weights: {words}", (signed(value),))
            for words, value in found.sanity.correlations.items()
        ),
    ]
    notes = [
        None if attribution.complete else "The attributions do not add up: read the red and blue with doubt.",
        None
        if found.sanity.passed
        else "The explanation hardly changes when all that was learnt is replaced: it shows the picture, "
        "not the model.",
    ]
    return table("Checks", (Column("Figure"), Column("Nats, or correlation")), rows, notes)


def _reading(model: TrainedModel) -> Markup:
    words = (
        "Red speaks for what is explained, blue against it, as strongly as the colour. Of a risk: red raises "
        "it, blue lowers it. A yellow line is around the pixels, or the box, that are explained.",
        _of_cells(model),
        "Integrated gradients start from an even grey picture (a record: nothing measured) and say what each "
        "pixel adds. Their sum is the difference of the log-odds; what is missing in it is told.",
        "Occlusion covers one square after another and says how much of the log-odds is lost. In a stack or "
        "clip it covers the square in all pictures at once.",
        "Attention is the share of each step in the verdict. Gates say how much a recurrent layer takes in "
        "and keeps at each step; they say when the model listens, not why.",
        "Fresh weights: an explanation that shows what the model has learnt changes when that is replaced. "
        "Some likeness stays, since attributions are multiplied by the picture itself; above 0.5 the page "
        "warns.",
    )
    return tag("ul", joined(tag("li", sentence) for sentence in words if sentence))


def _of_cells(model: TrainedModel) -> str | None:
    """What differs where a model reads histograms."""
    encoder = histograms_of(model.network)
    if encoder is None:
        return None
    side = f"{encoder.cell} x {encoder.cell} pixels"
    return (
        f"This model reads histograms of edges in cells of {side}, and no single pixels: red and blue are of "
        "whole cells, and where a square is covered the edges in it count as gone."
    )
