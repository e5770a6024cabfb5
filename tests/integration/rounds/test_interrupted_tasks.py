"""A task whose process dies at any moment: asked again, nothing is lost, trained twice, or settled twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import MessageType, RecordDict

import client.app
import client.private_round
from client.checkpoints.checkpoint import INTERVAL_VARIABLE, Checkpoints
from client.checkpoints.folder import TaskFolder
from client.ledger import Ledger
from client.site import Site
from client.site import site_of as site_from
from common.errors import DiskFull
from common.models import initial_weights
from common.study import Study, to_canonical
from common.tasks import (
    EvaluateTask,
    TrainTask,
    read_contribution,
    read_evaluation,
    read_refusal,
    task_content,
    weights_record,
)
from common.update import Contribution
from common.weights import digest

Ask = Callable[[Site], RecordDict]
PRIVACY = {
    "noise_multiplier": 1.0,
    "sample_rate": 0.25,
    "target_delta": 1e-3,
    "evaluation_epsilon": 1.0,
    "accountant": "rdp",
}
STEPS = 8


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INTERVAL_VARIABLE, "0")


@pytest.fixture
def site(site_of: Callable[..., Site], tmp_path: Path) -> Site:
    return site_of("alder", ledger=str(tmp_path / "alder.jsonl"), state=str(tmp_path / "state"), noise_seed=1)


@pytest.fixture
def undisturbed(site_of: Callable[..., Site], tmp_path: Path) -> Site:
    """The same site, where nothing outlives a task."""
    return site_of("alder", ledger=str(tmp_path / "other.jsonl"), noise_seed=1)


@pytest.fixture
def ask(ask_app: Callable[..., RecordDict], make_study: Callable[..., Study]) -> Callable[..., Ask]:
    """Gives who asks for round 1 of a study, privately or not."""

    def make(private: bool, kind: str = MessageType.TRAIN, round_number: int = 1) -> Ask:
        training = {"optimizer": "sgd", "learning_rate": 0.5, "local_epochs": 2, "batch_size": 2}
        study = make_study(training=training, **({"privacy": PRIVACY} if private else {}))
        base = initial_weights(study, 0)
        task: Any = EvaluateTask(to_canonical(study), round_number, digest(base))
        if kind == MessageType.TRAIN:
            task = TrainTask(to_canonical(study), 0, round_number, digest(base))
        return lambda which: ask_app(which, kind, task_content(task, weights_record(base)))

    return make


@contextmanager
def dying(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool, call: int = 1
) -> Iterator[None]:
    """Have the process end before or after so many calls of something."""
    real, calls = getattr(owner, name), []

    def once(*given: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == call and not after:
            raise Killed
        result = real(*given, **options)
        if len(calls) == call:
            raise Killed
        return result

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, name, once)
        yield
    assert len(calls) >= call


def given(content: RecordDict) -> Contribution:
    assert read_refusal(content) is None, read_refusal(content)
    return read_contribution(content)


def code(content: RecordDict) -> str:
    refusal = read_refusal(content)
    return "" if refusal is None else refusal.code


def same(first: Contribution, second: Contribution) -> bool:
    return first.delta.keys() == second.delta.keys() and all(
        np.array_equal(array, second.delta[name]) for name, array in first.delta.items()
    )


def lines(site: Site) -> list[tuple[int, bool]]:
    """Steps of each reservation in the site's ledger, and whether it is settled."""
    return [
        (line.event.steps, line.settled is not None) for line in Ledger(Path(site.ledger), None).book().lines
    ]


def never(*_: Any) -> Any:
    raise AssertionError("this was done before")


MOMENTS = [
    pytest.param((Ledger, "reserve"), {"after": True}, [(STEPS, False)], id="reserved"),
    pytest.param((TaskFolder, "secret"), {"after": True}, [(STEPS, False)], id="secret kept"),
    pytest.param((Checkpoints, "offer"), {"after": False}, [(STEPS, False)], id="first step"),
    pytest.param((Checkpoints, "offer"), {"after": True, "call": 3}, [(STEPS, False)], id="third step kept"),
    pytest.param((Checkpoints, "offer"), {"after": True, "call": 8}, [(STEPS, False)], id="last step kept"),
    pytest.param((TaskFolder, "finish"), {"after": False}, [(STEPS, False)], id="trained"),
    pytest.param((TaskFolder, "finish"), {"after": True}, [(STEPS, False)], id="kept"),
    pytest.param((Ledger, "settle"), {"after": False}, [(STEPS, False)], id="before settling"),
    pytest.param((Ledger, "settle"), {"after": True}, [(STEPS, True)], id="settled"),
    pytest.param(
        (client.private_round, "contribution_content"), {"after": True}, [(STEPS, False)], id="told, in part"
    ),
]


@pytest.mark.fault(
    "a hospital's process ends at any moment of a private round",
    "the same reservation is used: nothing is paid twice, nothing that was sent is unpaid; the update is "
    "bit-equal",
)
@pytest.mark.parametrize(("place", "when", "owed"), MOMENTS)
def test_a_private_round_goes_on_wherever_it_died(
    ask: Callable[..., Ask],
    site: Site,
    undisturbed: Site,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[Any, str],
    when: dict[str, Any],
    owed: list[tuple[int, bool]],
) -> None:
    """Seeded noise lets the result be compared with that of a process which did not die."""
    if place[1] == "secret":  # which a seeded site does not draw
        site, undisturbed = unseeded(site), unseeded(undisturbed)
        monkeypatch.setattr("client.checkpoints.folder.secrets.token_bytes", lambda size: b"k" * size)
    asking = ask(private=True)
    wanted = given(asking(undisturbed))
    with dying(monkeypatch, *place, **when):
        asking(site)
    assert lines(site) == owed
    resumed = given(asking(site))
    assert same(resumed, wanted)
    assert (resumed.epsilon, resumed.cases) == (wanted.epsilon, wanted.cases)
    assert lines(site) == [(STEPS, True)]


def unseeded(site: Site) -> Site:
    return site_from({**site.node_config(), "noise-seed": -1})


@pytest.mark.fault(
    "a hospital's process ends when a private round is finished, before or after the ledger says so",
    "it is neither trained nor settled again",
)
@pytest.mark.parametrize("after", [False, True])
def test_what_was_finished_is_neither_trained_nor_settled_again(
    ask: Callable[..., Ask], site: Site, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    real, asking = unseeded(site), ask(private=True)
    with dying(monkeypatch, Ledger, "settle", after=after):
        asking(real)
    monkeypatch.setattr(client.private_round, "train_privately", never)
    first, again = given(asking(real)), given(asking(real))
    assert same(first, again) and first.ledger_head == again.ledger_head and first.epsilon == again.epsilon
    assert lines(real) == [(STEPS, True)]


def test_a_finished_private_round_is_given_again_as_it_was_sent(ask: Callable[..., Ask], site: Site) -> None:
    asking = ask(private=True)
    assert asking(unseeded(site)) == asking(unseeded(site))
    assert lines(site) == [(STEPS, True)]


def test_each_round_is_paid_for(ask: Callable[..., Ask], site: Site) -> None:
    first, second = (given(ask(private=True, round_number=number)(site)) for number in (1, 2))
    assert not same(first, second) and (first.epsilon or 0) < (second.epsilon or 0)
    assert lines(site) == [(STEPS, True)] * 2


@pytest.mark.parametrize(
    ("place", "after"),
    [((TaskFolder, "finish"), False), ((TaskFolder, "finish"), True), ((Ledger, "settle"), True)],
)
def test_private_counts_are_made_and_paid_for_once(
    ask: Callable[..., Ask],
    site: Site,
    undisturbed: Site,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[Any, str],
    after: bool,
) -> None:
    asking = ask(private=True, kind=MessageType.EVALUATE)
    wanted = read_evaluation(asking(undisturbed), 2).sums
    with dying(monkeypatch, *place, after=after):
        asking(site)
    found = read_evaluation(asking(site), 2).sums
    np.testing.assert_array_equal(found.histogram, wanted.histogram)
    assert lines(site) == [(1, True)]
    monkeypatch.setattr(client.private_round, "noised_sums", never)
    assert asking(site) == asking(site)


@pytest.mark.fault(
    "a hospital's process ends several times in one round of training",
    "it goes on from its last checkpoint; the update is bit-equal, and a finished one is not trained again",
)
def test_plain_training_goes_on_and_is_not_done_twice(
    ask: Callable[..., Ask], site: Site, undisturbed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = ask(private=False)
    wanted = asking(undisturbed)
    for call in (2, 1, 1):
        with dying(monkeypatch, Checkpoints, "offer", after=True, call=call):
            asking(site)
    with dying(monkeypatch, TaskFolder, "finish", after=True):
        asking(site)
    monkeypatch.setattr(client.app, "train", never)
    assert asking(site) == wanted == asking(site)


def test_what_a_person_closed_is_not_sent_and_the_task_pays_anew(
    ask: Callable[..., Ask], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asking = unseeded(site), ask(private=True)
    with dying(monkeypatch, Ledger, "settle", after=False):
        asking(real)
    (Path(real.ledger)).unlink()  # the ledger was set aside: nobody knows the reservation any more
    Path(real.ledger).with_suffix(".head").unlink()
    given(asking(real))
    assert lines(real) == [(STEPS, True)]


def test_a_full_disk_stops_the_answer_and_nothing_is_lost(
    ask: Callable[..., Ask], site: Site, undisturbed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise DiskFull("no room")

    asking = ask(private=True)
    wanted = given(asking(undisturbed))
    with monkeypatch.context() as patch:
        patch.setattr(TaskFolder, "finish", full)
        assert code(asking(site)) == "disk-full"
    assert lines(site) == [(STEPS, False)]  # counted whole, and there for the same task
    steps: list[int] = []
    monkeypatch.setattr(Checkpoints, "offer", lambda self, state, done: steps.append(1))
    assert same(given(asking(site)), wanted) and steps == []  # from the last checkpoint: no step was left


@pytest.mark.parametrize(
    ("error", "wanted", "settled"),
    [
        (RuntimeError("CUDA error: device lost"), "device-failed", False),
        (MemoryError("no more"), "out-of-memory", True),
        (RuntimeError("a defect"), "internal", True),
    ],
)
def test_what_fails_in_training_is_paid_for_whole_unless_it_tells_nothing(
    ask: Callable[..., Ask],
    site: Site,
    undisturbed: Site,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    wanted: str,
    settled: bool,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    asking = ask(private=True)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "offer", fail)
        assert code(asking(site)) == wanted
    assert lines(site) == [(STEPS, settled)]
    assert same(given(asking(site)), given(asking(undisturbed)))
    assert lines(site) == [(STEPS, True)] * (1 + settled)


def test_a_site_without_a_place_for_it_keeps_nothing(
    ask: Callable[..., Ask], undisturbed: Site, tmp_path: Path
) -> None:
    for private in (False, True):
        given(ask(private)(undisturbed))
    assert {path.name for path in tmp_path.iterdir()} == {"other.jsonl", "other.head"}


def test_the_place_reaches_the_app_through_the_node_config(site: Site, undisturbed: Site) -> None:
    assert site_from(site.node_config()) == site
    assert "state" not in undisturbed.node_config()
