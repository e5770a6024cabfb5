"""What federating is compared with trains as the study's sites do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import deploy.baselines
from client.site import Site
from client.trainer import Trained, evaluated, train
from common.models import state_of
from common.study import Study, to_canonical
from deploy.baselines import Job, run_job

Call = dict[str, Any]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What each round of training was told, and the moments that it began with."""
    found: list[Call] = []

    def noted(*given: Any, **options: Any) -> Trained:
        moments = options["moments"]
        found.append({**options, "begun": moments and moments.read(), "plan": given[2]})
        return train(*given, **options)

    monkeypatch.setattr(deploy.baselines, "train", noted)
    return found


def run(make_study: Callable[..., Study], site_of: Callable[..., Site], **training: Any) -> None:
    sites = (site_of("alder"), site_of("birch"))
    run_job(Job("", to_canonical(make_study(training=training, federation={"rounds": 2})), 0, sites, sites))


def test_a_baseline_keeps_its_moments_as_the_sites_do(
    make_study: Callable[..., Study], site_of: Callable[..., Site], calls: list[Call]
) -> None:
    run(make_study, site_of, optimizer_state="kept", local_epochs=0.5)
    assert [call["begun"] is None for call in calls] == [True, False]
    assert [call["plan"].progress for call in calls] == [0.0, 0.5]
    assert calls[0]["plan"].pass_seed == calls[1]["plan"].pass_seed != 0
    assert calls[0]["groups"] is None


def test_a_balanced_baseline_knows_the_patients_of_all_sites(
    make_study: Callable[..., Study], site_of: Callable[..., Site], calls: list[Call]
) -> None:
    run(make_study, site_of, sampling="balanced")
    assert calls[0]["groups"].tolist() == list(
        range(6 + 8)
    )  # each case of alder and birch is a patient's own
    assert calls[0]["moments"] is None


def test_a_baseline_is_the_mean_of_as_many_models_as_the_study_keeps(
    make_study: Callable[..., Study], site_of: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[dict[str, Any]] = []

    def noted(model: Any, *given: Any, **options: Any) -> Trained:
        done = train(model, *given, **options)
        models.append(state_of(model))
        return done

    tested: list[dict[str, Any]] = []
    monkeypatch.setattr(deploy.baselines, "train", noted)
    monkeypatch.setattr(
        deploy.baselines,
        "evaluated",
        lambda model, *given, **options: (
            tested.append(state_of(model)) or evaluated(model, *given, **options)
        ),
    )
    study = make_study(federation={"rounds": 3, "average_last": 2})
    sites = (site_of("alder"),)
    run_job(Job("", to_canonical(study), 0, sites, sites))
    assert len(models) == 3
    for name, array in tested[0].items():
        mean = np.mean([model[name] for model in models[1:]], axis=0, dtype=np.float64)
        np.testing.assert_array_equal(array, mean.astype(np.float32))
    assert any((tested[0][name] != models[2][name]).any() for name in models[2])
