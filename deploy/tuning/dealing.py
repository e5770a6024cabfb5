"""Training patients dealt to folds, within each site or one at a time.

Invariant: a patient is in one fold, with all cases, at all sites that know the patient by the same name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from client.sources import Entry
from common.errors import TooFewCases
from common.seeds import derive_seed
from deploy.federation import FederationData

Known = tuple[str, str]
"""Who keeps a patient's name (a home, or "" for a manifest), and that name."""


@dataclass(frozen=True, slots=True)
class Dealing:
    """The fold in which each training patient is held out, by site.

    Attributes:
        folds: How many there are.
        sites: Fold of each patient of each site.
    """

    folds: int
    sites: Mapping[str, Mapping[str, int]]

    @property
    def digest(self) -> str:
        """SHA-256 in hex: another for other sites, patients or folds."""
        text = json.dumps({site: dict(held) for site, held in self.sites.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def deal_folds(data: FederationData, folds: int, seed: int, *, all_train: bool = True) -> Dealing:
    """The training patients of every site, dealt to folds.

    Each run of as many patients of like label as there are folds is dealt one to each fold, in an order that
    follows from ``seed``: folds are even, and so are their shares of each label.

    Args:
        data: The federation.
        folds: How many, at least 2.
        seed: Decides who is in which.
        all_train: Whether no fold may hold every patient of a site, so that all sites train in all folds.

    Raises:
        TooFewCases: Not all sites could train in all folds, or there are more folds than patients.
    """
    known: dict[Known, int] = {}
    dealt: dict[str, dict[str, int]] = {}
    for site, cases in data.cases.items():
        keeper, labels = _keeper(data, site), _labels(cases.train)
        new = [patient for patient in sorted(labels) if (keeper, patient) not in known]
        drawn = _drawn([labels[patient] for patient in new], folds, derive_seed(seed, "deal-folds", site))
        known |= {(keeper, patient): fold for patient, fold in zip(new, drawn, strict=True)}
        dealt[site] = {patient: known[keeper, patient] for patient in sorted(labels)}
    if all_train:
        _check_trained(dealt)
    _check_used(dealt, folds)
    return Dealing(folds, dealt)


def deal_patients(data: FederationData) -> Dealing:
    """A fold for every training patient, in the order of the sites and of their patients' names."""
    known: dict[Known, int] = {}
    dealt: dict[str, dict[str, int]] = {}
    for site, cases in data.cases.items():
        keeper, names = _keeper(data, site), sorted({entry.patient for entry in cases.train})
        dealt[site] = {name: known.setdefault((keeper, name), len(known)) for name in names}
    return Dealing(len(known), dealt)


def _keeper(data: FederationData, site: str) -> str:
    return str(data.cohorts[site].home) if site in data.cohorts else ""


def _labels(entries: Sequence[Entry]) -> dict[str, str]:
    """One label of each patient, whatever the order of its cases."""
    found: dict[str, str] = {}
    for entry in entries:
        found[entry.patient] = min(found.get(entry.patient, entry.label), entry.label)
    return found


def _drawn(labels: Sequence[str], folds: int, seed: int) -> list[int]:
    """A fold for each patient."""
    draw = np.random.default_rng(seed)
    order = sorted(draw.permutation(len(labels)).tolist(), key=lambda index: labels[index])
    found = [0] * len(labels)
    for start in range(0, len(order), folds):
        run = order[start : start + folds]
        for index, fold in zip(run, draw.permutation(folds).tolist(), strict=False):
            found[index] = fold
    return found


def _check_trained(dealt: Mapping[str, Mapping[str, int]]) -> None:
    for site, held in dealt.items():
        if len(set(held.values())) < 2:
            raise TooFewCases(
                f"site {site!r} has {len(held)} training patients, all of one fold; nobody would be left to "
                "train on",
                hint="Leave the site out of the search, with --where, or take another --seed.",
            )


def _check_used(dealt: Mapping[str, Mapping[str, int]], folds: int) -> None:
    used = {fold for held in dealt.values() for fold in held.values()}
    if len(used) < folds:
        raise TooFewCases(
            f"{folds} folds, and training patients for {len(used)} of them only", hint="Lower --folds."
        )
