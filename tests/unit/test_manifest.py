"""A manifest is read whole or refused with a coded error that names the line and no patient."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.manifest import Row, read_manifest, write_manifest
from common.errors import DataError, ManifestInvalid, ManifestMissing, NoSuchSite, PatientInTwoSplits

HEAD = "path,site,patient_id,split,label\n"
GOOD = HEAD + "a.png,alder,p1,train,0\nb.png,birch,p2,test,1\nc.png,alder,p3,test,1\n"


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    return path


def refused(folder: Path, text: str, where: tuple[tuple[str, str], ...] = ()) -> DataError:
    with pytest.raises(DataError) as caught:
        read_manifest(written(folder, text), where)
    return caught.value


def test_rows_know_their_site_and_line(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, GOOD))
    assert manifest.folder == tmp_path
    assert manifest.sites == ("alder", "birch")
    assert manifest.of_site("alder") == (
        Row("a.png", "alder", "p1", "train", "0", line=2),
        Row("c.png", "alder", "p3", "test", "1", line=4),
    )
    assert [row.line for row in manifest.rows] == [2, 4, 3]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_spreadsheets_write_it_their_way(tmp_path: Path, encoding: str, newline: str) -> None:
    path = written(tmp_path, GOOD.replace("alder", "Jülich").replace("\n", newline), encoding)
    assert read_manifest(path).sites == ("Jülich", "birch")


def test_columns_may_stand_in_any_order_among_others(tmp_path: Path) -> None:
    text = "age,label,split,patient_id,site,path,note\n63,1,test,p9,elm,x.png,\n"
    wanted = Row("x.png", "elm", "p9", "test", "1", 2, age="63")
    assert list(read_manifest(written(tmp_path, text)).rows) == [wanted]


def test_blanks_around_values_do_not_count(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, HEAD + " a.png , elm , p1 , train , 0 \n"))
    assert list(manifest.rows) == [Row("a.png", "elm", "p1", "train", "0", 2)]


def test_where_keeps_rows_that_meet_every_condition(tmp_path: Path) -> None:
    text = "view,age,path,site,patient_id,split,label\n" + "".join(
        f"{view},{age},{view}{age}.png,elm,p{view}{age},train,0\n" for view in ("PA", "AP") for age in (1, 2)
    )
    kept = read_manifest(written(tmp_path, text), (("view", "PA"), ("age", "2")))
    assert [row.path for row in kept.rows] == ["PA2.png"]


def test_where_looks_at_values_without_the_blanks_around_them(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "a.png, elm,p1,train,0\n")
    assert read_manifest(path, (("site", "elm"),)).sites == ("elm",)


def test_what_where_leaves_out_may_be_broken(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + "d.png,cedar,p4,nonsense,1\n")
    assert read_manifest(path, (("site", "alder"),)).sites == ("alder",)
    with pytest.raises(ManifestInvalid):
        read_manifest(path)


def test_a_patient_may_be_in_two_splits_if_where_keeps_one(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + "d.png,cedar,p1,test,0\n")
    assert read_manifest(path, (("site", "cedar"),)).sites == ("cedar",)


def test_where_that_keeps_nothing_says_what_was_wanted(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD, (("site", "zelkova"), ("label", "1")))
    assert isinstance(error, NoSuchSite)
    assert "site=zelkova and label=1" in error.private


def test_where_with_an_unknown_column_names_the_known_ones(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD, (("hospital", "alder"),))
    assert isinstance(error, ManifestInvalid)
    assert "'hospital'" in error.private and "patient_id" in error.private


@pytest.mark.parametrize("column", ["path", "site", "patient_id", "split", "label"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    error = refused(tmp_path, GOOD.replace(column, "other", 1))
    assert isinstance(error, ManifestInvalid)
    assert f"no column {column!r}" in error.private


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("d.png,alder,p4,train", "wrong number", id="too few values"),
        pytest.param("d.png,alder,p4,train,0,more", "wrong number", id="too many values"),
        pytest.param("d.png,alder,p4,Train,0", "split must be one of train, val, test", id="split"),
        pytest.param(",alder,p4,train,0", "path is empty", id="no path"),
        pytest.param("d.png, ,p4,train,0", "site is empty", id="no site"),
        pytest.param("d.png,alder,,train,0", "patient_id is empty", id="no patient"),
        pytest.param("d.png,alder,p4,,0", "split is empty", id="no split"),
        pytest.param("d.png,alder,p4,train,", "label is empty", id="no label"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, line: str, reason: str) -> None:
    error = refused(tmp_path, GOOD + line + "\ne.png,alder,p5,train,0\n")
    assert isinstance(error, ManifestInvalid)
    assert "line 5" in error.private and reason in error.private


@pytest.mark.parametrize(
    ("text", "encoding", "kind"),
    [
        pytest.param("", "utf-8", ManifestInvalid, id="empty file"),
        pytest.param(HEAD, "utf-8", NoSuchSite, id="header alone"),
        pytest.param(GOOD, "utf-16", ManifestInvalid, id="UTF-16"),
        pytest.param(GOOD.replace("alder", "Jülich"), "latin-1", ManifestInvalid, id="Latin-1"),
        pytest.param(HEAD + 'a.png,"alder' + "x" * 200_000, "utf-8", ManifestInvalid, id="runaway quote"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str, encoding: str, kind: type) -> None:
    with pytest.raises(kind):
        read_manifest(written(tmp_path, text, encoding))


@pytest.mark.parametrize("name", ["absent.csv", "", "manifest.csv/below"])
def test_what_cannot_be_opened_is_missing(tmp_path: Path, name: str) -> None:
    written(tmp_path, GOOD)
    with pytest.raises(ManifestMissing):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize("site", ["alder", "elm"])
def test_a_patient_in_two_splits_is_named_by_lines_alone(tmp_path: Path, site: str) -> None:
    text = (
        HEAD + f"a.png,alder,Mueller^Anna,train,0\nb.png,alder,p2,test,1\nc.png,{site},Mueller^Anna,test,1\n"
    )
    error = refused(tmp_path, text)
    assert isinstance(error, PatientInTwoSplits)
    assert "train: line 2" in error.private and "test: line 4" in error.private
    assert "Mueller" not in error.private


def test_a_changed_manifest_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    before = read_manifest(path)
    assert read_manifest(path) is before
    written(tmp_path, GOOD + "d.png,cedar,p4,train,1\n")
    os.utime(path, ns=(before.stamp + 1, before.stamp + 1))
    assert read_manifest(path).sites == ("alder", "birch", "cedar")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = [
        Row('a "quoted", path.png', "Sankt Jörg", "p,1", "val", "x y", 2),
        Row("b", "a", "p", "test", "1", 3),
    ]
    write_manifest(tmp_path / "m.csv", rows)
    assert sorted(read_manifest(tmp_path / "m.csv").rows, key=lambda row: row.line) == rows


def test_an_unknown_site_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(NoSuchSite, match="alder, birch"):
        read_manifest(written(tmp_path, GOOD)).of_site("zelkova")
