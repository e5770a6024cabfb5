"""Local training: some epochs over a site's own cases, starting from the shared model.

Everything random is drawn from the seed handed in, so the same task gives the same update on a CPU (a GPU
may add in another order); in a study that says how long to train, after the same number of steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from client.augmentation import Augmented, augmentation_of
from client.checkpoints.checkpoint import Checkpoints, State, restore_training, training_state
from client.moments import Moments, go_on, leave
from client.sampling import balanced, going_on, shuffled
from client.schedule import rate_share
from common.allocation import keep_freed_memory
from common.errors import ModelDiverged
from common.learning import Learning, learning_of
from common.metrics import EvaluationSums
from common.models import SequenceClassifier, SequenceModel
from common.seeds import derive_seed
from common.sequences import Cases, SequenceBatch
from common.study import Study, Training

EVALUATION_BATCH = 256
EVALUATION_BYTES = 2**27
"""Most cases and bytes of steps that are scored at one time; a volume may have hundreds of steps."""


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """One task's training.

    Attributes:
        training: The study's ``[training]``.
        progress: Share of the study's rounds already done, in [0, 1): where the schedule stands.
        seed: For the order of cases and for dropout.
        learning: The study's task, with the weights of its classes.
        proximal_mu: Weight of ``mu/2 ||w - w_base||^2`` (Li et al. 2020, FedProx, eq. 2).
        rounds: Of the study.
        pass_seed: For the order of cases where a round ends in the middle of a pass: the same in all rounds.
        augmentation: How cases are changed; None for not at all.
    """

    training: Training
    progress: float
    seed: int
    learning: Learning
    proximal_mu: float = 0.0
    rounds: int = 1
    pass_seed: int = 0
    augmentation: Augmented | None = None

    @classmethod
    def of(
        cls,
        study: Study,
        progress: float,
        seed: int,
        class_weights: tuple[float, ...] = (),
        proximal_mu: float = 0.0,
        pass_seed: int = 0,
    ) -> LocalPlan:
        """The plan of one task of a study; ``class_weights`` is empty for equal ones."""
        learning, rounds = learning_of(study, class_weights), study.federation.rounds
        changed = augmentation_of(study)
        return cls(study.training, progress, seed, learning, proximal_mu, rounds, pass_seed, changed)

    def rate(self, done: float = 0.0) -> float:
        """The learning rate when this share of the round is done."""
        progress = self.progress + done / self.rounds
        return self.training.learning_rate * rate_share(self.training, self.rounds, progress)

    def batches(self, cases: Cases, groups: torch.Tensor | None) -> Iterator[torch.Tensor]:
        """Who is in each step, without end: (B,) int64 each; see :func:`train` for ``groups``."""
        training, size = self.training, self.training.batch_size
        order = torch.Generator().manual_seed(self.seed)
        if training.sampling == "balanced":
            units = torch.arange(len(cases)) if groups is None else groups
            return balanced(cases.targets, units, size, order)
        if training.in_parts:
            before = round(self.progress * self.rounds) * (training.steps(len(cases)) or 0)
            return going_on(len(cases), size, self.pass_seed, before)
        return shuffled(len(cases), size, order)


@dataclass(frozen=True, slots=True)
class Trained:
    """What one task's training came to.

    Attributes:
        loss: Mean over its steps, in nats.
        steps: How many were made.
    """

    loss: float
    steps: int


def train(
    model: SequenceModel,
    cases: Cases,
    plan: LocalPlan,
    checkpoints: Checkpoints | None = None,
    clock: Callable[[], float] = time.monotonic,
    *,
    moments: Moments | None = None,
    groups: torch.Tensor | None = None,
) -> Trained:
    """Train ``model`` in place.

    Args:
        model: On the device of ``cases``; its weights are the base of FedProx's term.
        cases: All training cases.
        plan: What to do.
        checkpoints: Where how far training is gets written down, and how far it was is found; None for
            nowhere.
        clock: Seconds that only grow; asked where the study says how long to train.
        moments: What the optimiser begins with, and where it leaves what it ends with; None to begin anew.
        groups: (N,) int64, number of the patient of each case, for balanced sampling; None for one case each.

    Raises:
        ModelDiverged: The loss is no longer finite.
    """
    keep_freed_memory()
    seed_dropout(plan.seed, cases.device)
    steps = _Steps(model, cases, plan, moments)
    begun = checkpoints.read() if checkpoints is not None else None
    if begun is not None:
        steps.restore(begun)
    extent = _Extent(plan.training, len(cases), steps, clock)
    _take_all(steps, plan.batches(cases, groups), extent, checkpoints)
    loss = float(torch.stack(steps.losses).mean())
    if not math.isfinite(loss) or not all(p.isfinite().all() for p in model.parameters()):
        raise ModelDiverged(f"mean training loss {loss}, or weights that are not finite")
    leave(steps.optimizer, moments)
    return Trained(loss, len(steps.losses))


def _take_all(
    steps: _Steps, drawn: Iterator[torch.Tensor], extent: _Extent, checkpoints: Checkpoints | None
) -> None:
    """Take every step that is left; of ``drawn``, those that were made come first.

    Who is in a batch is a function of the seed: the number of steps done says where in it training stands.
    """
    left = islice(drawn, len(steps.losses), None)
    while (done := extent.done) < 1.0:
        steps.take(next(left), done)
        extent.note()
        if checkpoints is not None:
            checkpoints.offer(steps.state, extent.done)


class _Extent:
    """How far the training of one task goes: so many steps or, where the study says so, so many seconds."""

    def __init__(self, training: Training, cases: int, steps: _Steps, clock: Callable[[], float]) -> None:
        self._steps, self._clock, self._work_s = steps, clock, training.work_s
        self._count = training.steps(cases) or 0
        self._began, self._before_s = clock(), steps.worked_s

    @property
    def done(self) -> float:
        """The share that is done, 1.0 at the end; 0.0 before the first step, however little time there is."""
        if self._work_s is None:
            return len(self._steps.losses) / self._count
        return min(1.0, self._steps.worked_s / self._work_s) if self._steps.losses else 0.0

    def note(self) -> None:
        """Take note that a step was made."""
        if self._work_s is not None:
            self._steps.settle()
            self._steps.worked_s = self._before_s + self._clock() - self._began


class _Steps:
    """The steps of one task.

    Attributes:
        losses: The mean loss of each that was done.
        optimizer: The study's.
        worked_s: What they took, in a study that says how long to train.
    """

    def __init__(
        self, model: SequenceModel, cases: Cases, plan: LocalPlan, moments: Moments | None = None
    ) -> None:
        model.train()
        self.losses: list[torch.Tensor] = []
        self.worked_s = 0.0
        self._model, self._cases, self._plan = model, cases, plan
        self._base = [p.detach().clone() for p in model.parameters()] if plan.proximal_mu else []
        self.optimizer = optimizer_of(plan, model)
        go_on(self.optimizer, moments)

    def take(self, index: torch.Tensor, done: float) -> None:
        """One step with the cases at ``index`` ((B,) int64), when this share of the round is done."""
        model, plan = self._model, self._plan
        batch = self._cases.take(index)
        if plan.augmentation is not None:
            batch = plan.augmentation.changed(batch, derive_seed(plan.seed, "augmentation", len(self.losses)))
        set_rate(self.optimizer, plan.rate(done))
        with mixed_precision(plan.training, self._cases.device):
            loss = plan.learning.loss(model.on(batch), batch)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss + _proximal(model, self._base, plan.proximal_mu) if self._base else loss)
        if plan.training.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), plan.training.clip_grad_norm)
        self.optimizer.step()
        self.losses.append(loss.detach())

    def settle(self) -> None:
        """Wait until the step is made: a GPU is told of steps long before it makes them."""
        if self._cases.device.type == "cuda":
            torch.cuda.synchronize(self._cases.device)

    def state(self) -> State:
        """How far training is."""
        done = training_state(self._model, self.optimizer, self._cases.device)
        return {**done, "losses": torch.stack(self.losses), "worked_s": self.worked_s}

    def restore(self, state: State) -> None:
        """Go on where :meth:`state` was."""
        restore_training(state, self._model, self.optimizer, self._cases.device)
        self.losses = list(state["losses"].to(self._cases.device).unbind())
        self.worked_s = float(state.get("worked_s", 0.0))


@torch.no_grad()
def outputs(model: SequenceModel, cases: Cases) -> Iterator[tuple[torch.Tensor, SequenceBatch]]:
    """What the model makes of the cases, in their order, as much at a time as memory has room for.

    Args:
        model: On the device of ``cases``; it is left in eval mode.
        cases: To be looked at.
    """
    model.eval()
    each = max(1, cases.size_bytes // max(1, len(cases)))
    chunks = torch.split(torch.arange(len(cases)), max(1, min(EVALUATION_BATCH, EVALUATION_BYTES // each)))
    for chunk in chunks if len(cases) else ():
        batch = cases.take(chunk)
        yield model.on(batch), batch


def predict(model: SequenceClassifier, cases: Cases, *, uncertain: bool = False) -> torch.Tensor:
    """(N, C) class probabilities on the CPU, in the order of ``cases``; the model is left in eval mode.

    Args:
        model: On the device of ``cases``.
        cases: To be scored.
        uncertain: Give every class the same where they are not finite, instead of failing.

    Raises:
        ModelDiverged: They are not finite.
    """
    logits = [output for output, _ in outputs(model, cases)]
    if not logits:
        return torch.zeros(0, model.head.out_features)
    probability = torch.cat(logits).softmax(dim=1).cpu()
    if uncertain:
        return probability.where(probability.isfinite().all(dim=1, keepdim=True), 1 / probability.shape[1])
    if not probability.isfinite().all():
        raise ModelDiverged("class probabilities that are not finite")
    return probability


def evaluated(
    model: SequenceModel, cases: Cases, learning: Learning, none: EvaluationSums, *, keep: bool
) -> EvaluationSums:
    """Counts of how the model does.

    Args:
        model: On the device of ``cases``; it is left in eval mode.
        cases: To be counted.
        learning: The study's task.
        none: Its counts of no case.
        keep: Carry single cases' figures along, for exact metrics.

    Raises:
        ModelDiverged: What it gives is not finite.
    """

    def counted() -> Iterator[EvaluationSums]:
        yield none
        for output, batch in outputs(model, cases):
            if not output.isfinite().all():
                raise ModelDiverged("outputs that are not finite")
            yield learning.count(output, batch, keep=keep)

    return type(none).total(counted())


def mean_loss(model: SequenceModel, cases: Cases, learning: Learning) -> float:
    """Mean loss of the model on the cases, in nats."""
    return float(torch.cat([learning.losses(*made) for made in outputs(model, cases)]).mean())


def mixed_precision(training: Training, device: torch.device) -> torch.autocast:
    """The block in which a forward pass has the study's precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16")


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generators that dropout on ``device`` draws from.

    ``torch.manual_seed`` would at each call also queue a seed for every kind of accelerator that is absent,
    half a millisecond that a process which trains for months never gets back, nor its memory.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def optimizer_of(plan: LocalPlan, model: nn.Module) -> torch.optim.Optimizer:
    """The study's optimiser for one task, at the learning rate with which the task begins."""
    training, parameters, rate = plan.training, list(model.parameters()), plan.rate()
    match training.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, weight_decay=training.weight_decay)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=training.weight_decay)
        case "sgd":
            return torch.optim.SGD(parameters, lr=rate, weight_decay=training.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Have the next step made at a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _proximal(model: nn.Module, base: list[torch.Tensor], mu: float) -> torch.Tensor:
    squares = [(p - b).square().sum() for p, b in zip(model.parameters(), base, strict=True)]
    return mu / 2 * torch.stack(squares).sum()
