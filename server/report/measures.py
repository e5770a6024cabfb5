"""What a study did about small sets, rare classes and drift between rounds, and what it did not, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

RARE = 0.2
"""Share of all training cases below which a class is rare, where two classes would have half each."""


def measures(study: Mapping[str, Any]) -> list[str]:
    """What a study asks of training beyond plain steps over its cases.

    Args:
        study: As it stands in run.json; of an older release it may lack keys.
    """
    return [*_of_training(study["training"]), *_of_pictures(study.get("augmentation") or {})]


def imbalance(run: Mapping[str, Any]) -> str | None:
    """That a class is rare and nothing was done about it; None where that is not so.

    Args:
        run: A run.json.
    """
    training = run["study"]["training"]
    if training["class_weights"] != "none" or training.get("sampling", "natural") != "natural":
        return None
    counts: Counter[str] = Counter()
    for site in run["sites"].values():
        counts.update(site.get("train_labels") or {})
    rarest = min(counts, key=counts.__getitem__, default=None)
    if rarest is None or counts[rarest] * len(counts) >= 2 * RARE * counts.total():
        return None
    return (
        f"{100 * counts[rarest] / counts.total():.0f} % of the training cases are {rarest}, and all counted "
        f'alike; training.class_weights = "balanced" or training.sampling = "balanced" changes that'
    )


def _of_training(training: Mapping[str, Any]) -> Iterator[str]:
    if training.get("optimizer_state") == "kept":
        yield "optimisers went on where their last round ended"
    if training["schedule"] != "constant":
        yield f"learning rate by {training['schedule']} schedule"
    if training.get("warmup_rounds"):
        yield f"learning rate rising until round {training['warmup_rounds']:g}"
    if training.get("loss") == "focal":
        yield f"focal loss, gamma {training['focal_gamma']:g}"
    if training.get("label_smoothing"):
        yield f"labels smoothed by {training['label_smoothing']:g}"
    if training["class_weights"] == "balanced":
        yield "classes weighted by their counts"
    if training.get("sampling") == "balanced":
        yield "classes drawn equally often, then their patients"


def _of_pictures(augmentation: Mapping[str, Any]) -> Iterator[str]:
    asked = {name: value for name, value in augmentation.items() if value not in (0, "none")}
    if asked:
        words = (
            f"{name} {value if isinstance(value, str) else format(value, 'g')}"
            for name, value in asked.items()
        )
        yield f"cases changed at random ({', '.join(words)})"
