"""What the hospital's policy says to a study, whoever asks and whoever has approved it."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from client.cohorts.settings import Policy, StudyPolicy
from common.contract.leaving import metrics_of
from common.errors import CohortHeldBack, PolicyRefused, PrivacyRequired, UnitRefused
from common.private.plan import plan_of
from common.study import Study, from_canonical, to_canonical
from common.weights import Weights, norm

if TYPE_CHECKING:  # it brings torch along, which who only asks for the rules need not wait for
    import torch

    from client.site import Site

_COMPUTING = ("train", "evaluate")
_TASK_HINT = 'If the hospital wants it, it adds "{task}" to tasks under [studies] in policy.toml.'
_HOURS_HINT = "The hospital computes at certain hours only; the study goes on with it when they begin."


def check_policy(site: Site, study: Study) -> None:
    """Let a study pass that the hospital's policy does not rule out for the site's cohort.

    Raises:
        PrivacyRequired: The hospital takes only private ones, and this is none.
        UnitRefused: It hides single images, and the hospital's budget is for patients.
        PolicyRefused: ``[studies]`` does not allow it, or not with so small a cohort.
        CohortHeldBack: Too much of the cohort is in quarantine for studies.
        DataError: The cohort is none that the study could use.
    """
    policy = _policy_of(site)
    if policy is None:
        return
    check_study(policy, study)
    _check_quarantine(site, policy.studies)
    _check_cases(site, policy.studies, study)


def check_study(policy: Policy, study: Study) -> None:
    """Let a study pass that is not ruled out whatever the cohort; no data is looked at.

    Raises:
        PrivacyRequired, UnitRefused, PolicyRefused: As :func:`check_policy`.
    """
    _check_privacy(policy, study)
    rules, model = policy.studies, study.model
    if study.study.task not in rules.tasks:
        raise PolicyRefused(
            f"[studies] tasks: {study.study.task} is not among {', '.join(rules.tasks)}",
            hint=_TASK_HINT.format(task=study.study.task),
        )
    if model.cell not in rules.models:
        raise PolicyRefused(f"[studies] models: {model.cell} is not among {', '.join(rules.models)}")
    if kept_back := sorted(metrics_of(study) - set(rules.metrics)):
        raise PolicyRefused(f"[studies] metrics: the study sends {', '.join(kept_back)}, which may not leave")


def check_hours(policy: Policy, message_type: str, now: datetime) -> None:
    """Let a task pass that comes at a time when the hospital computes, or that computes nothing.

    Raises:
        PolicyRefused: It comes at another time.
    """
    clock = now.astimezone().time()
    if message_type in _COMPUTING and not policy.studies.allows(clock):
        raise PolicyRefused(
            f"[studies] hours: {clock:%H:%M} is not in {policy.studies.hours}", hint=_HOURS_HINT
        )


def bounded_update(site: Site, delta: Weights) -> dict[str, NDArray[Any]]:
    """The update as it may leave: scaled to ``max_update_norm`` where its Euclidean norm is larger.

    Scaling what came out of private training costs no privacy. Arrays of whole numbers stay as they are.
    """
    policy = _policy_of(site)
    limit = None if policy is None else policy.studies.max_update_norm
    scaled = {name: array for name, array in delta.items() if array.dtype.kind == "f"}
    size = norm(scaled) if limit is not None else 0.0
    if limit is None or size <= limit:
        return dict(delta)
    return {
        name: np.asarray((array * (limit / size)).astype(array.dtype)) if name in scaled else array
        for name, array in delta.items()
    }


def smallest_cell(site: Site) -> int:
    """Fewest patients of a group that the hospital lets be told apart; 1 in a federation of manifests."""
    policy = _policy_of(site)
    return 1 if policy is None else policy.min_cell


def limit_gpu(site: Site, device: torch.device) -> None:
    """Hold this process to the policy's share of the GPU's memory; nothing on other devices."""
    policy = _policy_of(site)
    if policy is None or device.type != "cuda":
        return
    import torch

    torch.cuda.set_per_process_memory_fraction(policy.studies.gpu_share, device)


def _policy_of(site: Site) -> Policy | None:
    """The policy of the site's home; None for a federation of manifests, which has none to wait for."""
    if not site.cohort:
        return None
    from client.cohorts.home import open_home

    return open_home(Path(site.home)).policy


def _check_privacy(policy: Policy, study: Study) -> None:
    private, most = study.privacy, policy.studies.max_epsilon
    if private is None or not private.at_sites:
        if policy.privacy.required:
            raise PrivacyRequired("policy.toml has [privacy] required = true")
        if most is not None:
            raise PrivacyRequired(f"policy.toml has [studies] max_epsilon = {most:g}")
        return
    if private.unit == "image" and policy.privacy.unit == "patient":
        raise UnitRefused('policy.toml has [privacy] unit = "patient"')
    _check_epsilon(most, max(private.target_epsilon or 0.0, private.evaluation_epsilon or 0.0))


def _check_epsilon(most: float | None, epsilon: float) -> None:
    if most is not None and epsilon > most:
        raise PolicyRefused(f"[studies] max_epsilon: the study costs {epsilon:.3g}, more than {most:g}")


def _check_quarantine(site: Site, rules: StudyPolicy) -> None:
    if rules.quarantine_threshold is None:
        return
    from client.cohorts.cohort import open_cohort
    from client.cohorts.home import open_home

    share = open_cohort(open_home(Path(site.home)), site.cohort).quarantine_share
    if share > rules.quarantine_threshold:
        raise CohortHeldBack(
            f"{share:.0%} of the files of cohort {site.cohort!r} are in quarantine; "
            f"[studies] quarantine_threshold is {rules.quarantine_threshold:.0%}"
        )


def _check_cases(site: Site, rules: StudyPolicy, study: Study) -> None:
    """What the policy says to the number of cases, and to what the study costs so many patients."""
    private = study.privacy
    by_noise = rules.max_epsilon is not None and private is not None and private.noise_multiplier is not None
    if rules.minimum_cases == 1 and not by_noise:
        return
    train = [entry for entry in site.source.entries(study) if entry.split == "train"]
    if len(train) < rules.minimum_cases:
        raise PolicyRefused(
            f"[studies] minimum_cases: cohort {site.cohort!r} has {len(train)} training cases, "
            f"fewer than {rules.minimum_cases}"
        )
    if by_noise and private is not None:
        units = len(train) if private.unit == "image" else len({entry.patient for entry in train})
        _check_epsilon(rules.max_epsilon, _planned_epsilon(to_canonical(study), units))


@lru_cache(maxsize=32)
def _planned_epsilon(study: str, units: int) -> float:
    """What all rounds of a study would cost a unit of so many."""
    plan = plan_of(from_canonical(study), units)
    return plan.epsilon_after(plan.rounds)
