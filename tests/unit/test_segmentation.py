"""Segmentation models and their loss: every pixel is spoken of, padding never counts, cases stand alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch

from common.contract import leavings_of
from common.errors import InvalidValue
from common.learning import learning_of
from common.models import SequenceModel, build_model
from common.private.bookkeeping import Bookkeeper
from common.sequences import NO_TARGET, SequenceBatch, to_steps
from common.study import Study, parse_study

CLASSES = 3
STRIPS = {
    "rows": {"kind": "rows", "size": 12},
    "patches": {"kind": "patches", "size": 16, "patch": 8},
    "hilbert": {"kind": "patches", "size": 16, "patch": 8, "order": "hilbert"},
}
PICTURES = {
    "slices": {"kind": "slices", "size": 16},
    "odd": {"kind": "slices", "size": 13},
    "frames": {"kind": "frames", "size": 10},
}
combinations = [
    pytest.param(
        sequence,
        {"encoder": encoder, "cell": cell, "bidirectional": both},
        id=f"{kind}-{encoder}-{cell}-{both}",
    )
    for kinds, cells in ((STRIPS, ("gru", "lstm", "rnn")), (PICTURES, ("conv_gru", "conv_lstm")))
    for (kind, sequence), encoder, (cell, both) in product(
        kinds.items(), ("none", "cnn"), [(cell, place % 2 == 0) for place, cell in enumerate(cells)]
    )
]
every_model = pytest.mark.parametrize(("sequence", "model"), combinations)
MakeStudy = Callable[..., Study]


def study_of(sequence: dict[str, Any], model: dict[str, Any]) -> Study:
    head = {"name": "s", "task": "segmentation", "labels": {"0": "background", "1": "left", "2": "right"}}
    return parse_study({"study": head, "sequence": sequence, "model": {"hidden": 8, **model}})


def seeded(study: Study, seed: int = 0) -> SequenceModel:
    torch.manual_seed(seed)
    return build_model(study).eval()


def batch_of(study: Study, lengths: tuple[int, ...] | None = None, seed: int = 0) -> SequenceBatch:
    """Cases of noise with classes by chance; a tenth of the pixels has no label."""
    steps = getattr(study.sequence, "steps", None)
    own = torch.tensor(lengths or ((steps,) * 3 if steps else (3, 1, 2)))
    random = torch.Generator().manual_seed(seed)
    height, width = study.sequence.frame
    shape = (len(own), int(own.max()), height * width)
    targets = torch.randint(0, CLASSES, shape, generator=random, dtype=torch.uint8)
    targets[torch.rand(shape, generator=random) < 0.1] = NO_TARGET
    pictures = torch.randn(shape, generator=random)
    for case, length in enumerate(own):
        pictures[case, length:], targets[case, length:] = 0, NO_TARGET
    return SequenceBatch(pictures, own, targets)


@every_model
@torch.no_grad()
def test_every_pixel_has_a_logit_of_every_class(sequence: dict[str, Any], model: dict[str, Any]) -> None:
    study = study_of(sequence, model)
    batch = batch_of(study)
    logits = seeded(study)(batch.steps, batch.lengths)
    assert logits.shape == (3, batch.steps.shape[1], CLASSES, *study.sequence.frame)
    assert logits.isfinite().all()
    assert logits.std() > 0


@every_model
@torch.no_grad()
def test_case_s_logits_are_those_it_has_alone_and_unpadded(
    sequence: dict[str, Any], model: dict[str, Any]
) -> None:
    study = study_of(sequence, model)
    batch, network = batch_of(study, (4, 1, 3)), seeded(study)
    together = network(batch.steps, batch.lengths)
    for case, length in enumerate(batch.lengths):
        alone = network(batch.steps[case : case + 1, :length], batch.lengths[case : case + 1])
        torch.testing.assert_close(together[case, :length], alone[0], atol=1e-5, rtol=0)
        assert not together[case, length:].any()


@every_model
@torch.no_grad()
def test_other_cases_change_no_case_s_loss(sequence: dict[str, Any], model: dict[str, Any]) -> None:
    study = study_of(sequence, model)
    batch, network, learning = batch_of(study, (4, 1, 3)), seeded(study), learning_of(study)
    together = learning.losses(network(batch.steps, batch.lengths), batch)
    for case in range(3):
        one = batch.take(torch.tensor([case]))
        alone = learning.losses(network(one.steps, one.lengths), one)
        torch.testing.assert_close(together[case : case + 1], alone, atol=1e-5, rtol=0)


@every_model
def test_each_case_s_private_gradient_is_its_own(sequence: dict[str, Any], model: dict[str, Any]) -> None:
    study = study_of(sequence, model)
    network, learning = seeded(study).double(), learning_of(study)
    batch = batch_of(study, (2, 1, 2) if sequence["kind"] in ("slices", "frames") else None)
    batch = SequenceBatch(batch.steps.double(), batch.lengths, batch.targets)

    def losses(cases: SequenceBatch) -> torch.Tensor:
        return learning.losses(network(cases.steps, cases.lengths), cases)

    with Bookkeeper(network) as bookkeeper:
        norms = bookkeeper.clipped_sum(lambda: losses(batch), torch.arange(3), 3, 1e9)
        summed = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    network.zero_grad()
    expected = []
    for case in range(3):
        loss = losses(batch.take(torch.tensor([case]))).sum()
        expected.append(torch.autograd.grad(loss, list(network.parameters())))
    alone = [torch.cat([g.flatten() for g in each]).norm() for each in expected]
    # float32 in the loss: Dice and cross-entropy are counted in it.
    torch.testing.assert_close(norms.double(), torch.stack(alone).double(), rtol=1e-4, atol=1e-6)
    for got, each in zip(summed, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(got, torch.stack(each).sum(0), rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_loss_is_that_of_the_formulas() -> None:
    study = study_of(STRIPS["rows"], {})
    batch = batch_of(study)
    logits = torch.randn(3, 12, CLASSES, 1, 12, generator=torch.Generator().manual_seed(3))
    found = learning_of(study).losses(logits, batch)
    for case in range(3):
        own = batch.targets[case].flatten() != NO_TARGET
        shares = logits[case, :, :, 0].transpose(1, 2).reshape(-1, CLASSES)[own].softmax(dim=1)
        classes = batch.targets[case].flatten()[own].long()
        nats = -shares[torch.arange(len(classes)), classes].log().mean()
        dice = []
        for number in (1, 2):
            is_class = (classes == number).float()
            both = (shares[:, number] * is_class).sum()
            dice.append((2 * both + 1) / (shares[:, number].sum() + is_class.sum() + 1))
        torch.testing.assert_close(found[case], nats + 1 - torch.stack(dice).mean(), atol=1e-5, rtol=0)


@torch.no_grad()
def test_weights_of_classes_weigh_the_training_loss_alone() -> None:
    study = study_of(STRIPS["rows"], {})
    batch, logits = batch_of(study), torch.zeros(3, 12, CLASSES, 1, 12)
    plain, weighted = learning_of(study), learning_of(study, (2.0, 2.0, 2.0))
    dice = plain.loss(logits, batch) - torch.tensor(3.0).log()
    torch.testing.assert_close(weighted.loss(logits, batch) - dice, 2 * torch.tensor(3.0).log())
    torch.testing.assert_close(weighted.losses(logits, batch), plain.losses(logits, batch))


@torch.no_grad()
def test_case_without_a_label_has_no_loss_and_no_gradient() -> None:
    study = study_of(PICTURES["slices"], {"cell": "conv_gru", "encoder": "cnn"})
    batch = batch_of(study)
    nothing = SequenceBatch(batch.steps, batch.lengths, torch.full_like(batch.targets, NO_TARGET))
    output = seeded(study)(batch.steps, batch.lengths)
    assert learning_of(study).losses(output, nothing).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("sequence", [*STRIPS.values(), PICTURES["slices"]], ids=[*STRIPS, "slices"])
@torch.no_grad()
def test_counts_are_of_whole_pictures(sequence: dict[str, Any]) -> None:
    """A square in the picture is found where it is, whatever the order of the steps."""
    pictures = isinstance(sequence.get("kind"), str) and sequence["kind"] == "slices"
    study = study_of(sequence, {"cell": "conv_gru", "encoder": "cnn"} if pictures else {})
    size = sequence["size"]
    true, found = torch.zeros(1, size, size, dtype=torch.uint8), torch.zeros(1, size, size, dtype=torch.uint8)
    true[0, 2:6, 2:6] = found[0, 2:6, 5:9] = 1
    as_steps = (lambda x: x.reshape(1, 1, -1)) if pictures else (lambda x: to_steps(x, study.sequence))
    targets, guess = as_steps(true), as_steps(found)
    logits = torch.nn.functional.one_hot(guess.long(), CLASSES).float().transpose(2, 3)
    logits = logits.reshape(*logits.shape[:3], *study.sequence.frame)
    batch = SequenceBatch(targets.float(), torch.tensor([targets.shape[1]]), targets)
    figures = learning_of(study).count(logits, batch, keep=False).figures(("background", "left", "right"))
    assert figures["dice_by_class"]["left"] == pytest.approx(0.25)
    assert figures["hd95_by_class"]["left"] == pytest.approx(3.0)


@torch.no_grad()
def test_loss_that_is_counted_is_the_loss_of_the_cases() -> None:
    study = study_of(PICTURES["odd"], {"cell": "conv_lstm", "encoder": "cnn"})
    batch, learning = batch_of(study), learning_of(study)
    output = seeded(study)(batch.steps, batch.lengths)
    sums = learning.count(output, batch, keep=True)
    sums.check(CLASSES)
    assert (sums.n, len(sums.segments)) == (3, 3)
    assert sums.loss == pytest.approx(float(learning.losses(output, batch).sum()), rel=1e-5)


@torch.no_grad()
def test_states_are_one_vector_a_step() -> None:
    study = study_of(PICTURES["slices"], {"cell": "conv_gru", "encoder": "cnn", "bidirectional": True})
    batch, network = batch_of(study), seeded(study)
    states, lengths = network.states(batch.steps, batch.lengths)
    assert (states.shape, network.width) == ((3, 3, 16), 16)
    assert torch.equal(lengths, batch.lengths)
    assert not states[1, 1:].any()


@pytest.mark.parametrize(
    ("sequence", "model", "said"),
    [
        (STRIPS["rows"], {"cell": "conv_gru"}, "same place"),
        (STRIPS["patches"], {"cell": "conv_lstm"}, "same place"),
        (STRIPS["rows"], {"encoder": "hog"}, "hog gives no pixels"),
        (PICTURES["slices"], {"cell": "gru"}, "loses its places"),
        (PICTURES["frames"], {"cell": "conv_gru", "encoder": "hog"}, "hog gives no pixels"),
        ({"kind": "steps", "variables": {"HR": {"centre": 80, "scale": 20}}}, {}, "has none"),
    ],
)
def test_what_is_not_built_is_refused_by_name(
    sequence: dict[str, Any], model: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidValue, match=said):
        study_of(sequence, model)


def test_sums_of_pixels_leave_a_site() -> None:
    tested = [each.what for each in leavings_of(study_of(STRIPS["rows"], {})) if each.when == "every test"]
    assert tested == ["test-loss", "segmentation-counts"]


def test_noise_on_counts_that_is_not_built_is_refused() -> None:
    plain = study_of(STRIPS["rows"], {}).model_dump(mode="json", exclude_none=True)
    with pytest.raises(InvalidValue, match="is not built for segmentation"):
        parse_study({**plain, "privacy": {"evaluation_epsilon": 1.0, "noise_multiplier": 1.0}})
