"""How a study with patience ended, in words, for the report and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def stopping_words(document: Mapping[str, Any]) -> str:
    """One sentence about why which model was kept; empty for a study that keeps its last one anyway.

    Args:
        document: A run.json.
    """
    final = document["final"] or {}
    told = final.get("stopping")
    if not told:
        return ""
    best, after = final["round"], told["stopped_after"]
    if after is not None:
        return f"stopped after round {after}: no better on validation since round {best}"
    if told["value"] is None:
        return "no round had a figure on validation; the last model is kept"
    return f"not stopped early; the model of round {best} is kept, the best on validation"
