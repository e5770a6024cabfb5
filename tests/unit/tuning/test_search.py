"""What can be searched is known before anything starts, and what cannot is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InvalidValue, SearchInvalid, UnknownKey
from deploy.tuning.candidates import Candidates, check_search, grid
from deploy.tuning.search import Choices, Range, parse_search, read_search

STUDY = """
[study]
name = "tiny"
[study.labels]
0 = "normal"
1 = "abnormal"
[sequence]
kind = "rows"
size = 8
[federation]
strategy = "fedprox"
"""


@pytest.fixture
def candidates(tmp_path: Path) -> Candidates:
    (tmp_path / "study.toml").write_text(STUDY)
    return Candidates(tmp_path / "study.toml")


def written(folder: Path, text: str) -> Path:
    (folder / "search.toml").write_text(text)
    return folder / "search.toml"


def test_dotted_keys_tables_and_quoted_keys_say_the_same(tmp_path: Path) -> None:
    expected = (Range("training.learning_rate", 1e-4, 1e-2, log=True), Choices("model.cell", ("gru", "lstm")))
    range_of = "{ low = 1e-4, high = 1e-2, log = true }"
    for text in (
        f'training.learning_rate = {range_of}\nmodel.cell = ["gru", "lstm"]',
        f'[training]\nlearning_rate = {range_of}\n[model]\ncell = ["gru", "lstm"]',
        f'"training.learning_rate" = {range_of}\n"model.cell" = ["gru", "lstm"]',
    ):
        assert read_search(written(tmp_path, text)).axes == expected


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "no key"),
        ({"model": {"hidden": 8}}, "model.hidden = 8: give a list"),
        ({"model": {"hidden": []}}, "model.hidden: no value"),
        ({"model": {"hidden": [8, 8]}}, "model.hidden: a value is there twice"),
        ({"model": {"hidden": {"low": 8}}}, "low and high are both needed"),
        ({"model": {"hidden": {"low": 8, "high": 9, "step": 1}}}, "'step' is unknown"),
        ({"model": {"hidden": {"low": "8", "high": 9}}}, "low and high are numbers"),
        ({"model": {"hidden": {"low": 9, "high": 8}}}, "not below"),
        ({"model": {"hidden": {"low": 0, "high": 8, "log": True}}}, "above zero"),
        ({"model": {"hidden": {"low": 1.5, "high": 8, "int": True}}}, "whole numbers"),
        ({"model": {"hidden": [8, 16]}, "model.hidden": [8]}, "model.hidden is there twice"),
        ({"study": {"task": ["classification"]}}, "study.task cannot be searched"),
        ({"data": {"test_split": ["val", "test"]}}, "data.test_split cannot be searched"),
    ],
)
def test_what_is_no_search_is_named(document: dict[str, object], told: str) -> None:
    with pytest.raises(SearchInvalid, match=told):
        parse_search(document)


def test_a_file_that_is_not_there_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(SearchInvalid, match=r"none\.toml"):
        read_search(tmp_path / "none.toml")
    with pytest.raises(SearchInvalid, match="Invalid value"):
        read_search(written(tmp_path, "model = ["))


def test_an_unknown_key_is_named_with_the_right_one(candidates: Candidates) -> None:
    with pytest.raises(UnknownKey, match=r"(?s)model.hiden = 8 cannot be tried.*did you mean 'hidden'"):
        check_search(parse_search({"model": {"hiden": [8]}}), candidates)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"model": {"cell": ["gru", "gruu"]}}, 'model.cell = "gruu" cannot be tried'),
        ({"training": {"learning_rate": {"low": 1, "high": 200}}}, "training.learning_rate = 200"),
        ({"training": {"learning_rate": {"low": 0, "high": 1}}}, "training.learning_rate = 0"),
        ({"model": {"hidden": {"low": 8, "high": 64}}}, "model.hidden = 36"),
    ],
)
def test_an_impossible_value_is_named(candidates: Candidates, document: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        check_search(parse_search(document), candidates)


def test_where_a_study_wants_whole_numbers_the_hint_says_so(candidates: Candidates) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_search(parse_search({"model": {"hidden": {"low": 8, "high": 64}}}), candidates)
    assert "int = true" in caught.value.hint


def test_a_value_that_needs_another_key_is_allowed_together_with_it(candidates: Candidates) -> None:
    together = {"federation": {"codec": ["float32", "topk"], "codec_fraction": [0.1, 0.2]}}
    check_search(parse_search(together), candidates)
    with pytest.raises(InvalidValue, match="codec_fraction"):
        check_search(parse_search({"federation": {"codec_fraction": [0.1]}}), candidates)


def test_a_grid_leaves_out_what_is_no_study(candidates: Candidates) -> None:
    search = parse_search(
        {"sequence": {"kind": ["rows", "patches"], "patch": [2, 4]}, "model": {"layers": [1, 2]}}
    )
    found = grid(search, candidates, seed=3)
    assert all(values["sequence.kind"] == "patches" for values in found)
    assert len(found) == 4 == len({str(values) for values in found})
    assert grid(search, candidates, seed=3) == found


def test_a_grid_needs_lists(candidates: Candidates) -> None:
    with pytest.raises(SearchInvalid, match=r"training\.learning_rate: a grid needs a list"):
        grid(parse_search({"training": {"learning_rate": {"low": 1e-3, "high": 1e-2}}}), candidates, 0)


def test_a_strategy_may_be_a_table_or_a_name(candidates: Candidates) -> None:
    strategies = ["fedavg", {"name": "fedadam", "eta": 0.1}]
    search = parse_search({"federation": {"strategy": strategies}})
    check_search(search, candidates)
    names = [candidates.of(values).federation.strategy.name for values in grid(search, candidates, 0)]
    assert sorted(names) == ["fedadam", "fedavg"]


def test_rounds_are_given_or_searched_but_not_both(candidates: Candidates) -> None:
    search = parse_search({"federation": {"rounds": [1, 2]}})
    check_search(search, candidates)
    with pytest.raises(SearchInvalid, match="--rounds"):
        check_search(search, Candidates(candidates.study, rounds=5))


def test_a_fold_asks_less_of_a_site_than_the_study(candidates: Candidates) -> None:
    asked = {"data.min_patients": 40, "data.min_cases": 40}
    assert candidates.of(asked).data.min_patients == 40
    folded = candidates.in_fold(asked).data
    assert (folded.min_cases, folded.min_patients, folded.min_test_cases) == (1, 1, 0)
