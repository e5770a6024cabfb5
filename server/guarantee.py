"""What a run promises of privacy and what it does not: the ``privacy`` of run.json."""

from __future__ import annotations

from typing import Any, Literal

from common.study import Study

Noise = Literal["secret", "seeded"]

_COUNTS = "The numbers of cases, of patients and of cases of each class at every site."
_WEIGHTS = "The number of patients (or cases) once more, as the weight of a site's update in the mean."
_REFUSALS = (
    "That a site refuses, and the code of its refusal, which may depend on a case that cannot be used."
)
_TESTS = "Results of the tests: counts without noise of how the models do on each site's test cases."
_SUBGROUPS = "The same counts of the final model on subgroups of the test cases that are not small."
_LOSSES = "The mean training loss of each site in each round."
_RECORD = (
    "Who took part, and the length of each site's update: they stand in this record. Whether a site took "
    "part is hidden from those who see the models alone; the coordinator sees every update as it was sent."
)
_QUORUM = "Whether enough sites were there for a round to begin."


def guarantee(study: Study, noise: Noise) -> dict[str, Any] | None:
    """A run's privacy before its first round, or None where the study asks for none.

    Args:
        study: What is run.
        noise: Whether noise and sampling are secret or, in a simulation, seeded and so known.
    """
    privacy = study.privacy
    if privacy is None:
        return None
    return {
        "noise": noise,
        "unit": privacy.unit if privacy.at_sites else None,
        "guarantee": privacy.model_dump(exclude={"unit", "sites"}) if privacy.at_sites else None,
        "sites": _of_sites(study),
        "exceptions": exceptions(study),
        "ledger_heads": {},
    }


def exceptions(study: Study) -> list[str]:
    """What leaves a private study's sites without noise, or the guarantee does not cover, in sentences."""
    privacy = study.privacy
    if privacy is None:
        return []
    named = {
        _COUNTS: True,
        _REFUSALS: True,
        _WEIGHTS: privacy.sites is None,
        _TESTS: privacy.evaluation_epsilon is None,
        _SUBGROUPS: bool(study.federation.subgroups),
        _LOSSES: not privacy.at_sites,
        _RECORD: privacy.sites is not None,
        _QUORUM: privacy.sites is not None,
    }
    return [sentence for sentence, applies in named.items() if applies]


def _of_sites(study: Study) -> dict[str, Any] | None:
    if study.privacy is None or study.privacy.sites is None:
        return None
    return {
        **study.privacy.sites.model_dump(),
        "sample_rate": study.federation.fraction_sites,
        "accountant": study.privacy.accountant,
        "epsilon": [],
    }
