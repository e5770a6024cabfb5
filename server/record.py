"""run.json: what happened in a run, written whole after every round.

``docs/run.schema.json`` is its schema.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from common import __version__
from common.errors import ConsiliumError
from common.files import written_atomically
from common.metrics import EvaluationSums, intervals, sums_kind
from common.study import Study, digest
from common.tasks import Evaluation, SiteDescription
from common.update import Contribution
from common.weights import norm
from server.gate import Score
from server.guarantee import Noise, guarantee
from server.rounds import TrainedRound
from server.strategies import weight_of

SCHEMA = 1
RUN_FILE = "run.json"
PIECES = 4096
MOST_DRAWN = 20
"""Sites for which intervals are measured, each of them and all together: many take long."""
Status = Literal["running", "completed", "failed", "interrupted"]


@dataclass(slots=True)
class RunRecord:
    """A run so far. Its fields are those of run.json; ``noise`` stands there in ``privacy``."""

    study: Study
    seed: int
    engine: str
    noise: Noise = "secret"
    status: Status = "running"
    error: dict[str, str] | None = None
    sites: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, Any] | None = None
    baselines: dict[str, Any] | None = None
    files: dict[str, Any] = field(default_factory=dict)
    privacy: dict[str, Any] | None = field(init=False)
    started_at: str = field(default_factory=lambda: _now())
    finished_at: str | None = None
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.privacy = guarantee(self.study, self.noise)

    def resume(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Take over what :meth:`entry` gave of each round that an earlier process finished."""
        self.rounds = [dict(entry["round"]) for entry in entries]
        if entries:
            self.final, self.privacy = entries[-1]["final"], entries[-1]["privacy"]
            self.started_at = entries[-1]["started_at"]

    def entry(self) -> dict[str, Any]:
        """All that the last round has left here, for :meth:`resume`."""
        return {
            "round": self.rounds[-1],
            "final": self.final,
            "privacy": self.privacy,
            "started_at": self.started_at,
        }

    def describe_sites(self, descriptions: Mapping[str, SiteDescription]) -> None:
        """Enter what each site said of itself."""
        classes = self.study.study.classes
        for site in sorted(descriptions):
            said = asdict(descriptions[site])
            for split in ("train_labels", "test_labels"):
                said[split] = dict(zip(classes, said[split], strict=True))
            del said["site"]
            if said["val_cases"] is None:
                del said["val_cases"]
            self.sites[site] = {**said, "notes": descriptions[site].notes(classes)}

    def enter_round(
        self,
        number: int,
        duration_s: float,
        trained: TrainedRound,
        metrics: dict[str, Any] | None,
        validation: dict[str, Any] | None = None,
    ) -> None:
        """Enter a finished round."""
        late = _late(number, trained)
        self.rounds.append(
            {
                "round": number,
                "duration_s": round(duration_s, 4),
                "contributed": [c.site for c in trained.contributions],
                "missing": dict(trained.missing),
                "model_digest": trained.model_digest,
                "training": {c.site: self._share(c) for c in trained.contributions},
                "scores": {s.site: _score(s) for s in trained.scores},
                "metrics": metrics,
                **({"validation": validation} if validation else {}),
                **({"late": late} if late else {}),
            }
        )
        self._enter_privacy(trained)

    def _share(self, contribution: Contribution) -> dict[str, Any]:
        """What one site did in one round; figures of privacy and of work by time only where there are any."""
        optional = ("epsilon", "target_delta", "clip_norm", "steps")
        spent = {name: getattr(contribution, name) for name in optional}
        hidden = self.privacy is not None and self.privacy["sites"] is not None
        return {
            "cases": contribution.cases,
            "loss": contribution.loss,
            "update_norm": None if hidden else norm(contribution.delta),
            **{name: value for name, value in spent.items() if value is not None},
        }

    def _enter_privacy(self, trained: TrainedRound) -> None:
        if self.privacy is None:
            return
        self.privacy["ledger_heads"] |= {
            c.site: c.ledger_head for c in trained.contributions if c.ledger_head
        }
        if trained.site_spending is not None:
            spent = trained.site_spending
            self.privacy["sites"]["noise_multiplier"] = spent.event.noise_multiplier
            # JSON has no infinity: null where the noise is too little for any guarantee.
            self.privacy["sites"]["epsilon"].append(spent.epsilon if math.isfinite(spent.epsilon) else None)

    def close(self, status: Status, error: ConsiliumError | None = None) -> None:
        """Say how the run ended."""
        self.status = status
        self.finished_at = _now()
        if error is not None:
            self.error = described(error)

    def to_dict(self) -> dict[str, Any]:
        """The document."""
        return {
            "schema": SCHEMA,
            "consilium": __version__,
            "study": self.study.model_dump(mode="json"),
            "study_digest": digest(self.study),
            "seed": self.seed,
            "engine": self.engine,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "duration_s": round(time.monotonic() - self._began, 3),
            "status": self.status,
            "error": self.error,
            "classes": list(self.study.study.classes),
            "figures": [asdict(figure) for figure in sums_kind(self.study).FIGURES],
            "sites": self.sites,
            "rounds": self.rounds,
            "final": self.final,
            "baselines": self.baselines,
            "files": self.files,
            "privacy": self.privacy,
        }

    def write(self, folder: Path) -> None:
        """Put the document into ``folder``."""
        write_run(folder, self.to_dict())


def _late(number: int, trained: TrainedRound) -> dict[str, Any]:
    """Updates of earlier rounds that came in this one: with what weight, or why they do not count."""
    used = {
        c.site: {"trained_for": c.round, "rounds_late": number - c.round, "weight": weight_of(c, number)}
        for c in trained.contributions
        if c.round < number
    }
    return {**{site: {"refused": reason} for site, reason in trained.late.items()}, **used}


def _score(score: Score) -> dict[str, Any]:
    """What the gate saw in one update, but for what stands elsewhere."""
    told = asdict(score)
    return {name: told[name] for name in ("factor", "z", "cosine", "mark", "refused")}


def described(error: ConsiliumError) -> dict[str, str]:
    """An error as run.json carries it."""
    return {"code": error.code, "message": error.private, "hint": error.hint}


def read_run(folder: Path) -> dict[str, Any] | None:
    """The run.json of a folder, or None while there is none."""
    try:
        document: dict[str, Any] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return document


def write_run(folder: Path, document: Mapping[str, Any]) -> None:
    """Write run.json atomically."""
    with written_atomically(folder / RUN_FILE) as file:
        # Piece by piece: of thousands of sites, the text as a whole is larger than what it is made of.
        pieces = json.JSONEncoder(indent=1, allow_nan=False).iterencode(document)
        while some := "".join(islice(pieces, PIECES)):
            file.write(some.encode())
        file.write(b"\n")


def pooled_and_sites(
    evaluations: Mapping[str, EvaluationSums],
    classes: tuple[str, ...],
    *,
    curves: bool = False,
    single: bool = True,
) -> dict[str, Any] | None:
    """Metrics over all sites together and of each, or None where nobody counted.

    Args:
        evaluations: Each site's counts.
        classes: Names of the study's classes.
        curves: Give what the report draws, too.
        single: Give each site's metrics, too.
    """
    if not evaluations:
        return None
    first, *_ = evaluations
    total = type(evaluations[first]).total(evaluations[site] for site in sorted(evaluations))
    pooled = total.figures(classes)
    sites = {site: evaluations[site].figures(classes) for site in sorted(evaluations)} if single else {}
    if curves:
        pooled |= {**total.curves(classes), **drawn_intervals(evaluations.values(), classes)}
        for site in list(sites)[:MOST_DRAWN]:
            sites[site] |= drawn_intervals([evaluations[site]], classes)
    return {"pooled": pooled, "sites": sites}


def drawn_intervals(parts: Collection[EvaluationSums], classes: tuple[str, ...]) -> dict[str, Any]:
    """Intervals as run.json carries them; nothing where there are none."""
    # Of many sites the counts are taken out one by one: all of them at a time are more than the study itself.
    found = intervals(list(parts), classes) if len(parts) <= MOST_DRAWN else {}
    return {"intervals": found} if found else {}


class SumsOf(Mapping[str, EvaluationSums]):
    """The counts alone of some evaluations, each one taken out when it is asked for."""

    def __init__(self, evaluations: Mapping[str, Evaluation]) -> None:
        self._evaluations = evaluations

    def __getitem__(self, site: str) -> EvaluationSums:
        return self._evaluations[site].sums

    def __iter__(self) -> Iterator[str]:
        return iter(self._evaluations)

    def __len__(self) -> int:
        return len(self._evaluations)


def sums_of(evaluations: Mapping[str, Evaluation]) -> SumsOf:
    """The counts alone."""
    return SumsOf(evaluations)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
