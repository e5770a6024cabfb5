"""Local training with differential privacy (DP-SGD, Abadi et al. 2016), a unit's whole gradient clipped.

    w <- optimiser(w, (sum_u min(1, C / ||g_u||) g_u + N(0, (z C)^2)) / (q n) + mu (w - w_base))

Invariants: each step draws its units anew, each with probability q, and is made and noised even for none.
What leaves is the weights and the adapted clip norm, both under the noise that the plan accounts for: no
loss, no count, no norm. The number of steps is the plan's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from client.checkpoints.checkpoint import Checkpoints, State, restore_training, training_state
from client.moments import Moments, go_on, leave
from client.trainer import LocalPlan, mixed_precision, optimizer_of, seed_dropout, set_rate
from common.errors import ModelDiverged
from common.models import SequenceModel
from common.private.bookkeeping import Bookkeeper
from common.private.noise import NoisyOptimizer, normals
from common.private.plan import PrivacyPlan
from common.private.sampling import Batch, UnitCases, uniforms, unit_batches
from common.private.secret import Secret
from common.seeds import derive_seed
from common.sequences import Cases

CHUNK_CASES = 512
CHUNK_BYTES = 2**26
"""Most cases and bytes of steps that go through the model at one time; a unit is never divided."""


@dataclass(frozen=True, slots=True)
class PrivateOutcome:
    """What may be told of private training.

    Attributes:
        steps: How many were made, each of them noised.
        clip_norm: Where the adapted one stands; the one it began with if it is fixed.
    """

    steps: int
    clip_norm: float


def train_privately(
    model: SequenceModel,
    cases: Cases,
    groups: torch.Tensor,
    plan: PrivacyPlan,
    local: LocalPlan,
    secret: Secret,
    clip_norm: float | None = None,
    checkpoints: Checkpoints | None = None,
    *,
    moments: Moments | None = None,
) -> PrivateOutcome:
    """Train ``model`` in place for one round.

    Args:
        model: On the device of ``cases``; its weights are the base of FedProx's term.
        cases: All training cases.
        groups: (N,) int64, number of the unit that each case belongs to, below ``plan.units``.
        plan: Sampling, clipping and noise.
        local: Optimiser, schedule and FedProx's weight; its seed is not used.
        secret: Of this task alone.
        clip_norm: Where the adapted one stands; None for the plan's.
        checkpoints: Where it is written down and found how far training is; None for nowhere.
        moments: What the optimiser goes on with, made of noised gradients alone; None to begin anew.

    Raises:
        LayerNotPrivate: The model has a layer that cannot be trained so; nothing was trained.
        ModelDiverged: The weights are no longer finite.
    """
    units = _units(groups, cases, plan)
    seed_dropout(secret.seed("dropout"), cases.device)
    model.train()
    with Bookkeeper(model) as bookkeeper:
        steps = _Steps(model, bookkeeper, cases, units, plan, local, secret)
        steps.clip_norm = clip_norm or plan.clip_norm
        go_on(steps.optimizer, moments)
        _take_all(steps, plan, secret, checkpoints)
    _require_finite(model)
    leave(steps.optimizer, moments)
    return PrivateOutcome(steps.done, steps.clip_norm)


def _units(groups: torch.Tensor, cases: Cases, plan: PrivacyPlan) -> UnitCases:
    if len(groups) != len(cases):
        raise ValueError(f"{len(groups)} units for {len(cases)} cases")
    return UnitCases(groups, plan.units)


def _require_finite(model: SequenceModel) -> None:
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise ModelDiverged("weights that are not finite")


def _take_all(steps: _Steps, plan: PrivacyPlan, secret: Secret, checkpoints: Checkpoints | None) -> None:
    """Take every step; with ``checkpoints``, those that are left.

    They have the streams of the same secret: who is in which batch, and the noise of every step, are those of
    training that nothing interrupted, and the steps are as many. What was drawn after the last checkpoint and
    lost was never released, so drawing it once more tells nobody anything.
    """
    drawn = unit_batches(plan.units, plan.sample_rate, plan.steps_per_round, secret, secure=plan.secure_noise)
    begun = checkpoints.read() if checkpoints is not None else None
    if begun is not None:
        steps.restore(begun, islice(drawn, begun["steps"]))
    for units in drawn:
        steps.take(units)
        if checkpoints is not None:
            checkpoints.offer(steps.state, steps.done / plan.steps_per_round)


class _Steps:
    """The steps of one round; ``done`` of them were made, ``clip_norm`` is what the next one clips to."""

    def __init__(
        self,
        model: SequenceModel,
        bookkeeper: Bookkeeper,
        cases: Cases,
        unit_cases: UnitCases,
        plan: PrivacyPlan,
        local: LocalPlan,
        secret: Secret,
    ) -> None:
        self.done, self.clip_norm = 0, plan.clip_norm
        self._model, self._bookkeeper, self._cases, self._unit_cases = model, bookkeeper, cases, unit_cases
        self._plan, self._local = plan, local
        self._coins = uniforms(secret, "cases", secure=plan.secure_noise)
        self._augmentation_seed = secret.seed("augmentation")
        self._normal = normals(secret, "count", secure=plan.secure_noise)
        self._optimizer = NoisyOptimizer(
            optimizer_of(local, model),
            noise_multiplier=plan.gradient_noise_multiplier,
            clip_norm=plan.clip_norm,
            expected_units=plan.expected_units,
            secret=secret,
            device=cases.device,
            secure=plan.secure_noise,
        )
        self._base = [p.detach().clone() for p in self._optimizer.params] if local.proximal_mu else []
        each = max(1, cases.size_bytes // max(1, len(cases)))
        self._most_cases = max(1, min(CHUNK_CASES, CHUNK_BYTES // each))

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The study's, which steps along noised gradients."""
        inner: torch.optim.Optimizer = self._optimizer.original_optimizer
        return inner

    def take(self, units: torch.Tensor) -> None:
        """One step with the cases of these units ((U,) int64, perhaps none)."""
        optimizer = self._optimizer
        set_rate(self.optimizer, self._local.rate(self.done / self._plan.steps_per_round))
        optimizer.zero_grad(set_to_none=True)
        for parameter in optimizer.params:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.max_grad_norm = self.clip_norm
        batch = self._unit_cases.drawn(units, self._plan.max_cases_per_patient, self._coins)
        parts = enumerate(_parts(batch, self._most_cases))
        whole = sum(self._add_clipped(part, number) for number, part in parts)
        optimizer.pre_step()
        self._pull_to_base()
        optimizer.original_optimizer.step()
        self._adapt(whole, len(units))
        self.done += 1

    def state(self) -> State:
        """How far the round is."""
        optimizer = self._optimizer
        done = training_state(self._model, optimizer.original_optimizer, self._cases.device)
        return {**done, "steps": self.done, "clip_norm": self.clip_norm, "noise": optimizer.place}

    def restore(self, state: State, drawn: Iterable[torch.Tensor]) -> None:
        """Go on where :meth:`state` was.

        Args:
            state: What it gave.
            drawn: The batches of the steps that were done; their coins are tossed again to get past them.
        """
        for units in drawn:
            self._unit_cases.drawn(units, self._plan.max_cases_per_patient, self._coins)
            if self._plan.adaptive_clip is not None:
                self._normal(1)
        restore_training(state, self._model, self._optimizer.original_optimizer, self._cases.device)
        self._optimizer.skip_to(state["noise"])
        self.done, self.clip_norm = int(state["steps"]), float(state["clip_norm"])

    def _add_clipped(self, part: Batch, number: int) -> int:
        """Add the clipped sum of some units to the gradients; how many of them stayed whole.

        What an augmentation does to a case is drawn from the secret, whoever else is in the batch.
        """
        local, seed = self._local, derive_seed(self._augmentation_seed, self.done, number)

        def losses() -> torch.Tensor:
            batch = self._cases.take(part.cases)
            if local.augmentation is not None:
                batch = local.augmentation.changed(batch, seed)
            with mixed_precision(local.training, batch.device):
                output = self._model.on(batch)
            each = local.learning.losses(output, batch)
            return each / part.sizes[part.units].to(each.device)

        norms = self._bookkeeper.clipped_sum(losses, part.units, len(part.sizes), self.clip_norm)
        return int((norms <= self.clip_norm).sum()) if self._plan.adaptive_clip else 0

    def _pull_to_base(self) -> None:
        """FedProx's term (Li et al. 2020); it holds no data, so it needs neither clipping nor noise."""
        if self._base:
            for parameter, base in zip(self._optimizer.params, self._base, strict=True):
                parameter.grad.add_(parameter.detach() - base, alpha=self._local.proximal_mu)

    def _adapt(self, whole: int, units: int) -> None:
        if self._plan.adaptive_clip is not None:
            normal = float(self._normal(1)[0])
            self.clip_norm = self._plan.adaptive_clip.next_norm(
                self.clip_norm, whole, units, self._plan.expected_units, normal
            )


def _parts(batch: Batch, most_cases: int) -> Iterator[Batch]:
    """The batch in parts of whole units, of at most so many cases unless one unit alone has more."""
    ends = batch.sizes.cumsum(0).tolist()
    first = begin = 0
    for unit, end in enumerate(ends):
        following = ends[unit + 1] if unit + 1 < len(ends) else None
        if following is None or following - begin > most_cases:
            span = slice(begin, end)
            yield Batch(batch.cases[span], batch.units[span] - first, batch.sizes[first : unit + 1])
            first, begin = unit + 1, end
