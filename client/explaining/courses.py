"""Attention, gates, and evidence along the steps of a case, as drawings."""

from __future__ import annotations

import torch

from client.explaining.explanation import Explanation
from common.page.drawings import drawing
from common.page.markup import Markup, joined, tag

_WIDTH, _HEIGHT, _TOP = 360.0, 90.0, 8.0


def courses(found: Explanation, key: str) -> Markup | None:
    """A drawing for each thing that is known of each step, or None where nothing is."""
    memory, known = found.memory, dict[str, torch.Tensor]()
    if memory.attention is not None:
        known["Attention"] = memory.attention
    known |= {f"Gate: {name}".replace(", backwards", " (backwards)"): g for name, g in memory.gates.items()}
    if found.occlusion.steps is not None:
        known["Evidence lost without the step"] = found.occlusion.steps
    drawn = [_course(f"{key}-{place}", name, values) for place, (name, values) in enumerate(known.items())]
    return tag("div", joined(drawn), class_="courses") if drawn else None


def _course(key: str, name: str, values: torch.Tensor) -> Markup:
    low, high = min(0.0, float(values.min())), max(float(values.max()), 1e-9)
    share = [(float(value) - low) / (high - low) for value in values]
    bottom, apart = _HEIGHT - _TOP, _WIDTH / max(1, len(share))
    corners = " ".join(
        f"{x:.1f},{_TOP + (1 - s) * (bottom - _TOP):.1f}"
        for index, s in enumerate(share)
        for x in (index * apart, (index + 1) * apart)
    )
    zero = _TOP + (1 + low / (high - low)) * (bottom - _TOP)
    strongest = int(values.argmax()) + 1
    least, most = float(values.min()), float(values.max())
    described = f"From {least:.3g} to {most:.3g}; most at step {strongest} of {len(values)}."
    body = drawing(
        key,
        name,
        described,
        (_WIDTH, _HEIGHT),
        tag("line", x1=0, x2=_WIDTH, y1=zero, y2=zero, class_="rule"),
        tag("polyline", points=corners, fill="none", class_="outline"),
    )
    return tag("figure", body, tag("figcaption", f"{name}. {described}"))
