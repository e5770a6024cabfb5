"""What a codec leaves out is kept on the site's disk, and a round that is done again is the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import MessageType, RecordDict
from numpy.typing import NDArray

from client.cohorts.home import POLICY_FILE, create_home
from client.leaving import leaving_update, left_out_before
from client.residuals import FOLDER, LONGEST_S, Residuals, residuals_of
from client.site import Site
from client.site import site_of as site_from
from common.codecs import codec_of, decode
from common.errors import HomeInvalid
from common.models import initial_weights
from common.study import Study, to_canonical
from common.tasks import (
    ARRAYS,
    TrainTask,
    read_contribution,
    read_refusal,
    task_content,
    weights_of,
    weights_record,
)
from common.weights import Weights, digest, norm

Ask = Callable[..., RecordDict]
MakeSite = Callable[..., Site]
MakeStudy = Callable[..., Study]
FEEDBACK = [{"codec": "int8"}, {"codec": "topk", "codec_fraction": 0.02}]
GENERATOR = np.random.default_rng(0)
WIDE = {"model": {"hidden": 48}, "federation": {"rounds": 9}}
with_feedback = pytest.mark.parametrize("federation", FEEDBACK, ids=lambda f: f["codec"])


def left_out(value: float) -> dict[str, NDArray[Any]]:
    return {"w": np.full((2, 3), value, np.float32)}


def wide(make_study: MakeStudy, **federation: Any) -> Study:
    return make_study(**{**WIDE, "federation": {**WIDE["federation"], **federation}})


def asked(ask_app: Ask, site: Site, study: Study, base: Weights, number: int = 1) -> RecordDict:
    task = TrainTask(to_canonical(study), 0, number, digest(base))
    return ask_app(site, MessageType.TRAIN, task_content(task, weights_record(base)))


def taken(reply: RecordDict, study: Study, base: Weights) -> Weights:
    return read_contribution(reply, codec_of(study.federation), base).delta


def sent(reply: RecordDict) -> bytes:
    return b"".join(array.data for array in reply.array_records[ARRAYS].values())


# --- files


@pytest.fixture
def residuals(tmp_path: Path) -> Residuals:
    return Residuals(tmp_path / FOLDER / "key")


def test_nothing_was_left_out_before_the_first_round(residuals: Residuals) -> None:
    assert residuals.before(1) == {}


def test_a_round_finds_what_the_last_one_before_it_left(residuals: Residuals) -> None:
    residuals.keep(2, left_out(2))
    residuals.keep(5, left_out(5))
    assert {number: float(residuals.before(number)["w"][0, 0]) for number in (3, 4, 5, 6, 9)} == {
        **dict.fromkeys((3, 4, 5), 2.0),
        **dict.fromkeys((6, 9), 5.0),
    }
    assert residuals.before(2) == {}


def test_only_what_doing_the_last_round_again_needs_is_kept(residuals: Residuals) -> None:
    for number in (1, 2, 3, 7):
        residuals.keep(number, left_out(number))
    assert sorted(path.name for path in residuals.folder.iterdir()) == [
        "000003.safetensors",
        "000007.safetensors",
    ]


def test_a_study_that_begins_again_begins_with_nothing(residuals: Residuals) -> None:
    for number in (8, 9):
        residuals.keep(number, left_out(number))
    residuals.keep(1, left_out(1))
    assert [path.name for path in residuals.folder.iterdir()] == ["000001.safetensors"]


def test_only_their_owner_reads_them(residuals: Residuals) -> None:
    residuals.keep(1, left_out(1))
    (path,) = residuals.folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert residuals.folder.stat().st_mode & 0o777 == 0o700


def test_what_a_killed_process_left_is_removed(residuals: Residuals) -> None:
    residuals.folder.mkdir(parents=True)
    (residuals.folder / ".000001.safetensors.7.partial").write_bytes(b"half")
    residuals.keep(1, left_out(1))
    assert [path.name for path in residuals.folder.iterdir()] == ["000001.safetensors"]


def test_other_studies_are_forgotten_when_they_are_old(tmp_path: Path) -> None:
    old, young = (Residuals(tmp_path / FOLDER / name) for name in ("old", "young"))
    for each in (old, young):
        each.keep(1, left_out(1))
    moment = young.folder.stat().st_mtime
    os.utime(old.folder, (moment, moment - LONGEST_S))
    Residuals(tmp_path / FOLDER / "new", now=lambda: moment + 1).keep(1, left_out(1))
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["new", "young"]


def test_a_clock_that_runs_ahead_does_not_cost_a_study_its_own(residuals: Residuals) -> None:
    ahead = replace(residuals, now=lambda: 4e9)
    ahead.keep(1, left_out(1))
    ahead.keep(2, left_out(2))
    assert ahead.before(2)["w"][0, 0] == 1


@pytest.mark.parametrize("how", ["cut", "bit", "empty", "text"])
def test_damage_is_told_and_not_trained_on(residuals: Residuals, how: str) -> None:
    residuals.keep(1, left_out(1))
    (path,) = residuals.folder.iterdir()
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-1],
        "bit": whole[:-1] + bytes([whole[-1] ^ 1]),
        "empty": b"",
        "text": b"not weights",
    }
    path.write_bytes(damaged[how])
    with pytest.raises(HomeInvalid) as error:
        residuals.before(2)
    assert str(path) in error.value.private and str(path) not in error.value.hint


def test_each_study_seed_and_site_has_its_own(tmp_path: Path) -> None:
    elm, fir = (Site(name, state=str(tmp_path)) for name in ("elm", "fir"))
    asked = [(elm, "{}", 0), (fir, "{}", 0), (elm, "{}", 1), (elm, "{ }", 0)]
    own = {residuals_of(*each).folder for each in asked}
    assert len(own) == 4 and all(folder.parent == tmp_path / FOLDER for folder in own)


# --- the app


@with_feedback
def test_a_round_done_again_gives_the_same_bytes(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, tmp_path: Path, federation: dict[str, Any]
) -> None:
    study, site = wide(make_study, **federation), site_of("alder", state=str(tmp_path))
    base = initial_weights(study, 0)
    first = [sent(asked(ask_app, site, study, base, number)) for number in (1, 2)]
    again = [sent(asked(ask_app, site, study, base, number)) for number in (2, 2)]
    assert again == [first[1]] * 2
    other = site_of("alder", state=str(tmp_path / "other"))
    assert sent(asked(ask_app, other, study, base, 2)) != first[1]  # which begins without round 1's
    assert sent(asked(ask_app, site, study, base, 3)) == sent(asked(ask_app, site, study, base, 3))


@with_feedback
def test_what_one_round_leaves_out_the_next_ones_send(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, tmp_path: Path, federation: dict[str, Any]
) -> None:
    study, exact = wide(make_study, **federation), wide(make_study)
    site, base = site_of("alder", state=str(tmp_path)), initial_weights(exact, 0)
    rest = {name: np.zeros(array.shape) for name, array in base.items()}
    for number in (1, 2, 3):
        true = taken(asked(ask_app, site, exact, base, number), exact, base)
        arrived = taken(asked(ask_app, site, study, base, number), study, base)
        for name in rest:
            rest[name] += true[name].astype(np.float64) - arrived[name]
    kept = residuals_of(site, to_canonical(study), 0).before(4)
    assert kept and any(np.abs(array).max() > 0 for array in kept.values())
    for name, array in rest.items():
        np.testing.assert_allclose(array, kept.get(name, np.zeros(array.shape)), atol=1e-6)


@pytest.mark.parametrize("federation", [{}, {"codec": "bf16"}], ids=["float32", "bf16"])
def test_a_codec_that_carries_nothing_over_needs_no_folder(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, tmp_path: Path, federation: dict[str, Any]
) -> None:
    study, exact = wide(make_study, **federation), wide(make_study)
    base = initial_weights(study, 0)
    arrived = taken(asked(ask_app, site_of("alder", state=str(tmp_path)), study, base), study, base)
    true = taken(asked(ask_app, site_of("alder"), exact, base), exact, base)
    for name in true:
        np.testing.assert_allclose(arrived[name], true[name], rtol=1 / 256)
    assert not (tmp_path / "residuals").exists()


@with_feedback
def test_a_site_without_a_folder_says_what_to_set(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, federation: dict[str, Any]
) -> None:
    study = wide(make_study, **federation)
    refusal = read_refusal(asked(ask_app, site_of("alder"), study, initial_weights(study, 0)))
    assert refusal is not None and refusal.code == "home-invalid" and "state=FOLDER" in refusal.hint


def test_no_privacy_is_spent_on_an_update_that_could_not_leave(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    study = make_study(
        **{**WIDE, "federation": {"codec": "int8"}}, privacy={"noise_multiplier": 1.0, "accountant": "rdp"}
    )
    site = site_of("alder", ledger=str(ledger), noise_seed=3)
    refusal = read_refusal(asked(ask_app, site, study, initial_weights(study, 0)))
    assert refusal is not None and refusal.code == "home-invalid" and not ledger.exists()


def test_a_site_whose_residuals_are_damaged_refuses_and_tells_no_path(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, tmp_path: Path, text_of: Callable[..., str]
) -> None:
    study, site = wide(make_study, codec="int8"), site_of("alder", state=str(tmp_path))
    base = initial_weights(study, 0)
    asked(ask_app, site, study, base)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(b"")
    reply = asked(ask_app, site, study, base, 2)
    refusal = read_refusal(reply)
    assert refusal is not None and refusal.code == "home-invalid"
    assert str(tmp_path) not in text_of(reply)
    path.unlink()
    assert read_refusal(asked(ask_app, site, study, base, 2)) is None


@with_feedback
def test_training_that_ran_away_leaves_what_is_kept_as_it_was(
    make_study: MakeStudy, tmp_path: Path, federation: dict[str, Any]
) -> None:
    study, site = wide(make_study, **federation), Site("elm", state=str(tmp_path))
    first, second = (TrainTask(to_canonical(study), 0, number, "d") for number in (1, 2))
    leaving_update(site, first, study, {"w": GENERATOR.standard_normal((40, 40)).astype(np.float32)}, {})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    leaving_update(site, second, study, {"w": np.full((40, 40), np.nan, np.float32)}, {})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")} == before and before


@with_feedback
def test_the_hospital_s_bound_holds_for_what_is_carried_over_too(
    make_study: MakeStudy, tmp_path: Path, federation: dict[str, Any]
) -> None:
    home = create_home(tmp_path / "home", "elm")
    (home.folder / POLICY_FILE).write_text("[studies]\nmax_update_norm = 2.0\n")
    site = Site("elm", home=str(home.folder), cohort="chest", state=str(tmp_path / "state"))
    study = wide(make_study, **federation)
    delta = like = {"w": GENERATOR.standard_normal((40, 40)).astype(np.float32)}
    for number in range(1, 20):  # always the same way, so that what is left out grows
        task = TrainTask(to_canonical(study), 0, number, "d")
        left_out = left_out_before(site, task, study)
        arrays = leaving_update(site, task, study, delta, left_out)
        arrived = decode(codec_of(study.federation), arrays, like)
        assert 0 < norm(arrived) <= 2.01


def test_where_the_folder_is_reaches_the_app_through_the_node_config(site_of: MakeSite) -> None:
    site = site_of("alder", state="/var/lib/consilium/state")
    assert site_from(site.node_config()) == site
    assert "state" not in site_of("alder").node_config()


def test_a_private_update_is_encoded_after_its_noise(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, tmp_path: Path
) -> None:
    privacy = {"noise_multiplier": 1.0, "sample_rate": 0.5, "accountant": "rdp"}
    site = site_of("alder", state=str(tmp_path / "state"), ledger=str(tmp_path / "l.jsonl"), noise_seed=3)
    exact = make_study(**WIDE, privacy=privacy)
    study = make_study(**{**WIDE, "federation": {"rounds": 9, "codec": "int8"}}, privacy=privacy)
    base = initial_weights(study, 0)
    reply = asked(ask_app, site, study, base)
    given = read_contribution(reply, codec_of(study.federation), base)
    assert given.epsilon is not None and given.loss is None
    other = replace(site, ledger=str(tmp_path / "m.jsonl"))
    true = taken(asked(ask_app, other, exact, base), exact, base)
    scale = max(float(np.abs(array).max()) for array in true.values()) / 127
    assert all(np.abs(given.delta[name] - true[name]).max() <= scale for name in true)
    assert any(name.endswith(":int8") for name in weights_of(reply))
