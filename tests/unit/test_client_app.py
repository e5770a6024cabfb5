"""The hospital answers a task with counts or an update, or with a refusal that gives nothing away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, MessageType, RecordDict
from PIL import Image

from client.app import answer
from client.manifest import Row, write_manifest
from client.site import Site
from client.site import site_of as site_from
from common import __version__
from common.errors import ManifestMissing
from common.flower import adopt_identity, with_message_id
from common.models import initial_weights
from common.seeds import derive_seed
from common.study import Study, to_canonical
from common.tasks import (
    Describe,
    EvaluateTask,
    SiteDescription,
    TrainTask,
    read_about,
    read_contribution,
    read_evaluation,
    read_refusal,
    refusing_site,
    task_content,
    weights_record,
)
from common.update import Contribution
from common.weights import Moved, Weights, digest, norm

Ask = Callable[..., RecordDict]
MakeSite = Callable[..., Site]
MakeStudy = Callable[..., Study]


def train_content(asked: Study, base: Weights, **changes: Any) -> RecordDict:
    fields = {"study": to_canonical(asked), "seed": 0, "round": 1, "base_digest": digest(base), **changes}
    return task_content(TrainTask(**fields), weights_record(base))


def code(content: RecordDict) -> str:
    refusal = read_refusal(content)
    return "" if refusal is None else refusal.code


def trained(ask_app: Ask, site: Site, study: Study, base: Weights, **changes: Any) -> Contribution:
    return read_contribution(ask_app(site, MessageType.TRAIN, train_content(study, base, **changes)))


def equal(first: Weights, second: Weights) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_a_site_describes_itself_by_counts(ask_app: Ask, site_of: MakeSite, make_study: MakeStudy) -> None:
    content = task_content(Describe(to_canonical(make_study())))
    reply = ask_app(site_of("birch"), MessageType.QUERY, content)
    assert read_about(reply, SiteDescription) == SiteDescription(
        "birch", __version__, "cpu", 8, 8, 4, 4, train_labels=(4, 4), test_labels=(2, 2), val_cases=0
    )


def test_an_update_is_new_weights_minus_base(ask_app: Ask, site_of: MakeSite, make_study: MakeStudy) -> None:
    study = make_study()
    base = initial_weights(study, 0)
    given = trained(ask_app, site_of("alder"), study, base, round=2)
    assert (given.site, given.round, given.base_digest, given.cases) == ("alder", 2, digest(base), 6)
    assert {n: (a.shape, a.dtype) for n, a in given.delta.items()} == {
        n: (a.shape, a.dtype) for n, a in base.items()
    }
    assert 1e-4 < norm(given.delta) < 10
    assert 0 < given.loss < 2 and given.base_loss is None


def test_an_update_depends_on_seed_round_and_site_only(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy
) -> None:
    study = make_study()
    base = initial_weights(study, 0)
    first = trained(ask_app, site_of("alder"), study, base)
    others = [
        trained(ask_app, site_of("birch"), study, base),
        trained(ask_app, site_of("alder"), study, base, round=2),
        trained(ask_app, site_of("alder"), study, base, seed=1),
    ]
    assert equal(first.delta, trained(ask_app, site_of("alder"), study, base).delta)
    assert not any(equal(first.delta, other.delta) for other in others)


def test_two_sites_with_the_same_cases_train_in_another_order(
    ask_app: Ask, make_study: MakeStudy, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for index in range(9):
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    rows = [
        Row(f"{i}.png", name, f"{name}{i}", "train" if i < 8 else "test", str(i % 2), i)
        for name in ("elm", "fir")
        for i in range(9)
    ]
    write_manifest(tmp_path / "manifest.csv", rows)
    study = make_study()
    base = initial_weights(study, 0)
    elm, fir = (
        trained(ask_app, Site(name, str(tmp_path / "manifest.csv"), "cpu"), study, base)
        for name in ("elm", "fir")
    )
    assert not equal(elm.delta, fir.delta)


def test_the_base_loss_is_that_of_the_base_model(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy
) -> None:
    study = make_study(training={"local_epochs": 10})
    base = initial_weights(study, 0)
    given = trained(ask_app, site_of("alder"), study, base, base_loss=True)
    after = trained(ask_app, site_of("alder"), study, dict(Moved(base, given.delta)), base_loss=True, round=2)
    again = trained(ask_app, site_of("alder"), study, base, base_loss=True, seed=9)
    assert given.base_loss is not None and after.base_loss is not None
    assert given.base_loss == again.base_loss
    assert after.base_loss < given.loss < given.base_loss


def test_terms_of_the_task_reach_the_training(ask_app: Ask, site_of: MakeSite, make_study: MakeStudy) -> None:
    study = make_study(training={"local_epochs": 5})
    base = initial_weights(study, 0)
    free, held, weighted = (
        trained(ask_app, site_of("alder"), study, base, **terms).delta
        for terms in ({}, {"proximal_mu": 100.0}, {"class_weights": (0.1, 1.9)})
    )
    assert norm(held) < norm(free)
    assert not equal(weighted, free)


def test_the_schedule_follows_the_round(ask_app: Ask, site_of: MakeSite, make_study: MakeStudy) -> None:
    study = make_study(
        federation={"rounds": 10}, training={"schedule": "cosine", "optimizer": "sgd", "batch_size": 64}
    )
    base = initial_weights(study, 0)
    first, last = (trained(ask_app, site_of("alder"), study, base, round=number).delta for number in (1, 10))
    assert norm(last) / norm(first) == pytest.approx(0.01 + 0.99 * (1 + np.cos(0.9 * np.pi)) / 2, rel=1e-3)


@pytest.mark.parametrize("share_scores", [True, False])
def test_evaluation_is_counts_and_scores_only_where_allowed(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, share_scores: bool
) -> None:
    study = make_study()
    base = initial_weights(study, 0)
    content = task_content(EvaluateTask(to_canonical(study), 3, digest(base)), weights_record(base))
    reply = ask_app(site_of("birch", share_scores=share_scores), MessageType.EVALUATE, content)
    counted = read_evaluation(reply, classes=2)
    assert (counted.site, counted.round, counted.base_digest) == ("birch", 3, digest(base))
    assert counted.sums.n == 4 and counted.sums.confusion.sum(axis=1).tolist() == [2, 2]
    assert len(counted.sums.scores) == (4 if share_scores else 0)
    if not share_scores:
        assert counted.sums.labels.size == 0


def test_a_hospital_keeps_its_scores_unless_it_says_otherwise() -> None:
    assert site_from({"site": "elm", "manifest": "m.csv"}) == Site("elm", "m.csv", "auto", share_scores=False)
    assert site_from({"site": "elm", "manifest": "m.csv", "share-scores": "True"}).share_scores
    assert not site_from({"site": "elm", "manifest": "m.csv", "share-scores": 1}).share_scores


@pytest.mark.parametrize("config", [{}, {"site": "elm"}, {"manifest": "m.csv"}])
def test_a_node_that_does_not_know_its_site_refuses(
    ask_app: Ask, make_study: MakeStudy, config: Mapping[str, Any]
) -> None:
    with pytest.raises(ManifestMissing):
        site_from(config)
    content = task_content(Describe(to_canonical(make_study())))
    assert code(ask_app(config, MessageType.QUERY, content)) == "manifest-missing"


@pytest.mark.parametrize(
    ("site", "study", "wanted"),
    [
        pytest.param({"name": "zelkova"}, {}, "site-unknown", id="unknown site"),
        pytest.param({"manifest": "/nowhere/m.csv"}, {}, "manifest-missing", id="no manifest"),
        pytest.param({"device": "cuda:99"}, {}, "device-unavailable", id="no such device"),
        pytest.param({}, {"data": {"min_cases": 100}}, "site-too-small", id="too few cases"),
        pytest.param(
            {}, {"data": {"min_test_cases": 100}}, "site-without-test-cases", id="too few test cases"
        ),
        pytest.param(
            {}, {"study": {"labels": {"x": "normal", "y": "lesion"}}}, "label-unknown", id="unknown label"
        ),
    ],
)
@pytest.mark.parametrize("kind", [MessageType.QUERY, MessageType.TRAIN])
def test_a_site_says_why_it_cannot_take_part(
    ask_app: Ask,
    site_of: MakeSite,
    make_study: MakeStudy,
    site: dict[str, Any],
    study: dict[str, Any],
    wanted: str,
    kind: str,
) -> None:
    made = make_study(**study)
    asked = site_of(**{"name": "alder", **site})
    describe = task_content(Describe(to_canonical(made)))
    content = describe if kind == MessageType.QUERY else train_content(made, initial_weights(made, 0))
    reply = ask_app(asked, kind, content)
    assert code(reply) == wanted
    assert refusing_site(reply) == asked.name
    assert not reply.array_records


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        pytest.param({"base_digest": "0" * 64}, "task-invalid", id="another base"),
        pytest.param({"round": "one"}, "task-invalid", id="round that is no number"),
        pytest.param({"study": '{"study": {}}'}, "study-invalid-value", id="no study"),
        pytest.param({"study": "not JSON"}, "study-syntax", id="study that is no JSON"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, change: dict[str, Any], wanted: str
) -> None:
    study = make_study()
    content = train_content(study, initial_weights(study, 0), **change)
    assert code(ask_app(site_of("alder"), MessageType.TRAIN, content)) == wanted


@pytest.mark.parametrize("left", [(), ("about",), ("arrays",)])
def test_a_task_without_its_records_is_refused(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, left: tuple[str, ...]
) -> None:
    study = make_study()
    whole = train_content(study, initial_weights(study, 0))
    content = RecordDict({name: whole[name] for name in left})
    assert code(ask_app(site_of("alder"), MessageType.TRAIN, content)) == "task-invalid"


@pytest.mark.parametrize("other", [{"hidden": 5}, {"cell": "lstm"}, {"layers": 2}])
def test_weights_of_another_model_are_refused(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy, other: dict[str, Any]
) -> None:
    content = train_content(make_study(), initial_weights(make_study(model=other), 0))
    assert code(ask_app(site_of("alder"), MessageType.TRAIN, content)) == "task-invalid"


def test_weights_of_another_type_are_refused(ask_app: Ask, site_of: MakeSite, make_study: MakeStudy) -> None:
    study = make_study()
    base = {name: array.astype(np.float64) for name, array in initial_weights(study, 0).items()}
    assert code(ask_app(site_of("alder"), MessageType.TRAIN, train_content(study, base))) == "task-invalid"


def test_a_refused_task_does_not_spoil_the_next(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy
) -> None:
    study = make_study()
    base, other = initial_weights(study, 0), initial_weights(study, 1)
    before = trained(ask_app, site_of("alder"), study, base)
    assert code(ask_app(site_of("alder"), MessageType.TRAIN, train_content(study, other, base_digest="x")))
    trained(ask_app, site_of("birch"), study, other)
    assert equal(before.delta, trained(ask_app, site_of("alder"), study, base).delta)


def test_the_record_of_weights_is_left_as_it_came(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy
) -> None:
    study = make_study()
    base = initial_weights(study, 0)
    content = train_content(study, base)
    first, second, third = (
        read_contribution(ask_app(site_of(name), MessageType.TRAIN, content))
        for name in ("alder", "birch", "alder")
    )
    assert equal(first.delta, third.delta)
    assert equal(second.delta, trained(ask_app, site_of("birch"), study, base).delta)


def test_pictures_may_lie_in_an_array(ask_app: Ask, make_study: MakeStudy, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (7, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", train_images=pictures[:5], test_images=pictures[5:])
    rows = [
        *(Row(f"data.npz#train_images/{i}", "elm", f"a{i}", "train", str(i % 2), i) for i in range(5)),
        *(Row(f"data.npz#test_images/{i}", "elm", f"b{i}", "test", str(i % 2), i) for i in range(2)),
    ]
    write_manifest(tmp_path / "manifest.csv", rows)
    study = make_study()
    site = Site("elm", str(tmp_path / "manifest.csv"), "cpu")
    assert trained(ask_app, site, study, initial_weights(study, 0)).cases == 5


@pytest.mark.parametrize("broken", ["{secret}.png", "{secret}.npz#{secret}/0", "data.npz#a/{secret}"])
def test_no_private_text_leaves_the_site(
    ask_app: Ask,
    make_study: MakeStudy,
    tmp_path: Path,
    secret: str,
    text_of: Callable[[RecordDict], str],
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    np.savez(tmp_path / "data.npz", a=np.zeros((1, 8, 8), dtype=np.uint8))
    path = broken.format(secret=secret)
    rows = [Row(path, "elm", secret, "train", "0", 2), Row("b.png", "elm", f"{secret}2", "test", "0", 3)]
    write_manifest(tmp_path / "manifest.csv", rows)
    study = make_study()
    site = Site("elm", str(tmp_path / "manifest.csv"), "cpu")
    with caplog.at_level(logging.ERROR):
        reply = ask_app(site, MessageType.TRAIN, train_content(study, initial_weights(study, 0)))
    assert code(reply).startswith("image-")
    assert secret not in text_of(reply) and str(tmp_path) not in text_of(reply)


def test_a_defect_is_told_by_its_code_alone(
    secret: str, text_of: Callable[[RecordDict], str], caplog: pytest.LogCaptureFixture
) -> None:
    def defect(site: Site, content: RecordDict) -> RecordDict:
        raise RuntimeError(f"cannot read {secret}")

    config: dict[str, Any] = {"site": "elm", "manifest": "m.csv"}
    context = Context(run_id=1, node_id=1, node_config=config, state=RecordDict(), run_config={})
    adopt_identity(1)
    request = with_message_id(Message(RecordDict(), 1, MessageType.TRAIN), "1")
    reply = answer(request, context, defect)
    assert code(reply.content) == "internal"
    assert secret not in text_of(reply.content) and secret not in caplog.text


def test_training_is_seeded_by_site_and_round_not_by_what_came_before(
    ask_app: Ask, site_of: MakeSite, make_study: MakeStudy
) -> None:
    study = make_study(model={"dropout": 0.5})
    base = initial_weights(study, 0)
    torch.manual_seed(derive_seed(1, "elsewhere"))
    first = trained(ask_app, site_of("alder"), study, base)
    trained(ask_app, site_of("cedar"), study, base)
    assert equal(first.delta, trained(ask_app, site_of("alder"), study, base).delta)
