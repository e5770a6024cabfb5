"""What a site's own installation says to its ClientApp: who it is, where its cases are, which device.

It reaches the app as Flower's node config, set at the site (``flower-supernode --node-config``), never by
the coordinator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.folds import Fold, FoldOfCohort, FoldOfManifest
from client.sources import CohortSource, ManifestSource, Source
from common.errors import ManifestMissing

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Site:
    """A site as its installation configures it.

    Attributes:
        name: Its name in the federation and in the manifest.
        manifest: Path of its manifest; empty where its cases are a registered cohort.
        home: The site's home, for a cohort.
        cohort: Name of the cohort.
        fingerprint: Which state of the cohort is meant; empty for whatever it is now.
        device: ``auto``, ``cpu`` or ``cuda:N``.
        share_scores: Send single test scores, for exact ranking metrics. Simulation only: a hospital
            sends histograms.
        ledger: File of the privacy ledger where it is not the cohort's own: virtual hospitals, rehearsals.
        budget_epsilon: What may be spent in that file; 0 for no limit.
        budget_delta: The delta of that budget.
        noise_seed: Seeds the privacy's noise and sampling; negative for none. Simulation only: with noise
            that is known a model is not private.
        state: Folder for what must outlive a task: checkpoints of training, residuals of codecs; empty for
            none.
        folds: File that says in which fold of a cross-validation each training patient is held out; empty for
            none. Simulation only.
        held_out: The fold that is tested on.
    """

    name: str
    manifest: str = ""
    device: str = "auto"
    share_scores: bool = False
    home: str = ""
    cohort: str = ""
    fingerprint: str = ""
    ledger: str = ""
    budget_epsilon: float = 0.0
    budget_delta: float = 1e-5
    noise_seed: int = -1
    state: str = ""
    folds: str = ""
    held_out: int = 0

    @property
    def source(self) -> Source:
        """Where its cases come from."""
        if self.folds:
            return self._fold(Fold(Path(self.folds), self.held_out))
        if self.cohort:
            return CohortSource(Path(self.home), self.cohort, self.fingerprint)
        return ManifestSource(Path(self.manifest), self.name)

    def _fold(self, fold: Fold) -> Source:
        if self.cohort:
            return FoldOfCohort(Path(self.home), self.cohort, self.fingerprint, fold=fold)
        return FoldOfManifest(Path(self.manifest), self.name, fold=fold)

    def node_config(self) -> dict[str, Scalar]:
        """The site as Flower's node config."""
        place: dict[str, Scalar] = (
            {"home": self.home, "cohort": self.cohort, "fingerprint": self.fingerprint}
            if self.cohort
            else {"manifest": self.manifest}
        )
        config = {"site": self.name, **place, "device": self.device, "share-scores": self.share_scores}
        if self.ledger:
            budget: dict[str, Scalar] = {
                "budget-epsilon": self.budget_epsilon,
                "budget-delta": self.budget_delta,
            }
            config |= {"ledger": self.ledger, **budget}
        if self.state:
            config["state"] = self.state
        if self.folds:
            config |= {"folds": self.folds, "held-out": self.held_out}
        return config if self.noise_seed < 0 else {**config, "noise-seed": self.noise_seed}


def site_of(node_config: Mapping[str, Scalar]) -> Site:
    """The site that a node config describes.

    Raises:
        ManifestMissing: It does not say which site this is or where its cases are.
    """
    if "site" not in node_config or not (
        "manifest" in node_config or {"home", "cohort"} <= node_config.keys()
    ):
        raise ManifestMissing(
            "the node config needs site=... and manifest=..., or home=... and cohort=...; see docs/flower.md"
        )
    return Site(
        name=str(node_config["site"]),
        manifest=str(node_config.get("manifest", "")),
        device=str(node_config.get("device", "auto")),
        share_scores=str(node_config.get("share-scores", "false")).lower() == "true",
        home=str(node_config.get("home", "")),
        cohort=str(node_config.get("cohort", "")),
        fingerprint=str(node_config.get("fingerprint", "")),
        ledger=str(node_config.get("ledger", "")),
        budget_epsilon=float(node_config.get("budget-epsilon", 0.0)),
        budget_delta=float(node_config.get("budget-delta", 1e-5)),
        noise_seed=int(node_config.get("noise-seed", -1)),
        state=str(node_config.get("state", "")),
        folds=str(node_config.get("folds", "")),
        held_out=int(node_config.get("held-out", 0)),
    )
