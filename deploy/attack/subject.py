"""What is attacked: one site's private training in a study, run as often as an attack needs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from client.moments import Kept, MomentsInMemory
from client.private_training import train_privately
from client.trainer import LocalPlan
from common.models import SequenceClassifier, build_model, initial_weights, load_state
from common.private.plan import PrivacyPlan
from common.private.secret import Secret
from common.seeds import derive_seed
from common.sequences import SequenceBatch
from common.study import Study
from deploy.attack.finding import Claim


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A site in a study, with all its cases at hand.

    Attributes:
        study: What is trained.
        plan: The site's privacy in it.
        claim: What that promises.
        site: Its name.
        train: Its training cases.
        units: (N,) int64 in [0, ``plan.units``), unit of each.
        test: Its test cases.
        test_units: (M,) int64, numbered from 0 too.
        seed: Everything follows from it, the noise too: this is a simulation.
    """

    study: Study
    plan: PrivacyPlan
    claim: Claim
    site: str
    train: SequenceBatch
    units: torch.Tensor
    test: SequenceBatch
    test_units: torch.Tensor
    seed: int

    def training(
        self, cases: SequenceBatch, units: torch.Tensor, count: int, purpose: str
    ) -> Iterator[SequenceClassifier]:
        """The model as it is before the first round and after each, the same object every time.

        Args:
            cases: To train on.
            units: (N,) int64 in [0, ``count``), unit of each case.
            count: How many units the site says it has; one without cases is one that stays away.
            purpose: Names this training: no two have the same noise.
        """
        plan, rounds = replace(self.plan, units=count), self.study.federation.rounds
        model = build_model(self.study)
        assert isinstance(model, SequenceClassifier)  # noqa: S101  of the study's task, which was looked at
        load_state(model, initial_weights(self.study, self.seed))
        model.to(cases.device)
        clip_norm, kept = None, dict[int, Kept]()
        going_on = self.study.training.optimizer_state == "kept"
        yield model
        for done in range(rounds):
            seed = derive_seed(self.seed, "attack", purpose, done + 1)
            local = LocalPlan.of(self.study, done / rounds, seed)
            secret = Secret.seeded(self.seed, "attack", purpose, done + 1)
            moments = MomentsInMemory(kept, done + 1) if going_on else None
            clip_norm = train_privately(
                model, cases, units, plan, local, secret, clip_norm, moments=moments
            ).clip_norm
            yield model


def without_dropout(model: SequenceClassifier) -> SequenceClassifier:
    """The model itself, which from now on drops nothing, so that what an attack sees is noise alone."""
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, nn.RNNBase):
            layer.dropout = 0.0
    return model.train()
