"""``[privacy]``: differential privacy of a study, at the sites and at the coordinator.

Every value here is public: it stands in the study, and no patient had a part in it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.study.section import Section

MOST_EPSILON = 1000.0
MOST_DELTA = 0.1
ClipNorm = Annotated[float, Field(ge=1e-6, le=1e6)]
"""Within what float32 holds the squares of, so that noise is noise and norms are norms."""


class SitePrivacy(Section):
    """``[privacy.sites]``: the model hides whether a whole site took part, by noise of the coordinator.

    Each update is clipped to ``clip_norm``; their sum gets noise of ``noise_multiplier * clip_norm`` and is
    divided by the number of sites that are planned, whoever answers (McMahan et al. 2018).
    """

    target_epsilon: float | None = Field(None, gt=0.0, le=MOST_EPSILON)
    noise_multiplier: float | None = Field(None, ge=0.01, le=1000.0)
    target_delta: float = Field(1e-5, ge=1e-15, le=MOST_DELTA)
    clip_norm: ClipNorm = 1.0
    planned_sites: int = Field(ge=1)

    @model_validator(mode="after")
    def _one_of_two(self) -> SitePrivacy:
        if (self.target_epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("give either target_epsilon or noise_multiplier")
        return self


class Privacy(Section):
    """``[privacy]``: each site trains with differential privacy (DP-SGD, Abadi et al. 2016).

    Attributes:
        unit: Whose presence is hidden: a patient with all its cases, or one image.
        target_epsilon: What all rounds together may cost; or
        noise_multiplier: the noise itself, as a multiple of ``clip_norm``.
        target_delta: Of the guarantee; None for 1 / n^1.1 of a site's n units.
        clip_norm: Largest L2 norm of a unit's gradient; with ``clip_quantile`` where it starts.
        clip_quantile: Share of the units whose gradients shall stay whole: the clip norm follows them
            (Andrew et al. 2021). None for a fixed clip norm.
        clip_rate: How fast it follows.
        sample_rate: Probability with which a unit is in a step's batch; an epoch is 1 / sample_rate steps.
        max_cases_per_patient: Cases of one patient that a step looks at; which, is drawn anew each time.
        accountant: Who adds up.
        secure_noise: Noise and sampling from the operating system's cryptographic source.
        evaluation_epsilon: What all counts sent for evaluation may cost the test patients; None sends them
            as they are.
        sites: The second guarantee, by the coordinator.
    """

    unit: Literal["patient", "image"] = "patient"
    target_epsilon: float | None = Field(None, gt=0.0, le=MOST_EPSILON)
    noise_multiplier: float | None = Field(None, ge=0.01, le=1000.0)
    target_delta: float | None = Field(None, ge=1e-15, le=MOST_DELTA)
    clip_norm: ClipNorm = 1.0
    clip_quantile: float | None = Field(None, gt=0.0, lt=1.0)
    clip_rate: float = Field(0.2, gt=0.0, le=2.0)
    sample_rate: float = Field(0.1, ge=1e-4, le=1.0)
    max_cases_per_patient: int = Field(4, ge=1, le=1000)
    accountant: Literal["prv", "rdp"] = "prv"
    secure_noise: bool = False
    evaluation_epsilon: float | None = Field(None, gt=0.0, le=MOST_EPSILON)
    sites: SitePrivacy | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Privacy:
        if self.target_epsilon is not None and self.noise_multiplier is not None:
            raise ValueError("give either target_epsilon or noise_multiplier")
        if self.target_epsilon is None and self.noise_multiplier is None and self.sites is None:
            raise ValueError("give target_epsilon, noise_multiplier, or a table [privacy.sites]")
        return self

    @property
    def at_sites(self) -> bool:
        """Whether sites train privately; else only the coordinator adds noise."""
        return self.target_epsilon is not None or self.noise_multiplier is not None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each unit is expected once; as Opacus' ``DPDataLoader`` counts them."""
        return int(1 / self.sample_rate)
