"""Who is in a training step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice

import pytest
import torch
from flwr.app import MessageType, RecordDict

import client.app
from client.sampling import balanced, going_on, shuffled
from client.site import Site
from client.trainer import LocalPlan, train
from common.errors import InvalidValue
from common.models import build_model, initial_weights
from common.sequences import SequenceBatch
from common.study import Study, Training, digest, to_canonical
from common.tasks import TrainTask, read_contribution, task_content, weights_record
from common.weights import digest as digest_of

MakeStudy = Callable[..., Study]


def order(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- passes


def test_a_pass_has_every_case_once() -> None:
    batches = list(islice(shuffled(10, 4, order()), 6))
    assert [len(batch) for batch in batches] == [4, 4, 2] * 2
    first, second = torch.cat(batches[:3]).tolist(), torch.cat(batches[3:]).tolist()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_rounds_together_go_through_all_cases(steps: int) -> None:
    """Three batches a pass: whatever a round takes of them, the next one goes on."""
    rounds = [list(islice(going_on(10, 4, 7, number * steps), steps)) for number in range(6)]
    whole = list(islice(going_on(10, 4, 7, 0), 6 * steps))
    taken = [batch for each in rounds for batch in each]
    assert all(torch.equal(a, b) for a, b in zip(taken, whole, strict=True))
    for number in range(0, len(whole) - 2, 3):
        assert sorted(torch.cat(whole[number : number + 3]).tolist()) == list(range(10))


def test_passes_differ_by_their_number_and_seed() -> None:
    passes = [torch.cat(list(islice(going_on(10, 4, seed, first), 3))).tolist() for seed, first in
              ((7, 0), (7, 3), (8, 0))]  # fmt: skip
    assert len({tuple(each) for each in passes}) == 3


@pytest.mark.parametrize(
    ("epochs", "cases", "steps"),
    [(1, 10, 3), (2, 10, 6), (0.25, 40, 3), (0.25, 3, 1), (1.5, 10, 5), (0.1, 120, 3)],
)
def test_a_part_of_an_epoch_is_whole_batches(epochs: float, cases: int, steps: int) -> None:
    assert Training(local_epochs=epochs, batch_size=4).steps(cases) == steps


def test_a_whole_number_of_epochs_is_written_as_one(make_study: MakeStudy) -> None:
    one, same = (make_study(training={"local_epochs": epochs}) for epochs in (1, 1.0))
    assert (digest(one), one.training.in_parts) == (digest(same), False)
    part = make_study(training={"local_epochs": 0.25})
    assert part.training.in_parts
    assert digest(part) != digest(one)


def test_rounds_of_a_part_of_an_epoch_train_on_other_cases(make_study: MakeStudy) -> None:
    study = make_study(training={"local_epochs": 0.25, "batch_size": 4}, federation={"rounds": 8})
    seen: list[int] = []

    class Noted(SequenceBatch):
        def take(self, index: torch.Tensor) -> SequenceBatch:
            seen.extend(index.tolist())
            return super().take(index)

    cases = Noted(torch.zeros(16, 8, 8), torch.full((16,), 8), torch.arange(16) % 2)
    for number in range(8):
        plan = LocalPlan.of(study, number / 8, seed=number, pass_seed=5)
        assert train(build_model(study), cases, plan).steps == 1
    assert Counter(seen) == Counter(dict.fromkeys(range(16), 2))


# --- balanced


def drawn(targets: torch.Tensor, groups: torch.Tensor, draws: int = 400) -> torch.Tensor:
    return torch.cat(list(islice(balanced(targets, groups, len(groups), order()), draws)))


def test_classes_patients_and_their_cases_are_drawn_alike() -> None:
    """Patient 0 has eight pictures of class 0, patient 1 one of each class, patient 2 one of class 1."""
    targets = torch.tensor([0] * 8 + [0, 1, 1])
    groups = torch.tensor([0] * 8 + [1, 1, 2])
    share = torch.bincount(drawn(targets, groups), minlength=11) / (400 * 11)
    expected = torch.tensor([1 / 4 / 8] * 8 + [1 / 4] * 3)
    torch.testing.assert_close(share, expected, atol=0.02, rtol=0)


def test_a_site_with_one_class_draws_that() -> None:
    cases = drawn(torch.ones(5, dtype=torch.int64), torch.arange(5), draws=50)
    assert sorted(set(cases.tolist())) == list(range(5))


def test_cases_with_several_labels_are_drawn_by_each_and_those_without_by_none() -> None:
    targets = torch.tensor([[1.0, 1.0]] + [[1.0, 0.0]] * 3 + [[0.0, 0.0]] * 4)
    share = torch.bincount(drawn(targets, torch.arange(8)), minlength=8) / (400 * 8)
    expected = torch.tensor([1 / 3 + 1 / 12] + [1 / 12] * 7)
    torch.testing.assert_close(share, expected, atol=0.03, rtol=0)


def test_the_same_seed_draws_the_same() -> None:
    targets, groups = torch.arange(6) % 2, torch.arange(6)
    first, second, other = (next(balanced(targets, groups, 4, order(seed))).tolist() for seed in (1, 1, 2))
    assert first == second != other


def test_the_largest_uniform_number_finds_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 rounds 0.99999994 times a large number up to it."""
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.full(shape, 1 - 2**-24))
    cases = 2**20 + 1
    batch = next(balanced(torch.zeros(cases, dtype=torch.int64), torch.arange(cases), 4, order()))
    assert int(batch.max()) < cases


def test_balanced_training_makes_as_many_steps(make_study: MakeStudy) -> None:
    study = make_study(training={"sampling": "balanced", "batch_size": 4, "local_epochs": 2})
    cases = SequenceBatch(torch.zeros(10, 8, 8), torch.full((10,), 8), torch.arange(10) % 2)
    trained = train(build_model(study), cases, LocalPlan.of(study, 0.0, 1), groups=torch.arange(10) // 2)
    assert trained.steps == 6


@pytest.mark.parametrize(
    "privacy", [{"noise_multiplier": 1.0}, {"sites": {"noise_multiplier": 1.0, "planned_sites": 3}}]
)
def test_balanced_sampling_is_refused_where_labels_are_protected(
    make_study: MakeStudy, privacy: dict[str, object]
) -> None:
    with pytest.raises(InvalidValue, match="patients' labels"):
        make_study(training={"sampling": "balanced"}, privacy=privacy)


@pytest.mark.parametrize("task", ["segmentation", "detection", "risk"])
def test_balanced_sampling_needs_classes(task: str) -> None:
    with pytest.raises(ValueError, match=f"in {task} they have none"):
        Training(sampling="balanced").require_fit(task, 10)


def test_private_training_takes_whole_steps(make_study: MakeStudy) -> None:
    privacy = {"noise_multiplier": 1.0, "sample_rate": 0.1}
    make_study(training={"local_epochs": 0.5}, privacy=privacy)
    with pytest.raises(InvalidValue, match=r"0.25, which is 2.5 private steps; an epoch is 10"):
        make_study(training={"local_epochs": 0.25}, privacy=privacy)


def test_a_task_draws_by_the_patients_of_its_site(
    ask_app: Callable[..., RecordDict],
    make_study: MakeStudy,
    site_of: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study, told = make_study(training={"sampling": "balanced"}), []
    monkeypatch.setattr(
        client.app, "train", lambda *given, **options: told.append(options) or train(*given, **options)
    )
    base = initial_weights(study, 0)
    task = TrainTask(to_canonical(study), 0, 1, digest_of(base))
    reply = ask_app(site_of("alder"), MessageType.TRAIN, task_content(task, weights_record(base)))
    assert read_contribution(reply).cases == 6
    assert told[0]["groups"].tolist() == list(range(6))
