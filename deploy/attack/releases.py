"""What the private engine releases for a step: the product's own parts, put together as training does.

Two ways lead there. :class:`Engine` computes the clipped sum once and lets the product's optimiser add
noise to it as often as is wanted, which is quick. :class:`WholeStep` runs the product's training for one
step, from the drawing of the batch to the new weights, each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import torch

from client.private_training import train_privately
from client.trainer import LocalPlan
from common.learning import learning_of
from common.models import SequenceClassifier
from common.private.bookkeeping import Bookkeeper
from common.private.noise import NoisyOptimizer
from common.private.plan import PrivacyPlan
from common.private.secret import Secret
from common.sequences import SequenceBatch
from common.study import Study
from deploy.attack.own_gradient import flat, trainable
from deploy.attack.stage import Released


class Engine:
    """Clipping and noise.

    Args:
        model: At the state that is looked at; its weights stay as they are.
        plan: Clipping and noise; an adapted clip norm stands where it starts.
        study: Which.
        secret: Noise is drawn from it.
    """

    def __init__(self, model: SequenceClassifier, plan: PrivacyPlan, study: Study, secret: Secret) -> None:
        self._model, self._clip_norm, self._weights = model, plan.clip_norm, trainable(model)
        self._bfloat16 = study.training.precision == "bfloat16"
        self._learning = learning_of(study)
        self._optimizer = NoisyOptimizer(
            torch.optim.SGD(self._weights, lr=1.0),
            noise_multiplier=plan.gradient_noise_multiplier,
            clip_norm=plan.clip_norm,
            expected_units=1.0,
            secret=secret,
            device=self._weights[0].device,
            secure=plan.secure_noise,
        )

    def releasing(self, units: Sequence[SequenceBatch]) -> Released:
        """Releases of the clipped sum of these units (one without cases adds nothing), noise drawn anew."""
        sums = torch.split(self.clipped_sum(units), [weight.numel() for weight in self._weights])

        def released() -> torch.Tensor:
            self._optimizer.zero_grad(set_to_none=True)
            for weight, clipped in zip(self._weights, sums, strict=True):
                weight.grad = clipped.clone().view_as(weight)
            self._optimizer.pre_step()
            return flat(weight.grad for weight in self._weights if weight.grad is not None)

        return released

    def clipped_sum(self, units: Sequence[SequenceBatch]) -> torch.Tensor:
        """(P,) sum of the units' clipped gradients, without noise."""
        owners, sizes = owners_of(units)

        def losses() -> torch.Tensor:
            batch = SequenceBatch.concatenate(units)
            with torch.autocast(batch.device.type, torch.bfloat16, enabled=self._bfloat16):
                output = self._model(batch.steps, batch.lengths)
            each = self._learning.losses(output, batch)
            return each / sizes[owners].to(each.device)

        for weight in self._weights:
            weight.grad = torch.zeros_like(weight)
        with Bookkeeper(self._model) as bookkeeper:
            bookkeeper.clipped_sum(losses, owners, len(units), self._clip_norm)
        return flat(weight.grad for weight in self._weights if weight.grad is not None)


class WholeStep:
    """A round of private training that is one step, with every unit in its batch.

    Args:
        model: At the state that is looked at; its weights stay as they are.
        plan: Of the training; it is told to draw everybody and to make one step. An adapted clip norm stands
            where it starts.
        study: Which; a step of plain SGD shows the release as it is.
        seed: Of this purpose alone.
    """

    def __init__(
        self,
        model: SequenceClassifier,
        plan: PrivacyPlan,
        study: Study,
        seed: int,
    ) -> None:
        self._model, self._plan, self._seed = model, plan, seed
        plain = {"optimizer": "sgd", "learning_rate": 1.0, "weight_decay": 0.0}
        plain |= {"schedule": "constant", "warmup_rounds": 0.0}
        self._local = LocalPlan(study.training.model_copy(update=plain), 0.0, 0, learning_of(study))
        self._numbers = count()

    def releasing(self, units: Sequence[SequenceBatch]) -> Released:
        """Releases of steps with these units; one without cases is one that stays away."""
        plan = replace(self._plan, units=len(units), sample_rate=1.0, steps_per_round=1)
        owners, _ = owners_of(units)
        cases = SequenceBatch.concatenate(units)
        weights = trainable(self._model)

        def released() -> torch.Tensor:
            before = [weight.detach().clone() for weight in weights]
            secret = Secret.seeded(self._seed, "step", next(self._numbers))
            train_privately(self._model, cases, owners, plan, self._local, secret)
            moved = flat(old - new.detach() for old, new in zip(before, weights, strict=True))
            with torch.no_grad():
                for weight, old in zip(weights, before, strict=True):
                    weight.copy_(old)
            return moved

        return released


def owners_of(units: Sequence[SequenceBatch]) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,) int64 unit of each case, and (U,) int64 cases of each unit."""
    sizes = torch.tensor([len(unit) for unit in units], dtype=torch.int64)
    return torch.repeat_interleave(torch.arange(len(units)), sizes), sizes
