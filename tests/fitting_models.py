"""A model that a task and a sequence go with, for tests that are about something else."""

from __future__ import annotations


def model_for(task: str, kind: str) -> dict[str, str]:
    """The table ``[model]``; empty where the default will do."""
    maps = task in ("segmentation", "detection") and kind in ("frames", "slices", "views")
    return {"encoder": "cnn", "cell": "conv_gru"} if maps else {}
