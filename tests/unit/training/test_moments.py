"""What an optimiser has learnt is kept at the site, and a round that is done again is the same."""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import MessageType, RecordDict

from client.checkpoints import study_folder, tidy
from client.moments import Kept, Moments, MomentsInMemory, MomentsOnDisk, given_up, moments_of, take_up
from client.private_training import train_privately
from client.site import Site
from client.trainer import LocalPlan, train
from common.errors import InvalidValue
from common.models import SequenceClassifier, build_model, initial_weights, load_state, state_of
from common.private.plan import plan_of
from common.private.secret import Secret
from common.sequences import SequenceBatch
from common.study import Study, to_canonical
from common.tasks import TrainTask, read_contribution, task_content, weights_record
from common.weights import digest

MakeStudy = Callable[..., Study]
MakeSite = Callable[..., Site]
Ask = Callable[..., RecordDict]
KEPT = {"optimizer_state": "kept", "learning_rate": 0.01, "batch_size": 4}


def some(value: float) -> Kept:
    return {0: {"step": torch.tensor(value), "exp_avg": torch.full((2, 3), value)}}


def value(kept: Kept | None) -> float | None:
    return None if kept is None else float(kept[0]["step"])


@pytest.fixture(params=["disk", "memory"])
def moments(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Moments]:
    """The moments of one site in each round."""
    if request.param == "memory":
        rounds: dict[int, Kept] = {}
        return lambda number: MomentsInMemory(rounds, number)
    return lambda number: MomentsOnDisk(tmp_path / "kept", {"site": "alder"}, number)


@pytest.fixture
def cases() -> SequenceBatch:
    steps = torch.randn(16, 8, 8, generator=torch.Generator().manual_seed(0))
    return SequenceBatch(steps, torch.full((16,), 8), torch.arange(16) % 2)


def model_of(study: Study) -> SequenceClassifier:
    model = build_model(study)
    load_state(model, initial_weights(study, 0))
    return model


# --- which round finds what


def test_the_first_round_begins_anew(moments: Callable[[int], Moments]) -> None:
    assert moments(1).read() is None


def test_a_round_finds_what_the_last_before_it_left(moments: Callable[[int], Moments]) -> None:
    moments(2).write(some(2))
    moments(5).write(some(5))
    assert [value(moments(number).read()) for number in (2, 3, 5, 6, 9)] == [None, 2, 2, 5, 5]


def test_a_round_that_is_done_again_begins_as_it_did(moments: Callable[[int], Moments]) -> None:
    for number in (1, 2, 3):
        moments(number).write(some(number))
    assert value(moments(3).read()) == 2
    moments(3).write(some(30))
    assert [value(moments(number).read()) for number in (3, 4)] == [2, 30]


def test_a_run_that_begins_again_forgets_the_rounds_it_has_yet_to_come_to(
    moments: Callable[[int], Moments],
) -> None:
    for number in (1, 2, 3, 1):
        moments(number).write(some(number))
    assert [value(moments(number).read()) for number in (1, 2, 9)] == [None, 1, 1]


def test_that_nothing_is_there_is_said(
    moments: Callable[[int], Moments], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "consilium.client"):
        moments(1).read()
        assert not caplog.messages
        moments(4).read()
    assert caplog.messages == ["no optimiser's state of a round before round 4 is here: it begins anew"]


# --- files


def test_files_are_the_owner_s_alone_and_two_at_most(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        MomentsOnDisk(tmp_path / "kept", {}, number).write(some(number))
    files = sorted((tmp_path / "kept").iterdir())
    assert [file.name for file in files] == ["000002.moments", "000003.moments"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@pytest.mark.parametrize("about", [{"site": "birch"}, {"site": "alder", "study": "another"}, {}])
def test_moments_of_another_site_or_study_are_not_used(tmp_path: Path, about: dict[str, str]) -> None:
    MomentsOnDisk(tmp_path, {"site": "alder"}, 1).write(some(1))
    assert MomentsOnDisk(tmp_path, about, 2).read() is None
    (tmp_path / "000001.moments").rename(tmp_path / "000002.moments")
    assert MomentsOnDisk(tmp_path, {"site": "alder"}, 3).read() is None  # nor those of another round


@pytest.mark.parametrize("at", [0, 20, -1])
def test_damaged_moments_begin_anew(tmp_path: Path, at: int, caplog: pytest.LogCaptureFixture) -> None:
    MomentsOnDisk(tmp_path, {}, 1).write(some(1))
    content = bytearray((tmp_path / "000001.moments").read_bytes())
    content[at] ^= 1
    (tmp_path / "000001.moments").write_bytes(content)
    assert MomentsOnDisk(tmp_path, {}, 2).read() is None
    assert "damaged" in caplog.text


def test_a_full_disk_does_not_stop_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    MomentsOnDisk(tmp_path, {}, 1).write(some(1))
    monkeypatch.setattr("client.checkpoints.sealed.open", full, raising=False)
    MomentsOnDisk(tmp_path, {}, 2).write(some(2))
    assert "disk-full" in caplog.text
    assert value(MomentsOnDisk(tmp_path, {}, 3).read()) == 1


def test_they_go_with_the_study_s_other_files(
    make_study: MakeStudy, site_of: MakeSite, tmp_path: Path
) -> None:
    study = to_canonical(make_study(training=KEPT))
    site = site_of("alder", state=str(tmp_path))
    moments_of(site, TrainTask(study, 0, 1, "base")).write(some(1))
    tidy(tmp_path, set(), 0.0)
    assert value(moments_of(site, TrainTask(study, 0, 2, "base")).read()) == 1
    tidy(tmp_path, {study_folder(study)}, 0.0)
    assert moments_of(site, TrainTask(study, 0, 2, "base")).read() is None


def test_seeds_and_sites_have_moments_of_their_own(
    make_study: MakeStudy, site_of: MakeSite, tmp_path: Path
) -> None:
    study = to_canonical(make_study(study={"name": "apart"}, training=KEPT))
    for state in ("", str(tmp_path)):
        moments_of(site_of("alder", state=state), TrainTask(study, 0, 1, "base")).write(some(1))
        for name, seed, found in (("alder", 0, 1), ("birch", 0, None), ("alder", 1, None)):
            asked = moments_of(site_of(name, state=state), TrainTask(study, seed, 2, "base"))
            assert value(asked.read()) == found


# --- optimisers


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_two_rounds_with_kept_moments_are_one_of_twice_the_length(
    make_study: MakeStudy, cases: SequenceBatch, optimizer: str
) -> None:
    """With every case in each step the order is nothing, and what is left is the optimiser."""
    whole, half = (
        make_study(training={**KEPT, "optimizer": optimizer, "batch_size": 16, "local_epochs": epochs})
        for epochs in (6, 3)
    )
    once, twice, fresh, kept = model_of(whole), model_of(half), model_of(half), dict[int, Kept]()
    train(once, cases, LocalPlan.of(whole, 0.0, 1))
    for number in (1, 2):
        train(twice, cases, LocalPlan.of(half, 0.0, 1), moments=MomentsInMemory(kept, number))
        train(fresh, cases, LocalPlan.of(half, 0.0, 1))
    wanted = state_of(once)
    for name, array in state_of(twice).items():
        np.testing.assert_allclose(array, wanted[name], atol=1e-5, err_msg=name)
    assert any(np.abs(array - wanted[name]).max() > 1e-3 for name, array in state_of(fresh).items())


def test_what_is_kept_is_not_changed_by_who_goes_on_with_it(
    make_study: MakeStudy, cases: SequenceBatch
) -> None:
    study, kept = make_study(training=KEPT), dict[int, Kept]()
    train(model_of(study), cases, LocalPlan.of(study, 0.0, 1), moments=MomentsInMemory(kept, 1))
    before = copy.deepcopy(kept[1])
    train(model_of(study), cases, LocalPlan.of(study, 0.0, 1), moments=MomentsInMemory(kept, 2))
    assert all(torch.equal(before[n][key], kept[1][n][key]) for n in before for key in before[n])
    assert not torch.equal(kept[1][0]["exp_avg"], kept[2][0]["exp_avg"])


@pytest.mark.parametrize("kept", [{0: {"exp_avg": torch.zeros(2)}}, {9: {"exp_avg": torch.zeros(3)}}])
def test_moments_of_another_model_begin_anew(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))])
    take_up(optimizer, kept)
    assert given_up(optimizer) == {}
    assert "another model" in caplog.text


def test_private_training_goes_on_with_moments_of_noised_gradients(
    make_study: MakeStudy, cases: SequenceBatch
) -> None:
    privacy = {"noise_multiplier": 1.0, "sample_rate": 0.5}
    study, kept = make_study(training=KEPT, privacy=privacy), dict[int, Kept]()
    plan, groups = plan_of(study, 16), torch.arange(16)
    made = []
    for number in (1, 2, 2):
        model = model_of(study)
        train_privately(
            model, cases, groups, plan, LocalPlan.of(study, 0.0, 0), Secret(bytes([number]) * 32),
            moments=MomentsInMemory(kept, number),
        )  # fmt: skip
        made.append(state_of(model))
    assert float(kept[2][0]["step"]) == 2 * plan.steps_per_round
    assert all(np.array_equal(array, made[2][name]) for name, array in made[1].items())


def test_sgd_has_nothing_to_keep(make_study: MakeStudy) -> None:
    with pytest.raises(InvalidValue, match="optimizer sgd has no state"):
        make_study(training={"optimizer_state": "kept", "optimizer": "sgd"})


# --- tasks


def asked(ask_app: Ask, site: Site, study: Study, number: int, seed: int) -> dict[str, Any]:
    base = initial_weights(study, 0)
    task = TrainTask(to_canonical(study), seed, number, digest(base))
    reply = ask_app(site, MessageType.TRAIN, task_content(task, weights_record(base)))
    return dict(read_contribution(reply).delta)


@pytest.mark.parametrize("durable", [True, False])
def test_a_site_s_rounds_build_on_each_other_and_can_be_done_again(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, tmp_path: Path, durable: bool
) -> None:
    study = make_study(study={"name": f"kept-{durable}"}, training=KEPT, federation={"rounds": 3})
    fresh = make_study(training={**KEPT, "optimizer_state": "fresh"}, federation={"rounds": 3})
    state = str(tmp_path / "state") if durable else ""
    given = [asked(ask_app, site_of("alder", state=state), study, number, 3) for number in (1, 2, 3)]
    again = asked(ask_app, site_of("alder", state=state), study, 3, 3)
    assert all(np.array_equal(array, again[name]) for name, array in given[2].items())
    unkept = [asked(ask_app, site_of("alder"), fresh, number, 3) for number in (1, 2)]
    assert all(np.array_equal(array, unkept[0][name]) for name, array in given[0].items())
    assert any(not np.array_equal(array, unkept[1][name]) for name, array in given[1].items())
