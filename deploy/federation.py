"""A federation on this machine: which sites there are and where each one's cases come from.

Whatever the researcher points at (a manifest of real sites, one site to be dealt to several, a MedMNIST
``.npz``, tables of records) becomes a resolved manifest with absolute paths for each site, which is all that
it ever reads: no process of a simulation holds the rows of sites that it has no work for.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.cases import SiteCases, decode, patients, site_cases
from client.manifest import Condition, Manifest, Row, let_go, read_manifest, write_manifest
from client.site import Site
from client.sources import CohortSource, manifest_entries
from common.errors import (
    CohortUnsuitable,
    ManifestInvalid,
    ManifestMissing,
    PatientInTwoSplits,
    SitesOverruled,
    TooFewCases,
)
from common.seeds import derive_seed
from common.study import Study
from deploy.record_tables import RecordTables, read_tables

MANIFESTS = "manifests"
NPZ_SPLITS = ("train", "val", "test")
DIRICHLET_ALPHA = 1.0


@dataclass(frozen=True, slots=True)
class FederationData:
    """The sites of a federation with their cases, checked.

    Attributes:
        cases: Of each site by name.
        manifest: The resolved rows of the sites that have no cohort.
        cohorts: Where the cases of the others are.
    """

    cases: dict[str, SiteCases]
    manifest: Manifest
    cohorts: Mapping[str, CohortSource]

    def materialise(self, folder: Path, device: str) -> list[Site]:
        """Write a manifest for each site into ``folder``; the sites that read them, by name in order."""
        (folder / MANIFESTS).mkdir(exist_ok=True)
        return [self._site(name, folder, number, device) for number, name in enumerate(self.cases)]

    @property
    def loads(self) -> list[int]:
        """Training cases of each site, in the order of the sites."""
        return [len(cases.train) for cases in self.cases.values()]

    def units(self, study: Study) -> list[int]:
        """Training patients of each site, or training images where those are the study's unit of privacy."""
        images = study.privacy is not None and study.privacy.unit == "image"
        return [len(cases.train) if images else patients(cases.train) for cases in self.cases.values()]

    def _site(self, name: str, folder: Path, number: int, device: str) -> Site:
        cohort = self.cohorts.get(name)
        if cohort is None:
            manifest = folder / MANIFESTS / f"{number}.csv"  # its name may be none for a file
            write_manifest(manifest, self.manifest.of_site(name))
            return Site(name, str(manifest), device, share_scores=True)
        place: dict[str, Any] = {
            "home": str(cohort.home),
            "cohort": cohort.name,
            "fingerprint": cohort.fingerprint,
        }
        return Site(name, device=device, share_scores=True, **place)


def check_pictures(sites: Iterable[Site], study: Study) -> None:
    """Decode every picture of every site.

    Raises:
        DataError: The first that cannot be used, by file or case.
    """
    for site in sites:
        cases = site_cases(site.source.entries(study), site.name, study)
        for entry in (*cases.train, *cases.test):
            decode(site.source, [entry], study, torch.device("cpu"))


def bind(study: Study, cohorts: Mapping[str, CohortSource]) -> FederationData:
    """The federation of registered cohorts, every site checked against the study.

    Args:
        study: What is to be learnt.
        cohorts: Cohort of each site.

    Raises:
        DataError: A cohort cannot serve the study, serves two sites, or a patient is in two splits.
        HomeMissing: A site's home is not there.
    """
    bound = {site: replace(cohorts[site], fingerprint=cohorts[site].stamp()[2]) for site in sorted(cohorts)}
    places = [(source.home, source.name) for source in bound.values()]
    if len(set(places)) < len(places):
        raise CohortUnsuitable("one cohort is given to two sites, and its cases would count twice")
    cases = {site: site_cases(source.entries(study), site, study) for site, source in bound.items()}
    _check_splits(bound, cases)
    return FederationData(cases, Manifest.of(Path("/"), []), bound)


def _check_splits(cohorts: Mapping[str, CohortSource], cases: Mapping[str, SiteCases]) -> None:
    """A patient is in one split, in all cohorts of one home; under another home's key nobody can say."""
    trained = {(cohorts[s].home, e.patient) for s, of_site in cases.items() for e in of_site.train}
    tested = {(cohorts[s].home, e.patient) for s, of_site in cases.items() for e in of_site.test}
    if trained & tested:
        raise PatientInTwoSplits(
            f"{len(trained & tested)} patients are trained on in one cohort and tested on in another"
        )


def resolve(
    study: Study, data: Path, *, where: Sequence[Condition] = (), sites: int | None = None, seed: int = 0
) -> FederationData:
    """The federation that a manifest or ``.npz`` describes, every site checked against the study.

    Raises:
        DataError: The data cannot serve the study; the message names site and row.
    """
    if data.suffix == ".npz":
        rows, skewed = _npz_rows(data), True
    else:
        manifest, skewed = read_manifest(data, where), False
        rows = [_resolved(manifest.folder, row) for row in manifest.rows]
        let_go()
    return _checked(study, _at_sites(rows, sites, seed, skewed=skewed))


def resolve_tables(
    study: Study,
    tables: RecordTables,
    folder: Path,
    *,
    where: Sequence[Condition] = (),
    sites: int | None = None,
    seed: int = 0,
) -> FederationData:
    """The federation that tables of records describe, every site checked against the study.

    Args:
        study: Of a sequence of steps.
        tables: Where they are, and which column names the site.
        folder: Where the records of each site are written; it must last as long as the federation.
        where: Columns of either table and the value that they must have.
        sites: Deal the patients of one site to so many.
        seed: Decides who gets whom.

    Raises:
        DataError: The tables cannot serve the study.
    """
    read = read_tables(study, tables, where)
    return _checked(study, read.written(_at_sites(read.rows, sites, seed, skewed=False), folder))


def _at_sites(rows: Sequence[Row], sites: int | None, seed: int, *, skewed: bool) -> Sequence[Row]:
    """The rows at their own sites, or where those are one, dealt to as many as are asked for."""
    if sites is None:
        return rows
    names = sorted({row.site for row in rows})
    if len(names) > 1:
        raise SitesOverruled(f"the data have {len(names)} sites ({', '.join(names[:5])})")
    dealt = deal(rows, sites, seed, skewed=skewed)
    if len({row.site for row in dealt if row.split == "train"}) < sites:
        raise TooFewCases(f"{sites} sites, and fewer training patients than that")
    return dealt


def _checked(study: Study, rows: Iterable[Row]) -> FederationData:
    resolved = Manifest.of(Path("/"), rows)
    cases = {
        site: site_cases(manifest_entries(resolved, site, study), site, study) for site in resolved.sites
    }
    return FederationData(cases, resolved, {})


def deal(rows: Sequence[Row], sites: int, seed: int, *, skewed: bool) -> list[Row]:
    """Deal patients to ``site-1`` .. ``site-N``, the same patient always to one site.

    Args:
        rows: Rows of one site.
        sites: How many to deal to.
        seed: Decides who gets whom.
        skewed: Draw each class's shares from a Dirichlet distribution (Hsu et al. 2019, alpha 1), so
            that sites differ in size and prevalence; otherwise shares are even.
    """
    draw = np.random.default_rng(derive_seed(seed, "deal-sites"))
    groups: dict[tuple[str, str], list[str]] = {}
    for patient, row in sorted({row.patient_id: row for row in reversed(rows)}.items()):
        groups.setdefault((row.split, row.label), []).append(patient)
    shares = {
        label: draw.dirichlet([DIRICHLET_ALPHA] * sites) if skewed else np.full(sites, 1 / sites)
        for label in sorted({label for _, label in groups})
    }
    dealt: dict[str, list[list[str]]] = {split: [[] for _ in range(sites)] for split, _ in groups}
    for (split, label), members in sorted(groups.items()):
        # The offset keeps even shares even over several groups instead of favouring the first sites.
        ends = (np.cumsum(shares[label])[:-1] * len(members) + draw.random()).astype(int)
        for hand, chunk in zip(dealt[split], np.split(draw.permutation(len(members)), ends), strict=True):
            hand += [members[index] for index in chunk]
    for hands in dealt.values():
        _leave_none_empty(hands)
    width = len(str(sites))
    home = {
        p: f"site-{n:0{width}d}" for hands in dealt.values() for n, hand in enumerate(hands, 1) for p in hand
    }
    return [replace(row, site=home[row.patient_id]) for row in rows]


def _leave_none_empty(hands: list[list[str]]) -> None:
    """Whoever has nothing is given one by whoever has most, while there is more than one to give."""
    for hand in hands:
        most = max(hands, key=len)
        if not hand and len(most) > 1:
            hand.append(most.pop())


def _npz_rows(path: Path) -> list[Row]:
    """Rows of a MedMNIST ``.npz``: ``train_images``, ``train_labels`` and so on; an image is a patient."""
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            splits = [split for split in NPZ_SPLITS if f"{split}_images" in arrays]
            labels = {split: _one_label_each(arrays[f"{split}_labels"]) for split in splits}
    except OSError as error:
        raise ManifestMissing(f"{path}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ManifestInvalid(f"{path} is not a MedMNIST file: {error}") from None
    if not splits:
        raise ManifestInvalid(f"{path} has none of {', '.join(f'{s}_images' for s in NPZ_SPLITS)}")
    source = path.resolve()
    return [
        Row(f"{source}#{split}_images/{index}", "all", f"{split}-{index}", split, str(label), index)
        for split in splits
        for index, label in enumerate(labels[split])
    ]


def _one_label_each(labels: NDArray[Any]) -> list[Any]:
    if labels.ndim != 1 and labels.shape[1:] != (1,):
        raise ValueError(f"labels of shape {labels.shape}; one label a picture is read")
    return labels.reshape(-1).tolist()


def _resolved(folder: Path, row: Row) -> Row:
    """The row with absolute paths."""
    mask_path = _absolute(folder, row.mask_path) if row.mask_path else ""
    return replace(row, path=_absolute(folder, row.path), mask_path=mask_path)


def _absolute(folder: Path, path: str) -> str:
    file, mark, fragment = path.partition("#")
    return f"{(folder / file).resolve()}{mark}{fragment}"
