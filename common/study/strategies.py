"""The twelve strategies a study may name, each with its options and their defaults.

What the options do to the updates stands in ``server/strategies``; sources are named there.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from common.study.section import Section


class FedAvg(Section):
    """Mean of the updates, weighted by training cases."""

    name: Literal["fedavg"] = "fedavg"


class FedAvgM(Section):
    """FedAvg with momentum at the coordinator."""

    name: Literal["fedavgm"] = "fedavgm"
    server_learning_rate: float = Field(1.0, gt=0.0)
    server_momentum: float = Field(0.5, ge=0.0, lt=1.0)


class FedProx(Section):
    """FedAvg; sites are held near the shared model by ``mu/2 ||w - w_base||^2`` in their loss."""

    name: Literal["fedprox"] = "fedprox"
    proximal_mu: float = Field(0.01, ge=0.0)


class Adaptive(Section):
    """What the three adaptive strategies share: step size and adaptivity of the coordinator."""

    eta: float = Field(0.02, gt=0.0)
    tau: float = Field(1e-3, gt=0.0)


class FedAdagrad(Adaptive):
    """Adagrad on the mean update."""

    name: Literal["fedadagrad"] = "fedadagrad"


class FedAdam(Adaptive):
    """Adam on the mean update."""

    name: Literal["fedadam"] = "fedadam"
    beta_1: float = Field(0.9, ge=0.0, lt=1.0)
    beta_2: float = Field(0.99, ge=0.0, lt=1.0)


class FedYogi(Adaptive):
    """Yogi on the mean update."""

    name: Literal["fedyogi"] = "fedyogi"
    beta_1: float = Field(0.9, ge=0.0, lt=1.0)
    beta_2: float = Field(0.99, ge=0.0, lt=1.0)


class FedMedian(Section):
    """Coordinate-wise median of the updates."""

    name: Literal["fedmedian"] = "fedmedian"


class FedTrimmedAvg(Section):
    """Coordinate-wise mean without the ``beta`` share of extreme values at either end."""

    name: Literal["fedtrimmedavg"] = "fedtrimmedavg"
    beta: float = Field(0.2, ge=0.0, lt=0.5)


class Krum(Section):
    """The one update that lies closest to its neighbours."""

    name: Literal["krum"] = "krum"
    num_malicious_sites: int = Field(0, ge=0)


class MultiKrum(Section):
    """Mean of the updates that lie closest to their neighbours."""

    name: Literal["multikrum"] = "multikrum"
    num_malicious_sites: int = Field(0, ge=0)
    num_sites_to_select: int = Field(2, ge=1)


class Bulyan(Section):
    """Krum's selection, then a trimmed mean around the median; needs ``4 f + 3`` updates."""

    name: Literal["bulyan"] = "bulyan"
    num_malicious_sites: int = Field(0, ge=0)


class QFedAvg(Section):
    """Updates weighted by ``loss^q``, so that sites the model serves badly count more.

    ``client_learning_rate`` is 1/L of the paper. The default 1 takes a site's whole update as its
    gradient step, which is what it is when sites use Adam or several steps.
    """

    name: Literal["qfedavg"] = "qfedavg"
    q: float = Field(0.1, ge=0.0)
    client_learning_rate: float = Field(1.0, gt=0.0)


StrategyChoice = Annotated[
    FedAvg
    | FedAvgM
    | FedProx
    | FedAdagrad
    | FedAdam
    | FedYogi
    | FedMedian
    | FedTrimmedAvg
    | Krum
    | MultiKrum
    | Bulyan
    | QFedAvg,
    Field(discriminator="name"),
]

STRATEGY_NAMES: tuple[str, ...] = tuple(
    kind.model_fields["name"].default for kind in get_args(get_args(StrategyChoice)[0])
)
