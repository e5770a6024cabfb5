"""run.json as values; with ``scores`` the only place in the report that knows the document's keys.

A number that is missing, null or not finite is None: undefined, never zero. Everything else that the
document's schema requires is taken as given, and a document without it raises KeyError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from common.metrics import Figure
from server.report.scores import Evaluation, Number, Object, evaluation_of, figures_of, number_of

_CASES = {"rows": "image", "patches": "image", "slices": "volume", "frames": "clip", "steps": "record"}


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
    figures: tuple[Figure, ...]
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
    def headline(self) -> Figure:
        """The figure that speaks for a model: the first one that is defined."""
        latest = self.latest
        defined = (f for f in self.figures if latest is None or latest.pooled.value(f.key) is not None)
        return next(defined, self.figures[0])

    @property
    def has_several_labels(self) -> bool:
        """Whether a case may have several of the classes, or none."""
        return bool(self.document["study"]["study"].get("several_labels", False))

    @property
    def is_classification(self) -> bool:
        """Whether every case has one class."""
        return self.task == "classification" and not self.has_several_labels

    @property
    def case(self) -> str:
        """What one case is, in a word: an image, a volume, a clip or a record."""
        return _CASES.get(str(self.document["study"]["sequence"]["kind"]), "case")

    @property
    def cases(self) -> str:
        """The same of several."""
        return f"{self.case}s"

    @property
    def counted(self) -> str:
        """What a test counts of each class: cases, or in a detection the boxes that are to be found."""
        return "boxes" if self.task == "detection" else self.cases

    @property
    def task(self) -> str:
        """What the study asks of its models."""
        return str(self.document["study"]["study"].get("task", "classification"))


def parse_run(document: Object) -> Run:
    """The run that a run.json describes."""
    error, final, baselines = document["error"], document["final"], document["baselines"]
    privacy = document.get("privacy")  # which the first release did not write
    return Run(
        document=document,
        status=document["status"],
        error=Failure(error["code"], error["message"], error["hint"]) if error else None,
        classes=tuple(document["classes"]),
        figures=figures_of(document),
        sites={name: _site(site) for name, site in document["sites"].items()},
        rounds=tuple(_round(item) for item in document["rounds"]),
        # A study may allow that no site has test cases; then its end was not evaluated.
        final=evaluation_of(final, final["round"]) if final and final["pooled"] else None,
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
    return SiteGuarantee(**{**known, "epsilon": tuple(number_of(value) for value in item["epsilon"])})


def _site(site: Object) -> Site:
    known = {item.name: site[item.name] for item in fields(Site)}
    return Site(**{**known, "notes": tuple(site["notes"])})


def _round(item: Object) -> Round:
    training = {name: _share(share) for name, share in item["training"].items()}
    metrics = evaluation_of(item["metrics"], item["round"]) if item["metrics"] else None
    told = item.get("late", {}).items()
    late = {name: one["rounds_late"] for name, one in told if "rounds_late" in one}
    return Round(item["round"], frozenset(item["contributed"]), item["missing"], training, metrics, late)


def _share(item: Object) -> Share:
    return Share(item["cases"], *(number_of(item.get(f.name)) for f in fields(Share) if f.name != "cases"))


def _baselines(item: Object) -> Baselines:
    local = {name: model for name, scores in item["local"].items() if (model := _baseline(scores))}
    return Baselines(_baseline(item["pooled"]), local)


def _baseline(scores: Object | None) -> Evaluation | None:
    """A baseline's scores on all sites stand at its top level; without test cases it has none."""
    return evaluation_of({"pooled": scores, "sites": scores["sites"]}) if scores and "n" in scores else None
