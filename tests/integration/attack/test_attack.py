"""All attacks together: what is found is reported whole, and follows from the seed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.errors import InvalidValue, NoSuchSite
from common.models import SequenceClassifier
from common.private.secret import Secret
from common.study import Study, digest
from deploy.attack.attack import Audit, attack
from deploy.attack.canaries import Effort
from deploy.attack.finding import Verdict
from deploy.attack.gathering import Asked, gather
from deploy.attack.membership import infer
from deploy.attack.own_gradient import flat, trainable
from deploy.attack.releases import Engine, WholeStep
from deploy.attack.subject import Subject, without_dropout

MakeStudy = Callable[..., Study]


def first_model(subject: Subject) -> SequenceClassifier:
    model = next(subject.training(subject.train, subject.units, subject.plan.units, "test"))
    return without_dropout(model)


def test_every_attack_reports(subject: Subject, audit: Audit) -> None:
    assert [finding.attack for finding in audit.findings] == [
        "canaries, clipping and noise",
        "canaries, whole steps",
        "one run",
        "one run, Gaussian trade-off",
        "membership by loss",
        "membership by likelihood ratio",
    ]
    assert audit.study_digest == digest(subject.study) and audit.site == "alder"
    for finding in audit.findings:
        assert finding.observations > 0 and finding.observed and finding.power and finding.source
        assert 0.0 <= finding.epsilon <= finding.visible


def test_the_right_engine_is_not_convicted(audit: Audit) -> None:
    assert audit.violations == ()
    assert audit.to_dict()["violated"] is False


def test_an_audit_is_one_json_document(audit: Audit) -> None:
    document = json.loads(json.dumps(audit.to_dict(), allow_nan=False))
    assert document["claim"]["epsilon"] == audit.claim.epsilon
    assert document["findings"][0]["confidence"] == 0.95
    assert document["findings"][0]["figures"]["mu_claimed"] == 1.0
    assert "simulation" in document["noise"]


def test_a_violation_is_told(audit: Audit) -> None:
    broken = replace(audit.findings[0], verdict=Verdict.violated)
    found = replace(audit, findings=(broken, *audit.findings[1:]))
    assert found.violations == (broken,) and found.to_dict()["violated"] is True


def test_the_same_seed_gives_the_same_audit(subject: Subject, audit: Audit) -> None:
    torch.manual_seed(77)
    assert attack(subject, 2, engine=Effort(5, 20), steps=Effort(3, 10)) == audit


def test_another_seed_finds_otherwise_and_nobody_to_test_on_no_member(subject: Subject, audit: Audit) -> None:
    nobody = torch.zeros(0, dtype=torch.int64)
    other = replace(subject, seed=4, test=subject.test.take(nobody), test_units=nobody)
    found = attack(other, 2, engine=Effort(5, 20), steps=Effort(3, 10)).findings
    assert len(found) == 4
    assert all(f.observed != g.observed for f, g in zip(found[:3], audit.findings[:3], strict=True))


def test_steps_are_told(attacked: tuple[Audit, list[str]]) -> None:
    _, told = attacked
    assert told[0] == "training the model that is attacked"
    assert told[-1] == "training shadow models: 2 of 2"


def test_without_shadow_models_there_is_no_likelihood_ratio(subject: Subject) -> None:
    model = first_model(subject)
    assert [f.attack for f in infer(subject, model, 1, lambda _: None)] == ["membership by loss"]


def test_two_trainings_differ_in_their_noise_only_by_purpose(subject: Subject) -> None:
    def trained(purpose: str) -> torch.Tensor:
        *_, model = subject.training(subject.train, subject.units, subject.plan.units, purpose)
        return flat(trainable(model))

    assert trained("a").equal(trained("a"))
    assert not trained("a").equal(trained("b"))


def test_an_engine_releases_the_clipped_sum_with_the_planned_noise(subject: Subject) -> None:
    units = [subject.train.take((subject.units == unit).nonzero().flatten()) for unit in range(4)]
    engine = Engine(first_model(subject), subject.plan, subject.study, Secret.seeded(1))
    released = engine.releasing(units)
    seen = torch.stack([released() for _ in range(400)])
    assert float(seen.std(dim=0).mean()) == pytest.approx(1.0, abs=0.05)
    assert float((seen.mean(dim=0) - engine.clipped_sum(units)).abs().max()) < 5 / 400**0.5
    assert float(engine.clipped_sum(units[:1]).norm()) <= 1.0 + 1e-5


def test_a_whole_step_releases_the_same_and_leaves_the_model_as_it_was(subject: Subject) -> None:
    units = [subject.train.take((subject.units == unit).nonzero().flatten()) for unit in range(3)]
    model = first_model(subject)
    before = copy.deepcopy(model.state_dict())
    quiet = replace(subject.plan, noise_multiplier=1e-6, gradient_noise_multiplier=1e-6)
    step = WholeStep(model, quiet, subject.study, seed=0).releasing(units)
    engine = Engine(model, quiet, subject.study, Secret.seeded(1))
    torch.testing.assert_close(3 * step(), engine.clipped_sum(units), atol=1e-4, rtol=1e-3)
    assert all(before[name].equal(weight) for name, weight in model.state_dict().items())


def test_no_two_steps_have_the_same_noise(subject: Subject) -> None:
    unit = subject.train.take(torch.tensor([0]))
    step = WholeStep(first_model(subject), subject.plan, subject.study, seed=0)
    present, without = step.releasing([unit]), step.releasing([unit.take(torch.zeros(0, dtype=torch.int64))])
    seen = [present(), present(), without(), without()]
    assert all(not a.equal(b) for i, a in enumerate(seen) for b in seen[:i])


PRIVATE = {"noise_multiplier": 1.0}


def test_the_largest_site_is_attacked_unless_one_is_named(make_study: MakeStudy, hospitals: Path) -> None:
    study = make_study(privacy=PRIVATE)
    largest, named = gather(Asked(study, hospitals)), gather(Asked(study, hospitals, site="birch"))
    assert (largest.site, len(largest.train), len(largest.test)) == ("cedar", 10, 2)
    assert (named.site, named.plan.units, len(named.test)) == ("birch", 8, 4)
    assert named.units.tolist() == list(range(8))


def test_without_data_there_are_phantom_hospitals(make_study: MakeStudy) -> None:
    found = gather(Asked(make_study(privacy=PRIVATE), sites=1))
    assert found.plan.units == len(found.units.unique()) > 40
    assert len(found.test)


def test_a_site_that_is_not_there_is_refused(make_study: MakeStudy, hospitals: Path) -> None:
    with pytest.raises(NoSuchSite, match="elm"):
        gather(Asked(make_study(privacy=PRIVATE), hospitals, site="elm"))


def test_a_study_without_privacy_is_refused(make_study: MakeStudy, hospitals: Path) -> None:
    with pytest.raises(InvalidValue, match="noise_multiplier"):
        gather(Asked(make_study(), hospitals))
