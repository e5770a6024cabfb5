"""run.json as values; the only place in the report that knows the document's keys.

A number that is missing, null or not finite is None: undefined, never zero. Everything else that the
document's schema requires is taken as given, and a document without it raises KeyError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Number = float | None
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one receiver operating characteristic."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """Test cases for which the model was about equally sure."""

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Scores:
    """What one model scores on one set of test cases; the last three only at the end of a run."""

    n: int
    loss: Number
    accuracy: Number
    balanced_accuracy: Number
    auroc: Number
    f1: Number
    recall: Number
    precision: Number
    calibration_error: Number
    labels: Mapping[str, int]
    confusion: tuple[tuple[int, ...], ...] = ()
    roc: Mapping[str, Curve] = field(default_factory=dict)
    calibration: tuple[Bin, ...] = ()

    def value(self, metric: str) -> Number:
        """The metric of that name, or None where it is undefined."""
        value: Number = getattr(self, metric)
        return value


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on the test cases of all sites together and of each site."""

    pooled: Scores
    sites: Mapping[str, Scores]
    round: int | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What one site did in one round: ``loss`` is its mean training loss.

    ``epsilon`` is what the study has cost its units by then, for ``target_delta``; ``clip_norm`` where its
    clipping is adapted. The three are None without private training, ``loss`` with it.
    """

    cases: int
    loss: Number
    update_norm: Number
    epsilon: Number = None
    target_delta: Number = None
    clip_norm: Number = None


@dataclass(frozen=True, slots=True)
class Round:
    """One round: who took part, who did not and why, how the new model scores, and how late updates were.

    ``late`` has the sites whose late updates count, with the number of rounds that they were late.
    """

    number: int
    contributed: frozenset[str]
    missing: Mapping[str, str]
    training: Mapping[str, Share]
    metrics: Evaluation | None
    late: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Site:
    """What a site brought to the study."""

    train_cases: int
    train_patients: int
    test_cases: int
    test_patients: int
    train_labels: Mapping[str, int]
    test_labels: Mapping[str, int]
    device: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run did not end well, as told to people."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Baselines:
    """What the federated model is held against; ``local`` has one model per site that was trained alone."""

    pooled: Evaluation | None
    local: Mapping[str, Evaluation]


@dataclass(frozen=True, slots=True)
class SiteGuarantee:
    """The coordinator's noise, which hides whole sites; ``epsilon`` is what it cost after each round."""

    target_delta: float
    noise_multiplier: Number
    clip_norm: float
    planned_sites: int
    sample_rate: float
    epsilon: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Privacy:
    """What the run promises: ``unit`` is whose presence the sites' training hides, None if it hides none."""

    seeded: bool
    unit: str | None
    exceptions: tuple[str, ...]
    sites: SiteGuarantee | None


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run. ``document`` is kept for the values that are only printed."""

    document: Object
    status: str
    error: Failure | None
    classes: tuple[str, ...]
    sites: Mapping[str, Site]
    rounds: tuple[Round, ...]
    final: Evaluation | None
    baselines: Baselines | None
    privacy: Privacy | None = None

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.document["study"]["study"]["name"])

    @property
    def planned_rounds(self) -> int:
        """How many rounds the study asks for."""
        return int(self.document["study"]["federation"]["rounds"])

    @property
    def latest(self) -> Evaluation | None:
        """The final evaluation, or in a run that has none the last one of a round."""
        evaluated = [r.metrics for r in self.rounds if r.metrics]
        return self.final or (evaluated[-1] if evaluated else None)

    @property
    def headline(self) -> str:
        """The metric that speaks for a model: ``auroc``, or ``accuracy`` where that is undefined."""
        return "auroc" if self.latest is None or self.latest.pooled.auroc is not None else "accuracy"


def parse_run(document: Object) -> Run:
    """The run that a run.json describes."""
    error, final, baselines = document["error"], document["final"], document["baselines"]
    privacy = document.get("privacy")  # which the first release did not write
    return Run(
        document=document,
        status=document["status"],
        error=Failure(error["code"], error["message"], error["hint"]) if error else None,
        classes=tuple(document["classes"]),
        sites={name: _site(site) for name, site in document["sites"].items()},
        rounds=tuple(_round(item) for item in document["rounds"]),
        # A study may allow that no site has test cases; then its end was not evaluated.
        final=_evaluation(final, final["round"]) if final and final["pooled"] else None,
        baselines=_baselines(baselines) if baselines else None,
        privacy=_privacy(privacy) if privacy else None,
    )


def _privacy(item: Object) -> Privacy:
    sites = item["sites"]
    return Privacy(
        seeded=item["noise"] == "seeded",
        unit=item["unit"],
        exceptions=tuple(item["exceptions"]),
        sites=_site_guarantee(sites) if sites else None,
    )


def _site_guarantee(item: Object) -> SiteGuarantee:
    known = {field.name: item[field.name] for field in fields(SiteGuarantee)}
    return SiteGuarantee(**{**known, "epsilon": tuple(_number(value) for value in item["epsilon"])})


def _site(site: Object) -> Site:
    known = {item.name: site[item.name] for item in fields(Site)}
    return Site(**{**known, "notes": tuple(site["notes"])})


def _round(item: Object) -> Round:
    training = {name: _share(share) for name, share in item["training"].items()}
    metrics = _evaluation(item["metrics"], item["round"]) if item["metrics"] else None
    told = item.get("late", {}).items()
    late = {name: one["rounds_late"] for name, one in told if "rounds_late" in one}
    return Round(item["round"], frozenset(item["contributed"]), item["missing"], training, metrics, late)


def _share(item: Object) -> Share:
    return Share(item["cases"], *(_number(item.get(f.name)) for f in fields(Share) if f.name != "cases"))


def _evaluation(item: Object, number: int | None = None) -> Evaluation:
    sites = {name: _scores(scores) for name, scores in item["sites"].items()}
    return Evaluation(_scores(item["pooled"]), sites, number)


def _baselines(item: Object) -> Baselines:
    local = {name: model for name, scores in item["local"].items() if (model := _baseline(scores))}
    return Baselines(_baseline(item["pooled"]), local)


def _baseline(scores: Object | None) -> Evaluation | None:
    """A baseline's scores on all sites stand at its top level; without test cases it has none."""
    return _evaluation({"pooled": scores, "sites": scores["sites"]}) if scores and "n" in scores else None


def _scores(item: Object) -> Scores:
    roc = (item.get("roc") or {}).items()
    return Scores(
        n=item["n"],
        loss=_number(item["loss"]),
        accuracy=_number(item["accuracy"]),
        balanced_accuracy=_number(item["balanced_accuracy"]),
        auroc=_number(item["auroc"]),
        f1=_number(item["f1"]),
        recall=_number(item["recall"]),
        precision=_number(item["precision"]),
        calibration_error=_number(item["calibration_error"]),
        labels=item["labels"],
        confusion=tuple(tuple(row) for row in item.get("confusion") or ()),
        roc={name: Curve(tuple(c["fpr"]), tuple(c["tpr"])) for name, c in roc if c and c["fpr"]},
        calibration=_bins(item.get("calibration")),
    )


def _bins(calibration: Object | None) -> tuple[Bin, ...]:
    if not calibration:
        return ()
    columns = zip(calibration["confidence"], calibration["accuracy"], calibration["n"], strict=True)
    return tuple(Bin(sure, right, n) for sure, right, n in columns if n and sure is not None)


def _number(value: Any) -> Number:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
