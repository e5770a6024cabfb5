"""Whatever the researcher points at becomes one resolved manifest of checked sites."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from client.cases import decode
from client.manifest import Row, read_manifest
from common.errors import (
    DataError,
    EmptySite,
    LabelUnknown,
    ManifestInvalid,
    ManifestMissing,
    NoTestCases,
    SitesOverruled,
    TooFewCases,
)
from common.study import Study
from deploy.federation import deal, resolve

MakeStudy = Callable[..., Study]


def medmnist(path: Path, train: int = 40, test: int = 20, **changes: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", train), ("val", 4), ("test", test)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 2).astype(np.uint8).reshape(-1, 1)
    np.savez(path, **{**arrays, **changes})
    return path


def one_site(folder: Path, train: int, test: int) -> Path:
    splits = ["train"] * train + ["test"] * test
    lines = [f"{n}.png,all,p{n},{split},{n % 2}" for n, split in enumerate(splits)]
    (folder / "manifest.csv").write_text("path,site,patient_id,split,label\n" + "\n".join(lines) + "\n")
    return folder / "manifest.csv"


def test_real_sites_stay_as_they_are(hospitals: Path, make_study: MakeStudy) -> None:
    data = resolve(make_study(), hospitals)
    assert list(data.cases) == ["alder", "birch", "cedar", "dogwood"]
    assert data.loads == [6, 8, 10, 5]
    assert all(Path(row.path).is_file() and row.path.startswith("/") for row in data.manifest.rows)


def test_where_narrows_real_sites(hospitals: Path, make_study: MakeStudy) -> None:
    assert list(resolve(make_study(), hospitals, where=(("site", "cedar"),)).cases) == ["cedar"]


def test_real_sites_are_not_dealt(hospitals: Path, make_study: MakeStudy) -> None:
    with pytest.raises(SitesOverruled, match="4 sites"):
        resolve(make_study(), hospitals, sites=3)


def test_one_of_the_real_sites_may_be_dealt(hospitals: Path, make_study: MakeStudy) -> None:
    study = make_study(data={"min_test_cases": 0})
    data = resolve(study, hospitals, where=(("site", "cedar"),), sites=2)
    assert list(data.cases) == ["site-1", "site-2"]
    assert sum(data.loads) == 10
    assert {Path(row.path).name.split("-")[0] for row in data.manifest.rows} == {"cedar"}


def test_what_is_materialised_is_what_was_resolved(
    hospitals: Path, make_study: MakeStudy, tmp_path: Path
) -> None:
    data = resolve(make_study(), hospitals)
    sites = data.materialise(tmp_path, "cpu")
    assert [(s.name, s.device, s.share_scores) for s in sites] == [
        (name, "cpu", True) for name in ("alder", "birch", "cedar", "dogwood")
    ]
    keep = lambda row: (row.path, row.site, row.patient_id, row.split, row.label)  # noqa: E731
    for site in sites:
        own = read_manifest(Path(site.manifest))
        assert own.sites == (site.name,), "nobody reads the rows of others"
        assert list(map(keep, own.rows)) == list(map(keep, data.manifest.of_site(site.name)))


def test_relative_paths_are_those_of_the_manifests_folder(
    hospitals: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hospitals.parent.parent)
    relative = Path(os.path.relpath(hospitals))
    paths = [row.path for row in resolve(make_study(), relative).manifest.rows]
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in paths)


def test_every_site_is_checked_before_anything_runs(hospitals: Path, make_study: MakeStudy) -> None:
    with pytest.raises(TooFewCases, match="'dogwood'"):
        resolve(make_study(data={"min_cases": 6}), hospitals)


def test_a_medmnist_file_is_dealt_by_picture(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study()
    data = resolve(study, medmnist(tmp_path / "m.npz"), sites=4, seed=1)
    assert list(data.cases) == ["site-1", "site-2", "site-3", "site-4"]
    assert sum(data.loads) == 40
    assert len({row.patient_id for row in data.manifest.rows}) == len(list(data.manifest.rows)) == 64
    source = data.materialise(tmp_path, "cpu")[1].source
    entries = data.cases["site-2"].train
    batch = decode(source, entries, study, torch.device("cpu"))
    rows = [entry.item for entry in entries if isinstance(entry.item, Row)]
    labels = [int(row.path.rpartition("/")[2]) % 2 for row in rows]
    assert batch.targets.tolist() == labels


def test_a_medmnist_file_alone_is_one_site(tmp_path: Path, make_study: MakeStudy) -> None:
    assert list(resolve(make_study(), medmnist(tmp_path / "m.npz")).cases) == ["all"]


def test_skewed_shares_differ_more_than_even_ones(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(data={"min_test_cases": 0})
    skewed = resolve(study, medmnist(tmp_path / "m.npz", 400, 100), sites=5, seed=3).loads
    even = resolve(study, one_site(tmp_path, 400, 100), sites=5, seed=3).loads
    assert max(even) - min(even) <= 2
    assert max(skewed) - min(skewed) > 20


def test_names_of_many_sites_sort_as_numbers(tmp_path: Path, make_study: MakeStudy) -> None:
    data = resolve(make_study(), one_site(tmp_path, 60, 40), sites=12)
    assert list(data.cases)[:2] == ["site-01", "site-02"] and list(data.cases)[-1] == "site-12"


@pytest.mark.parametrize("sites", [1, 2, 3])
def test_sites_that_can_all_have_somebody_do(tmp_path: Path, make_study: MakeStudy, sites: int) -> None:
    assert len(resolve(make_study(), one_site(tmp_path, 3, 3), sites=sites).cases) == sites


@pytest.mark.parametrize(("train", "test", "sites"), [(3, 3, 4), (3, 3, 9), (2, 9, 5), (3, 0, 9)])
def test_more_sites_than_patients_are_refused(
    tmp_path: Path, make_study: MakeStudy, train: int, test: int, sites: int
) -> None:
    with pytest.raises((EmptySite, TooFewCases)):
        resolve(make_study(data={"min_test_cases": 0}), one_site(tmp_path, train, test), sites=sites)


def test_fewer_test_patients_than_sites_are_refused_unless_accepted(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    path = one_site(tmp_path, 9, 2)
    with pytest.raises(NoTestCases):
        resolve(make_study(), path, sites=3)
    assert len(resolve(make_study(data={"min_test_cases": 0}), path, sites=3).cases) == 3


def npz(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "m.npz", **arrays)
    return folder / "m.npz"


def plain(folder: Path, content: bytes) -> Path:
    (folder / "m.npz").write_bytes(content)
    return folder / "m.npz"


def array_alone(folder: Path) -> Path:
    with (folder / "m.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    return folder / "m.npz"


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        pytest.param(lambda d: d / "absent.npz", ManifestMissing, id="absent"),
        pytest.param(lambda d: plain(d, b""), ManifestInvalid, id="empty"),
        pytest.param(lambda d: plain(d, b"PK\x03\x04"), ManifestInvalid, id="broken"),
        pytest.param(lambda d: plain(d, b"text"), ManifestInvalid, id="text"),
        pytest.param(array_alone, ManifestInvalid, id="an npy with another name"),
        pytest.param(lambda d: npz(d, x=np.zeros(3)), ManifestInvalid, id="other arrays"),
        pytest.param(lambda d: npz(d, train_images=np.zeros((3, 8, 8))), ManifestInvalid, id="no labels"),
        pytest.param(
            lambda d: npz(d, train_images=np.zeros((3, 8, 8)), train_labels=np.zeros((3, 14), int)),
            ManifestInvalid,
            id="several labels a picture",
        ),
        pytest.param(
            lambda d: medmnist(d / "m.npz", test_labels=np.full((20, 1), 5)), LabelUnknown, id="unknown label"
        ),
    ],
)
def test_what_is_no_medmnist_file_is_refused(
    tmp_path: Path, make_study: MakeStudy, write: Callable[[Path], Path], kind: type[DataError]
) -> None:
    with pytest.raises(kind):
        resolve(make_study(), write(tmp_path))


def test_a_patient_with_several_pictures_goes_to_one_site_whole() -> None:
    rows = [Row(f"{p}-{k}.png", "all", f"p{p}", "train", str(p % 2), 0) for p in range(20) for k in range(3)]
    dealt = deal(rows, 4, 0, skewed=False)
    homes: dict[str, set[str]] = {}
    for row in dealt:
        homes.setdefault(row.patient_id, set()).add(row.site)
    assert all(len(sites) == 1 for sites in homes.values())
    assert [row.path for row in dealt] == [row.path for row in rows]
