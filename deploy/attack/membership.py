"""Membership inference: who was trained on, told from the trained model alone.

By the loss: training patients have smaller ones (Yeom et al. 2018). By a likelihood ratio: each patient's own
confidence under models that were, and that were not, trained on them (Carlini et al. 2022, "Membership
inference attacks from first principles", online attack with pooled variances).

One model's answers about its patients are not independent of each other, which the bound takes them to be:
it is an indication, and it is weak. What a model shows by its losses is far from what its training may
leak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from client.trainer import predict
from common.models import SequenceClassifier
from common.seeds import derive_seed
from common.sequences import SequenceBatch
from deploy.attack.binomial import lower_rate, upper_rate
from deploy.attack.bounds import Errors, epsilon_of_errors
from deploy.attack.finding import CONFIDENCE, Claim, Finding, Verdict
from deploy.attack.subject import Subject
from server.report.intervals import hanley_mcneil

LOW_RATE = 0.05
"""The share of false alarms at which the share of members found is given."""

_LEAST = 1e-6
"""Probabilities are kept this far from 0 and 1, so that their logits are finite."""


def infer(
    subject: Subject, target: SequenceClassifier, shadows: int, step: Callable[[str], None]
) -> Iterator[Finding]:
    """What the trained model shows of who was trained on: training units against test units.

    Args:
        subject: Whom to attack.
        target: The trained model.
        shadows: Models to learn the likelihood ratio from, rounded down to an even number; fewer than two
            leave that attack away.
        step: Told what is being done.
    """
    if not len(subject.test):
        return
    count = subject.plan.units
    cases = SequenceBatch.concatenate([subject.train, subject.test])
    units = torch.cat([subject.units, count + subject.test_units])
    scores = _confidences(target, cases, units)
    by_loss = "membership by loss", "Yeom et al. 2018"
    yield measure(*by_loss, scores[:count], scores[count:], subject.claim)
    if shadows >= 2:
        ratios = _ratios(subject, cases, units, scores, shadows // 2, step)
        by_ratio = "membership by likelihood ratio", "Carlini et al. 2022"
        yield measure(*by_ratio, ratios[:count], ratios[count:], subject.claim)


def confidences(probability: torch.Tensor, labels: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """(U,) logit of the probability that the model gives a unit's own class, mean over its cases.

    Args:
        probability: (N, C) class probabilities.
        labels: (N,) int64, true classes.
        units: (N,) int64 in [0, U), unit of each case; none is empty.
    """
    own = probability.double()[torch.arange(len(labels)), labels].clamp(_LEAST, 1 - _LEAST)
    sums = torch.zeros(int(units.max()) + 1, dtype=torch.float64).index_add_(0, units, own.logit())
    return sums / units.bincount()


def likelihood_ratios(target: torch.Tensor, shadows: torch.Tensor, trained_on: torch.Tensor) -> torch.Tensor:
    """(U,) log of how much likelier a unit's confidence is if it was trained on than if not.

    Args:
        target: (U,) confidences under the attacked model.
        shadows: (S, U) confidences under each shadow model.
        trained_on: (S, U) bool, whether the shadow model was trained on the unit; both kinds for each unit.
    """
    means, deviations = [], []
    for there in (trained_on, ~trained_on):
        mean = (shadows * there).sum(dim=0) / there.sum(dim=0)
        deviations.append(((shadows - mean).square() * there).sum().div(there.sum()).sqrt().clamp_min(_LEAST))
        means.append(mean)
    inside, outside = (
        -((target - mean) / deviation).square() / 2 - deviation.log()
        for mean, deviation in zip(means, deviations, strict=True)
    )
    return inside - outside


def measure(attack: str, source: str, members: torch.Tensor, others: torch.Tensor, claim: Claim) -> Finding:
    """What the scores show.

    Args:
        attack: Its name.
        source: Where it comes from.
        members: (M,) scores of units that were trained on; the higher, the likelier it is said to be.
        others: (N,) scores of units that were not.
        claim: What is claimed.
    """
    errors = _held_out(members, others)
    epsilon = epsilon_of_errors(errors, claim.delta, CONFIDENCE)
    perfect = Errors(0, errors.without, 0, errors.present)
    visible = epsilon_of_errors(perfect, claim.delta, CONFIDENCE)
    area = auroc(members, others)
    around = hanley_mcneil(area, len(others), len(members))
    found, low, high = found_at_low_rate(members, others)
    return Finding(
        attack=attack,
        source=source,
        observations=len(members) + len(others),
        observed=(
            f"AUROC {area:.3f} ({around.low:.3f} to {around.high:.3f}); at {LOW_RATE:.0%} false alarms "
            f"{found:.0%} of the members found ({low:.0%} to {high:.0%})"
        ),
        epsilon=epsilon,
        visible=visible,
        power=(
            f"Weak: it sees only the trained model. Had it been right each time, {len(members)} members and "
            f"{len(others)} others would show {visible:.2f}."
        ),
        verdict=Verdict.indication if epsilon > claim.epsilon else Verdict.not_violated,
        figures={
            "auroc": area,
            "auroc_low": around.low,
            "auroc_high": around.high,
            "members_found": found,
            "members_found_low": low,
            "members_found_high": high,
            "false_alarm_rate": LOW_RATE,
        },
    )


def auroc(members: torch.Tensor, others: torch.Tensor) -> float:
    """The probability that a member's score is the higher one, ties half."""
    above = (members[:, None] > others).double() + 0.5 * (members[:, None] == others)
    return float(above.mean())


def found_at_low_rate(members: torch.Tensor, others: torch.Tensor) -> tuple[float, float, float]:
    """Share of the members above all but ``LOW_RATE`` of the others, with its 95 % interval."""
    threshold = others.sort(descending=True).values[int(LOW_RATE * len(others))]
    found, each = int((members > threshold).sum()), (1 + CONFIDENCE) / 2
    n = len(members)
    return found / n, lower_rate(found, n, each), upper_rate(found, n, each)


def _held_out(members: torch.Tensor, others: torch.Tensor) -> Errors:
    """Errors on every second unit, at the threshold that shows most on the rest."""
    seen = sorted(set(torch.cat([members[::2], others[::2]]).tolist()))
    tried = [_errors(members[::2], others[::2], threshold) for threshold in seen]
    # Point estimates, half a unit away from none: a bound on so few would choose nothing.
    shown = [
        max(
            (e.present - e.misses + 0.5) / (e.false_alarms + 0.5),
            (e.without - e.false_alarms + 0.5) / (e.misses + 0.5),
        )
        for e in tried
    ]
    threshold = seen[max(range(len(seen)), key=lambda number: shown[number])]
    return _errors(members[1::2], others[1::2], threshold)


def _errors(members: torch.Tensor, others: torch.Tensor, threshold: float) -> Errors:
    return Errors(
        false_alarms=int((others >= threshold).sum()),
        without=len(others),
        misses=int((members < threshold).sum()),
        present=len(members),
    )


def _ratios(
    subject: Subject,
    cases: SequenceBatch,
    units: torch.Tensor,
    scores: torch.Tensor,
    pairs: int,
    step: Callable[[str], None],
) -> torch.Tensor:
    """(U,) likelihood ratios; each pair of shadow models divides the units between the two."""
    draw = torch.Generator().manual_seed(derive_seed(subject.seed, "attack", "shadows"))
    total, found, trained_on = len(scores), [], []
    for pair in range(pairs):
        first = torch.randperm(total, generator=draw) < total // 2
        for number, chosen in enumerate((first, ~first), start=2 * pair + 1):
            step(f"training shadow models: {number} of {2 * pairs}")
            rows = chosen[units].nonzero().flatten()
            places = (chosen.cumsum(0) - 1)[units[rows]]
            *_, model = subject.training(cases.take(rows), places, int(chosen.sum()), f"shadow {number}")
            found.append(_confidences(model, cases, units))
            trained_on.append(chosen)
    return likelihood_ratios(scores, torch.stack(found), torch.stack(trained_on))


def _confidences(model: SequenceClassifier, cases: SequenceBatch, units: torch.Tensor) -> torch.Tensor:
    return confidences(predict(model, cases), cases.targets.cpu(), units)
