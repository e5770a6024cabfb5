"""A private task is paid for first, trained second, and told in figures that give no patient away."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import MessageType, RecordDict

from client.cases import unit_numbers
from client.ledger import Ledger
from client.private_round import ledger_of, secret_of
from client.site import Site
from client.site import site_of as site_from
from client.sources import Entry
from common.errors import LedgerMissing
from common.models import initial_weights
from common.study import Study, to_canonical
from common.study import digest as study_digest
from common.tasks import (
    EvaluateTask,
    Evaluation,
    TrainTask,
    read_contribution,
    read_evaluation,
    read_refusal,
    task_content,
    weights_record,
)
from common.update import Contribution
from common.weights import digest, norm

Ask = Callable[..., RecordDict]
PRIVACY = {"noise_multiplier": 1.0, "sample_rate": 0.5, "target_delta": 1e-3}
TRAINING = {"optimizer": "sgd", "learning_rate": 0.5}


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study(privacy=PRIVACY, training=TRAINING, federation={"rounds": 3})


@pytest.fixture
def site(site_of: Callable[..., Site], tmp_path: Path) -> Site:
    return site_of("alder", ledger=str(tmp_path / "alder.jsonl"))


@pytest.fixture
def train(ask_app: Ask, study: Study) -> Callable[..., RecordDict]:
    def ask(site: Site, **changes: Any) -> RecordDict:
        asked = changes.pop("study", study)
        base = initial_weights(asked, 0)
        fields = {"study": to_canonical(asked), "seed": 0, "round": 1, "base_digest": digest(base), **changes}
        return ask_app(site, MessageType.TRAIN, task_content(TrainTask(**fields), weights_record(base)))

    return ask


def given(content: RecordDict) -> Contribution:
    assert read_refusal(content) is None, read_refusal(content)
    return read_contribution(content)


def code(content: RecordDict) -> str:
    refusal = read_refusal(content)
    return "" if refusal is None else refusal.code


def same(first: Contribution, second: Contribution) -> bool:
    return all(np.array_equal(first.delta[name], second.delta[name]) for name in first.delta)


def test_a_private_contribution_says_what_it_cost_and_no_loss(
    train: Callable[..., RecordDict], site: Site, study: Study
) -> None:
    told = given(train(site))
    assert told.loss is None and told.base_loss is None
    assert told.target_delta == 1e-3 and told.epsilon is not None and 0.5 < told.epsilon < 20
    assert re.fullmatch(r"\d+:[0-9a-f]{64}", told.ledger_head or "")
    assert norm(told.delta) > 0
    ledger = Ledger(Path(site.ledger), None)
    assert ledger.head == told.ledger_head
    assert [event.steps for event in ledger.study_events(study_digest(study))] == [2]


def test_every_round_costs_more(train: Callable[..., RecordDict], site: Site) -> None:
    costs = [given(train(site, round=number)).epsilon or 0 for number in (1, 2, 3)]
    assert costs[0] < costs[1] < costs[2] < 3 * costs[0]


def test_noise_is_the_site_s_own_secret(train: Callable[..., RecordDict], site: Site) -> None:
    """The coordinator's seed decides nothing of it: the same task gives another update."""
    assert not same(given(train(site)), given(train(site)))


def test_only_a_site_that_is_told_to_seeds_its_noise(
    train: Callable[..., RecordDict], site_of: Callable[..., Site], tmp_path: Path
) -> None:
    sites = [
        site_of("alder", ledger=str(tmp_path / f"{n}.jsonl"), noise_seed=seed)
        for n, seed in enumerate((5, 5, 6))
    ]
    first, again, other = (given(train(site)) for site in sites)
    assert same(first, again) and not same(first, other)


def test_a_budget_that_does_not_suffice_is_refused_before_training(
    train: Callable[..., RecordDict], site_of: Callable[..., Site], tmp_path: Path
) -> None:
    path = tmp_path / "alder.jsonl"
    enough = given(train(site_of("alder", ledger=str(path)))).epsilon or 0
    tight = site_of("alder", ledger=str(path), budget_epsilon=enough * 1.01, budget_delta=1e-3)
    before = path.read_bytes()
    assert code(train(tight, round=2)) == "budget-spent"
    assert path.read_bytes() == before
    wide = site_of("alder", ledger=str(path), budget_epsilon=enough * 3, budget_delta=1e-3)
    assert given(train(wide, round=2)).epsilon


def test_a_site_without_a_ledger_does_not_train_privately(
    train: Callable[..., RecordDict], site_of: Callable[..., Site]
) -> None:
    assert code(train(site_of("alder"))) == "ledger-missing"
    with pytest.raises(LedgerMissing):
        ledger_of(site_of("alder"))


def test_a_head_that_the_ledger_does_not_hold_stops_the_site(
    train: Callable[..., RecordDict], site: Site
) -> None:
    head = given(train(site)).ledger_head
    assert given(train(site, round=2, ledger_head=head)).ledger_head != head
    assert code(train(site, round=3, ledger_head="9:" + "a" * 64)) == "ledger-rolled-back"


def test_an_adapted_clip_norm_goes_on_from_where_it_was(
    train: Callable[..., RecordDict],
    site_of: Callable[..., Site],
    make_study: Callable[..., Study],
    tmp_path: Path,
) -> None:
    adaptive = make_study(privacy={**PRIVACY, "clip_quantile": 0.5, "clip_norm": 50.0}, training=TRAINING)
    first, other = (site_of("alder", ledger=str(tmp_path / f"{n}.jsonl"), noise_seed=1) for n in "ab")
    began = given(train(first, study=adaptive)).clip_norm
    assert began and began != 50.0
    assert Ledger(Path(first.ledger), None).last_clip_norm(study_digest(adaptive)) == began
    went_on = given(train(first, study=adaptive, round=2)).clip_norm or 0
    anew = given(train(other, study=adaptive, round=2)).clip_norm or 0  # as the first, had it begun at 50
    assert went_on / anew == pytest.approx(began / 50.0)


def test_test_counts_are_noised_and_paid_for_where_the_study_asks(
    ask_app: Ask, site: Site, make_study: Callable[..., Study]
) -> None:
    def counts(epsilon: float, which: Site) -> Evaluation:
        privacy = {**PRIVACY, "evaluation_epsilon": epsilon}
        asked = make_study(privacy=privacy, training=TRAINING, federation={"rounds": 3})
        base = initial_weights(asked, 0)
        task = EvaluateTask(to_canonical(asked), 1, digest(base))
        reply = ask_app(which, MessageType.EVALUATE, task_content(task, weights_record(base)))
        assert read_refusal(reply) is None, read_refusal(reply)
        return read_evaluation(reply, 2)

    noisy = [counts(0.5, site).sums for _ in range(3)]
    assert all(not sums.exact for sums in noisy)
    assert len({sums.histogram.tobytes() for sums in noisy}) == 3
    spent = Ledger(Path(site.ledger), None).spent()
    assert [study.purpose for study in spent.studies] == ["evaluation"] and spent.epsilon > 0


def lines(site: Site) -> list[int]:
    """Steps of each reservation in the site's ledger."""
    return [line.event.steps for line in Ledger(Path(site.ledger), None).book().lines]


def test_a_round_that_fails_is_paid_for_whole_each_time_it_is_asked(
    train: Callable[..., RecordDict], site: Site, make_study: Callable[..., Study]
) -> None:
    """Whether training diverged tells of the gradients that were drawn, so it is an answer like any other."""
    wild = make_study(
        privacy=PRIVACY,
        training={"optimizer": "sgd", "learning_rate": 100.0, "weight_decay": 10.0, "local_epochs": 20},
    )
    assert code(train(site, study=wild)) == "model-diverged"
    assert code(train(site, study=wild)) == "model-diverged"
    assert lines(site) == [40, 40]


def test_a_study_makes_no_more_releases_than_it_is_for(
    train: Callable[..., RecordDict], site: Site, make_study: Callable[..., Study]
) -> None:
    short = make_study(privacy=PRIVACY, training=TRAINING, federation={"rounds": 2})
    assert code(train(site, study=short, round=3)) == "task-invalid"
    for _ in range(2):
        given(train(site, study=short, round=1))
    assert code(train(site, study=short, round=2)) == "target-spent"
    assert lines(site) == [2, 2]


def test_tests_are_paid_for_before_they_are_made_and_never_fail_for_what_a_case_holds(
    ask_app: Ask, site: Site, make_study: Callable[..., Study]
) -> None:
    asked = make_study(privacy={**PRIVACY, "evaluation_epsilon": 0.5}, training=TRAINING)
    base = {name: np.full_like(array, 3e38) for name, array in initial_weights(asked, 0).items()}
    task = EvaluateTask(to_canonical(asked), 1, digest(base))
    reply = ask_app(site, MessageType.EVALUATE, task_content(task, weights_record(base)))
    assert code(reply) == "" and lines(site) == [1]
    plain = make_study()
    task = EvaluateTask(to_canonical(plain), 1, digest(base))
    assert (
        code(ask_app(site, MessageType.EVALUATE, task_content(task, weights_record(base))))
        == "model-diverged"
    )


def test_ledger_and_noise_reach_the_app_through_the_node_config(site: Site) -> None:
    full = Site(
        **{
            **{name: getattr(site, name) for name in Site.__dataclass_fields__},
            "noise_seed": 3,
            "budget_epsilon": 2.0,
        }
    )
    assert site_of_config(full) == full and site_of_config(site) == site
    assert "noise-seed" not in site.node_config()


def site_of_config(site: Site) -> Site:
    return site_from(site.node_config())


def test_a_secret_is_fresh_unless_seeded(site: Site) -> None:
    def draw(which: Site) -> list[float]:
        generator = secret_of(which, "training", 1).generator("noise")
        return torch.randn(4, generator=generator).tolist()  # type: ignore[no-any-return]

    assert draw(site) != draw(site)
    seeded = Site("alder", noise_seed=1)
    assert draw(seeded) == draw(seeded)
    assert draw(seeded) != draw(Site("birch", noise_seed=1))


def test_units_are_patients_or_images() -> None:
    entries = [Entry(patient, "train", "0", "", None) for patient in ("p", "q", "p", "r")]  # type: ignore[arg-type]
    assert unit_numbers(entries, "patient").tolist() == [0, 1, 0, 2]
    assert unit_numbers(entries, "image").tolist() == [0, 1, 2, 3]
