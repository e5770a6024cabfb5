"""Detection models and their loss: cells lie where they say, padding never counts, each case stands alone."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from common.contract import leavings_of
from common.errors import InvalidValue
from common.learning import learning_of
from common.learning.detection import Detection
from common.models import SequenceModel, build_model
from common.private.bookkeeping import Bookkeeper
from common.sequences import SequenceBatch
from common.study import Study, parse_study

CLASSES = 2
PATCHES = {
    "patches": {"kind": "patches", "size": 32, "patch": 8},
    "hilbert": {"kind": "patches", "size": 32, "patch": 8, "order": "hilbert"},
}
PICTURES = {
    "frames": {"kind": "frames", "size": 32},
    "slices": {"kind": "slices", "size": 16},
    "odd": {"kind": "slices", "size": 19},
}
combinations = [
    *(
        pytest.param(
            sequence, {"encoder": encoder, "cell": cell, "bidirectional": True}, id=f"{kind}-{encoder}-{cell}"
        )
        for (kind, sequence), encoder, cell in product(
            PATCHES.items(), ("none", "cnn", "hog"), ("gru", "lstm", "rnn")
        )
    ),
    *(
        pytest.param(sequence, {"encoder": "cnn", "cell": cell}, id=f"{kind}-cnn-{cell}")
        for (kind, sequence), cell in product(PICTURES.items(), ("conv_gru", "conv_lstm"))
    ),
]
every_model = pytest.mark.parametrize(("sequence", "model"), combinations)
every_sequence = pytest.mark.parametrize(
    "sequence", [*PATCHES.values(), *PICTURES.values()], ids=[*PATCHES, *PICTURES]
)


def study_of(sequence: dict[str, Any], model: dict[str, Any] | None = None) -> Study:
    head = {"name": "d", "task": "detection", "labels": {"0": "nodule", "1": "cyst"}}
    usual = {} if sequence["kind"] == "patches" else {"cell": "conv_gru", "encoder": "cnn"}
    return parse_study({"study": head, "sequence": sequence, "model": {"hidden": 8, **(model or usual)}})


def seeded(study: Study) -> SequenceModel:
    torch.manual_seed(0)
    return build_model(study).eval()


def learning(study: Study) -> Detection:
    made = learning_of(study)
    assert isinstance(made, Detection)
    return made


def batch_of(study: Study, lengths: tuple[int, ...] | None = None) -> SequenceBatch:
    """Three cases of noise with a box or two in most steps; the last case has none."""
    steps = getattr(study.sequence, "steps", None)
    own = torch.tensor((steps,) * 3 if steps else lengths or (3, 1, 2))
    random = torch.Generator().manual_seed(1)
    height, width = study.sequence.frame
    pictures = torch.randn(len(own), int(own.max()), height * width, generator=random)
    targets = torch.full((len(own), int(own.max()), 3, 5), -1.0)
    for case, length in enumerate(own[:-1]):
        for step in range(0, int(length), 5 if steps else 1):
            low = 0.6 * torch.rand(2, generator=random)
            high = low + 0.1 + 0.25 * torch.rand(2, generator=random)
            targets[case, step, 0] = torch.tensor([step % 2, *low, *high])
            targets[case, step, 1] = torch.tensor([1, 0.5, 0.5, 0.75, 0.9])
    for case, length in enumerate(own):
        pictures[case, length:], targets[case, length:] = 0, -1
    return SequenceBatch(pictures, own, targets)


@every_model
@torch.no_grad()
def test_every_cell_speaks_of_each_class_and_of_a_box(
    sequence: dict[str, Any], model: dict[str, Any]
) -> None:
    study = study_of(sequence, model)
    batch = batch_of(study)
    said = seeded(study)(batch.steps, batch.lengths)
    cells = 1 if sequence["kind"] == "patches" else {32: 64, 16: 64, 19: 25}[sequence["size"]]
    assert said.shape == (3, batch.steps.shape[1], cells, CLASSES + 4)
    assert said.isfinite().all()
    assert said.std() > 0


@every_model
@torch.no_grad()
def test_case_s_cells_say_what_they_say_alone_and_unpadded(
    sequence: dict[str, Any], model: dict[str, Any]
) -> None:
    study = study_of(sequence, model)
    batch, network = batch_of(study, (4, 1, 3)), seeded(study)
    together = network(batch.steps, batch.lengths)
    for case, length in enumerate(batch.lengths):
        alone = network(batch.steps[case : case + 1, :length], batch.lengths[case : case + 1])
        torch.testing.assert_close(together[case, :length], alone[0], atol=1e-5, rtol=0)
        assert not together[case, length:].any()


@every_sequence
@torch.no_grad()
def test_other_cases_change_no_case_s_loss(sequence: dict[str, Any]) -> None:
    study = study_of(sequence)
    batch, task = batch_of(study, (4, 1, 3)), learning(study)
    said = torch.randn_like(seeded(study)(batch.steps, batch.lengths))
    together = task.losses(said, batch)
    assert (together > 0).all()
    for case in range(3):
        one = batch.take(torch.tensor([case]))
        alone = task.losses(said[case : case + 1, : one.steps.shape[1]], one)
        torch.testing.assert_close(together[case : case + 1], alone, atol=1e-5, rtol=1e-5)


@every_model
def test_each_case_s_private_gradient_is_its_own(sequence: dict[str, Any], model: dict[str, Any]) -> None:
    study = study_of(sequence, model)
    network, task, batch = seeded(study), learning(study), batch_of(study, (2, 1, 2))

    def losses(cases: SequenceBatch) -> torch.Tensor:
        return task.losses(network(cases.steps, cases.lengths), cases)

    with Bookkeeper(network) as bookkeeper:
        norms = bookkeeper.clipped_sum(lambda: losses(batch), torch.arange(3), 3, 1e9)
    network.zero_grad()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for case in range(3):
        gradients = torch.autograd.grad(losses(batch.take(torch.tensor([case]))).sum(), parameters)
        alone = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        torch.testing.assert_close(norms[case], alone, rtol=1e-3, atol=1e-5)


def perfect(study: Study, batch: SequenceBatch) -> torch.Tensor:
    """What cells would say that know all boxes: of the cell nearest to each middle."""
    task = learning(study)
    grid = task.grid
    targets = batch.targets.flatten(1, 2).unsqueeze(1) if sequence_is_patches(study) else batch.targets
    said = torch.zeros(*targets.shape[:2], len(grid.centres), CLASSES + 4)
    said[..., :CLASSES] = -9.0
    for case, picture, place in (targets[..., 0] >= 0).nonzero().tolist():
        number, *box = targets[case, picture, place].tolist()
        away = (torch.tensor([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]) - grid.centres).square().sum(1)
        cell = int(away.argmin())
        said[case, picture, cell, int(number)] = 9.0
        said[case, picture, cell, CLASSES:] = grid.said(torch.tensor(box).expand(len(grid.centres), 4))[cell]
    return said.transpose(1, 2) if sequence_is_patches(study) else said


def sequence_is_patches(study: Study) -> bool:
    return study.sequence.kind == "patches"


@every_sequence
@torch.no_grad()
def test_boxes_that_cells_know_are_found(sequence: dict[str, Any]) -> None:
    study = study_of(sequence)
    batch, task = batch_of(study), learning(study)
    if sequence_is_patches(study):  # a box stands at the patch that holds its middle
        batch.targets[:] = -1
        batch.targets[0, 0, 0] = torch.tensor([1.0, 0.05, 0.5, 0.3, 0.7])
        batch.targets[1, 3, 0] = torch.tensor([0.0, 0.5, 0.05, 0.8, 0.2])
    sums = task.count(perfect(study, batch), batch, keep=True)
    sums.check(CLASSES)
    figures = sums.figures(("nodule", "cyst"))
    assert figures["map50"] == pytest.approx(1.0)
    assert figures["froc"] == pytest.approx(1.0)
    assert figures["labels"] == {
        "nodule": int((batch.targets[..., 0] == 0).sum()),
        "cyst": int((batch.targets[..., 0] == 1).sum()),
    }
    assert figures["pictures"] == (3 if sequence_is_patches(study) else 6)
    assert len(sums.case_finds) == 3


@every_sequence
@torch.no_grad()
def test_cells_that_know_lose_less_than_cells_that_do_not(sequence: dict[str, Any]) -> None:
    study = study_of(sequence)
    batch, task = batch_of(study), learning(study)
    knowing = perfect(study, batch)
    ignorant = torch.zeros_like(knowing)
    ignorant[..., :CLASSES] = -9.0
    assert (task.losses(knowing, batch)[:2] < 0.3 * task.losses(ignorant, batch)[:2]).all()
    torch.testing.assert_close(task.losses(knowing, batch)[2], task.losses(ignorant, batch)[2])


@torch.no_grad()
def test_focal_loss_is_that_of_the_formula() -> None:
    study = study_of(PATCHES["patches"])
    batch = batch_of(study)
    batch.targets[:] = -1
    said = torch.randn(3, 16, 1, CLASSES + 4, generator=torch.Generator().manual_seed(2))
    sure = said[..., :CLASSES].sigmoid()
    expected = -(sure**2 * (1 - sure).log()).flatten(1).sum(1)
    torch.testing.assert_close(learning(study).losses(said, batch), expected)


@torch.no_grad()
def test_picture_s_boxes_are_given_by_step() -> None:
    study = study_of(PICTURES["frames"])
    batch = batch_of(study)
    found = learning(study).found(perfect(study, batch), batch.lengths)
    assert [len(case) for case in found] == [3, 1, 2]
    first = found[1][0]
    wanted = batch.targets[1, 0, :2]
    for number, *box in wanted.tolist():
        place = first.classes.tolist().index(int(number))
        assert first.boxes[place].tolist() == pytest.approx(box, abs=1e-4)
    assert [len(picture.scores) for picture in found[2]] == [0, 0]


@pytest.mark.parametrize(
    ("sequence", "model", "said"),
    [
        ({"kind": "rows", "size": 16}, {"cell": "gru"}, "not rows"),
        (PATCHES["patches"], {"cell": "conv_gru"}, "same place"),
        (PICTURES["frames"], {"cell": "gru", "encoder": "cnn"}, "loses its places"),
        (PICTURES["frames"], {"cell": "conv_gru", "encoder": "hog"}, "hog gives no pixels"),
        (PICTURES["frames"], {"cell": "conv_gru", "encoder": "none"}, "each pixel were a cell"),
    ],
)
def test_what_is_not_built_is_refused_by_name(
    sequence: dict[str, Any], model: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidValue, match=said):
        study_of(sequence, model)


def test_numbers_of_boxes_leave_a_site() -> None:
    tested = [each.what for each in leavings_of(study_of(PATCHES["patches"])) if each.when == "every test"]
    assert tested == ["test-loss", "detection-counts"]
