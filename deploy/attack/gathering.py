"""Whom to attack: one site of a study, with its cases decoded."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.cases import decode, unit_numbers
from client.devices import choose_device
from client.manifest import Condition
from common.errors import NoSuchSite
from common.private.plan import plan_of
from common.study import Study
from deploy.attack.finding import Claim
from deploy.attack.subject import Subject
from deploy.federation import FederationData, resolve
from deploy.launch import PHANTOM_SITES
from deploy.phantom import write_hospitals


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked to have attacked; see ``consilium privacy attack --help``."""

    study: Study
    data: Path | None = None
    where: Sequence[Condition] = ()
    sites: int | None = None
    site: str | None = None
    seed: int = 0
    device: str = "auto"


def gather(asked: Asked) -> Subject:
    """The site that is asked for, or the largest.

    Raises:
        StudyError: The study does not train privately at its sites.
        DataError: The data cannot serve it, or there is no such site.
    """
    device = choose_device(asked.device)
    plan_of(asked.study, 1)  # a study without privacy is told so before data are read
    with tempfile.TemporaryDirectory(prefix="consilium-") as scratch:
        data = _data(asked, Path(scratch))
        name = _chosen(asked, data)
        source = next(s.source for s in data.materialise(Path(scratch), asked.device) if s.name == name)
        train, test = data.cases[name].train, data.cases[name].test
        planned = plan_of(asked.study, _units(asked, data)[name])
        return Subject(
            study=asked.study,
            plan=planned,
            claim=Claim.of(planned),
            site=name,
            train=decode(source, train, asked.study, device),
            units=unit_numbers(train, planned.unit),
            test=decode(source, test, asked.study, device),
            test_units=unit_numbers(test, planned.unit),
            seed=asked.seed,
        )


def _data(asked: Asked, scratch: Path) -> FederationData:
    if asked.data is not None:
        return resolve(asked.study, asked.data, where=asked.where, sites=asked.sites, seed=asked.seed)
    manifest = write_hospitals(scratch / "phantom", sites=asked.sites or PHANTOM_SITES, seed=asked.seed)
    return resolve(asked.study, manifest, where=asked.where)


def _chosen(asked: Asked, data: FederationData) -> str:
    units = _units(asked, data)
    if asked.site is None:
        return max(units, key=lambda name: units[name])
    if asked.site not in units:
        raise NoSuchSite(f"there is no site {asked.site!r} among {', '.join(sorted(units)[:8])}")
    return asked.site


def _units(asked: Asked, data: FederationData) -> dict[str, int]:
    return dict(zip(data.cases, data.units(asked.study), strict=True))
