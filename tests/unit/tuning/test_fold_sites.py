"""A site is told of its fold as of all else, and its cases are then those of the fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from client.cases import patients, site_cases
from client.site import Site, site_of
from client.sources import CohortSource
from common.study import Study
from deploy.federation import resolve
from deploy.tuning.dealing import Dealing, deal_folds
from deploy.tuning.stage import Stage

MakeStudy = Callable[..., Study]


def test_a_fold_reaches_the_app_through_the_node_config() -> None:
    site = Site("alder", "manifest.csv", folds="folds.json", held_out=2)
    assert site_of(site.node_config()) == site
    cohort = Site("alder", home="home", cohort="chest", fingerprint="f", folds="folds.json", held_out=1)
    assert site_of(cohort.node_config()) == cohort
    assert isinstance(cohort.source, CohortSource) and cohort.source.fingerprint == "f"


def test_a_site_without_a_fold_says_nothing_of_one() -> None:
    assert not {"folds", "held-out"} & Site("alder", "manifest.csv").node_config().keys()


def test_every_fold_of_a_stage_has_its_own_cases(
    hospitals: Path, make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(data={"min_test_cases": 0})
    data = resolve(study, hospitals)
    with Stage(data, deal_folds(data, 3, seed=1), tmp_path, "cpu", seed=0) as stage:
        sites = stage.sites
        held: dict[str, list[str]] = {site.name: [] for site in sites}
        for fold in range(3):
            units = stage.units(study, fold)
            for site in sites:
                source = replace(site, held_out=fold).source
                found = site_cases(source.entries(study), site.name, study)
                whole = data.cases[site.name]
                assert len(found.train) + len(found.test) == len(whole.train)
                assert not {e.patient for e in found.test} & {e.patient for e in whole.test}
                assert patients(found.train) == units[site.name]
                held[site.name] += sorted({e.patient for e in found.test})
        for name, cases in data.cases.items():
            assert sorted(held[name]) == sorted({e.patient for e in cases.train})


def test_two_folds_of_a_site_are_not_taken_for_each_other(hospitals: Path) -> None:
    first = Site("alder", str(hospitals), folds="folds.json").source
    second = Site("alder", str(hospitals), folds="folds.json", held_out=1).source
    assert len({first.stamp(), second.stamp(), Site("alder", str(hospitals)).source.stamp()}) == 3


def test_a_site_whose_patients_are_all_held_out_has_no_part_in_that_fold(
    hospitals: Path, make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(data={"min_test_cases": 0})
    data = resolve(study, hospitals)
    held = {site: dict.fromkeys(sorted({e.patient for e in of.train}), 1) for site, of in data.cases.items()}
    held["alder"] = dict.fromkeys(held["alder"], 0)
    with Stage(data, Dealing(2, held), tmp_path, "cpu", seed=0) as stage:
        assert [site.name for site in stage.sites_in(0)] == ["birch", "cedar", "dogwood"]
        assert [site.name for site in stage.sites_in(1)] == ["alder"]
        assert stage.units(study, 1) == {"alder": len(held["alder"])}
