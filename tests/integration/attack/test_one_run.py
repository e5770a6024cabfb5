"""Guessing who was in: counts are right, and power is told as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from common.private.accounting import epsilon_of
from common.private.event import Event
from common.sequences import SequenceBatch
from deploy.attack.finding import Claim, Verdict
from deploy.attack.one_run import expected, guess, measure, perfect, scores


def claim_of(delta: float, noise_multiplier: float = 2.0, sample_rate: float = 0.1) -> Claim:
    epsilon = epsilon_of([Event(noise_multiplier, sample_rate, 100)], delta, "rdp")
    noise = noise_multiplier, noise_multiplier
    return Claim(epsilon, delta, *noise, sample_rate, 100, 1.0, "patient", 50, "rdp")


def test_the_highest_are_guessed_in_and_the_lowest_out() -> None:
    points = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 0.0, 6.0, 7.0])
    inside = torch.tensor([True, False, False, False, True, True, True, True])
    found = guess(points, inside)
    assert [(each.canaries, each.made, each.right) for each in found] == [(8, 2, 1), (8, 4, 3), (8, 6, 5)]


def test_right_scores_are_perfect_and_wrong_ones_are_not() -> None:
    inside = torch.arange(16) % 2 == 0
    assert guess(inside.double(), inside) == perfect(16)
    assert all(each.right == 0 for each in guess(-inside.double(), inside))


def test_what_is_expected_grows_from_chance_to_certainty() -> None:
    chance, some, sure = (expected(64, mu) for mu in (0.0, 1.0, 20.0))
    assert sure == perfect(64)
    for low, middle, high in zip(chance, some, sure, strict=True):
        assert abs(low.right - low.made / 2) <= low.made * 0.15
        assert low.right < middle.right < high.right


def test_guesses_by_chance_show_nothing() -> None:
    for finding in measure(expected(64, 0.0), claim_of(1e-5)):
        assert (
            finding.epsilon == 0.0 and finding.verdict is Verdict.not_violated and finding.observations == 64
        )


def test_many_right_guesses_of_a_small_claim_are_a_violation() -> None:
    claim = claim_of(1e-9, noise_multiplier=20.0)
    any_mechanism, gaussian = measure(perfect(64), claim)
    assert any_mechanism.epsilon == any_mechanism.visible > claim.epsilon
    assert any_mechanism.verdict is Verdict.violated
    assert gaussian.verdict is Verdict.indication  # it rests on an assumption about the trade-off


@pytest.mark.parametrize(
    ("canaries", "words"), [(64, "alone it cannot see that"), (1000, "it could see that")]
)
def test_it_says_whether_it_could_see_halved_noise(canaries: int, words: str) -> None:
    claim = claim_of(1e-5, noise_multiplier=0.8, sample_rate=0.01)
    finding, _ = measure(expected(canaries, 1.0), claim)
    assert finding.figures["epsilon_at_half_noise"] > 2 * claim.epsilon
    assert (finding.figures["epsilon_expected_at_half_noise"] > claim.epsilon) == (canaries == 1000)
    assert finding.power.endswith(f"{words}.")


def test_it_sees_nothing_at_all_at_the_delta_of_a_small_site() -> None:
    any_mechanism, gaussian = measure(perfect(64), claim_of(1e-2))
    assert any_mechanism.visible == 0.0 < gaussian.visible


class Line(torch.nn.Module):
    """Logits (x, 0), so that gradients are along the input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        score = steps.sum(dim=1) @ self.weight
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def test_scores_follow_the_weights_against_each_canarys_gradient() -> None:
    model = Line()

    def training() -> Iterator[Line]:
        yield model
        for _ in range(3):
            with torch.no_grad():
                model.weight += torch.tensor([1.0, 0.0])
            yield model

    def canary(x: float, y: float) -> SequenceBatch:
        return SequenceBatch(torch.tensor([[[x, y]]]), torch.tensor([1]), torch.tensor([0]))

    found = scores(training(), [canary(1.0, 0.0), canary(0.0, 1.0), canary(-2.0, 0.0)])  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx([3.0, 0.0, -3.0])
