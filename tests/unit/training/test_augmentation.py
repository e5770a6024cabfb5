"""Cases are changed as they would look if the patient had lain otherwise, and their targets with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from client.augmentation import Augmented, augmentation_of
from client.augmentation.boxes import at_their_patches, moved_boxes
from client.augmentation.moves import Draws, moved, moved_masks
from client.private_training import train_privately
from client.trainer import LocalPlan, train
from common.errors import InvalidValue
from common.models import build_model, initial_weights, load_state, state_of
from common.private.plan import plan_of
from common.private.secret import Secret
from common.sequences import SequenceBatch, from_steps, to_steps
from common.study import Augmentation, Frames, Patches, Rows, Steps, Study, Variable, parse_study
from common.study.sequence import Sequence
from common.weights import norm, subtract

MakeStudy = Callable[..., Study]
SIZE = 16
MOVES = {"shift": 0.2, "rotate_deg": 20.0, "scale": 0.2, "crop": 0.2, "flip": "both"}
SHADES = {"noise": 0.2, "brightness": 0.3, "contrast": 0.4}
PICTURES: list[Sequence] = [
    Rows(size=SIZE),
    Patches(size=SIZE, patch=4),
    Patches(size=SIZE, patch=4, order="hilbert"),
    Frames(size=SIZE),
]


def pictures(cases: int = 6) -> torch.Tensor:
    """(N, SIZE, SIZE): a bright square somewhere on a dark ground."""
    found = torch.full((cases, SIZE, SIZE), -0.5)
    for case in range(cases):
        found[case, 3 + case % 4 : 8 + case % 4, 5:11] = 2.0
    return found


def steps_of(seen: torch.Tensor, sequence: Sequence, count: int = 1) -> torch.Tensor:
    if isinstance(sequence, Rows | Patches):
        return to_steps(seen, sequence)
    return seen.flatten(1)[:, None].repeat(1, count, 1)


def batch_of(sequence: Sequence, targets: torch.Tensor | None = None, count: int = 1) -> SequenceBatch:
    steps = steps_of(pictures(), sequence, count)
    lengths = torch.full((len(steps),), steps.shape[1])
    return SequenceBatch(steps, lengths, torch.arange(len(steps)) % 2 if targets is None else targets)


def seen(steps: torch.Tensor, sequence: Sequence) -> torch.Tensor:
    """The first picture of each case."""
    if isinstance(sequence, Rows | Patches):
        return from_steps(steps, sequence)
    return steps[:, 0].unflatten(-1, (SIZE, SIZE))


def map_of(*values: float) -> torch.Tensor:
    """(1, 2, 3), row by row."""
    return torch.tensor(values, dtype=torch.float32).reshape(1, 2, 3)


# --- moving pictures


def test_no_move_changes_nothing() -> None:
    maps = Draws.of(6, 0).maps(Augmentation())
    torch.testing.assert_close(maps, map_of(1, 0, 0, 0, 1, 0).repeat(6, 1, 1), atol=0, rtol=0)
    torch.testing.assert_close(moved(pictures()[:, None], maps), pictures()[:, None], atol=1e-5, rtol=0)


def test_a_shift_by_two_pixels_shows_them_two_further() -> None:
    picture = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    found = moved(picture, map_of(1, 0, 4 / SIZE, 0, 1, -4 / SIZE))  # from the right and from above
    torch.testing.assert_close(found[..., 2:, :-2], picture[..., :-2, 2:], atol=1e-5, rtol=0)
    darkest = picture.min().expand(SIZE, 2)
    torch.testing.assert_close(found[0, 0, :, -2:], darkest)


def test_quarter_turns_and_flips_are_those_of_the_array() -> None:
    picture = torch.randn(1, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for values, expected in (
        ((0, -1, 0, 1, 0, 0), picture.rot90(1, (-2, -1))),
        ((-1, 0, 0, 0, 1, 0), picture.flip(-1)),
        ((1, 0, 0, 0, -1, 0), picture.flip(-2)),
    ):
        torch.testing.assert_close(moved(picture, map_of(*values)), expected, atol=1e-4, rtol=0)


def test_what_is_drawn_stays_within_what_was_asked() -> None:
    draws = Draws.of(2000, 0)
    maps = draws.maps(Augmentation(shift=0.1))
    assert float(maps[:, :, 2].abs().max()) == pytest.approx(0.2, abs=0.01)  # of a side that is 2 long
    maps = draws.maps(Augmentation(rotate_deg=10.0))
    angles = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]).rad2deg()
    assert float(angles.abs().max()) == pytest.approx(10.0, abs=0.1)
    zoom = draws.maps(Augmentation(scale=0.25))[:, 0, 0]
    assert (float(zoom.min()), float(zoom.max())) == pytest.approx((0.8, 1.25), abs=0.01)
    crops = draws.maps(Augmentation(crop=0.5))
    assert (crops[:, :, :2].sum(-1) + crops[:, :, 2].abs() <= 1 + 1e-6).all()  # a crop lies in the picture
    assert float(crops[:, 0, 0].min()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("flip", "shares"),
    [("none", (0, 0)), ("horizontal", (0.5, 0)), ("vertical", (0, 0.5)), ("both", (0.5, 0.5))],
)
def test_half_of_the_cases_are_mirrored(flip: str, shares: tuple[float, float]) -> None:
    maps = Draws.of(2000, 0).maps(Augmentation.model_validate({"flip": flip}))
    found = tuple(float((maps[:, axis, axis] < 0).float().mean()) for axis in (0, 1))
    assert found == pytest.approx(shares, abs=0.04)


def test_an_option_more_changes_no_other() -> None:
    one, more = (Draws.of(9, 5).maps(Augmentation(shift=0.2, crop=crop)) for crop in (0.0, 0.3))
    assert not torch.equal(one, more)
    shifted = [Draws.of(9, 5).shades(Augmentation(brightness=1.0, noise=noise))[0] for noise in (0.0, 1.0)]
    assert torch.equal(*shifted)


# --- whole batches


@pytest.mark.parametrize("sequence", PICTURES, ids=lambda s: f"{s.kind}-{getattr(s, 'order', '')}")
def test_every_kind_of_sequence_shows_the_same_pictures(sequence: Sequence) -> None:
    asked, rows = Augmentation.model_validate(MOVES), PICTURES[0]
    wanted = seen(Augmented(asked, rows).changed(batch_of(rows), 3).steps, rows)
    changed = Augmented(asked, sequence).changed(batch_of(sequence), 3)
    torch.testing.assert_close(seen(changed.steps, sequence), wanted, atol=1e-5, rtol=0)
    assert float((wanted - pictures()).abs().mean()) > 0.1
    assert changed.steps.dtype == torch.float32


def test_all_frames_of_a_case_move_alike_and_cases_differ() -> None:
    augmented = Augmented(Augmentation.model_validate(MOVES), Frames(size=SIZE))
    same = pictures()[:1].repeat(2, 1, 1).flatten(1)[:, None].repeat(1, 5, 1)
    steps = augmented.changed(SequenceBatch(same, torch.tensor([5, 5]), torch.zeros(2)), 3).steps
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))
    assert not torch.allclose(steps[0], steps[1])


@pytest.mark.parametrize("asked", [MOVES, SHADES, {**MOVES, **SHADES}], ids=["moves", "shades", "both"])
def test_behind_a_case_stay_zeros(asked: dict[str, Any]) -> None:
    batch = batch_of(Frames(size=SIZE), count=4)
    lengths = torch.tensor([4, 1, 2, 3, 4, 1])
    behind = torch.arange(4)[None] >= lengths[:, None]
    batch.steps[behind] = 0.0
    steps = Augmented(Augmentation.model_validate(asked), Frames(size=SIZE)).changed(
        SequenceBatch(batch.steps, lengths, batch.targets), 3
    ).steps  # fmt: skip
    assert not steps[behind].any()
    assert steps[~behind].abs().amin(dim=0).max() > 0


def test_the_same_seed_gives_the_same_and_leaves_its_input_alone() -> None:
    batch = batch_of(Rows(size=SIZE))
    before = batch.steps.clone()
    augmented = Augmented(Augmentation.model_validate({**MOVES, **SHADES}), Rows(size=SIZE))
    first, second, other = (augmented.changed(batch, seed).steps for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
    assert torch.equal(batch.steps, before)


def test_values_change_by_what_was_asked() -> None:
    batch = batch_of(Rows(size=SIZE))
    zero = SequenceBatch(torch.zeros_like(batch.steps), batch.lengths, batch.targets)
    noised = Augmented(Augmentation(noise=0.5), Rows(size=SIZE)).changed(zero, 0).steps
    assert float(noised.std()) == pytest.approx(0.5, abs=0.03)
    brighter = Augmented(Augmentation(brightness=0.5), Rows(size=SIZE)).changed(zero, 0).steps
    assert torch.equal(brighter, brighter[:, :1, :1].expand_as(brighter))
    assert 0.2 < float(brighter.abs().max()) <= 0.5
    steeper = Augmented(Augmentation(contrast=0.5), Rows(size=SIZE)).changed(batch, 0).steps
    factor = (steeper / batch.steps)[:, 0, 0]
    torch.testing.assert_close(steeper, factor[:, None, None] * batch.steps)
    assert 0.5 <= float(factor.min()) < float(factor.max()) <= 1.5


def test_brightness_that_must_stay_in_its_range_does() -> None:
    steps = torch.rand(4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    batch = SequenceBatch(steps, torch.full((4,), SIZE), torch.zeros(4))
    changed = Augmented(
        Augmentation.model_validate({**SHADES, **MOVES}), Rows(size=SIZE), in_unit=True
    ).changed(batch, 0)
    assert float(changed.steps.min()) >= 0.0
    assert float(changed.steps.max()) <= 1.0
    assert float(changed.steps.std()) > 0.1


def test_noise_on_a_record_is_on_what_was_measured_alone() -> None:
    sequence = Steps(variables={name: Variable(centre=0, scale=1) for name in ("a", "b")})
    flags = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).repeat(50, 1, 1)
    steps = torch.cat([flags * 2, flags, torch.ones_like(flags)], dim=-1)
    batch = SequenceBatch(steps, torch.full((50,), 3), torch.zeros(50))
    changed = Augmented(Augmentation(noise=0.1), sequence).changed(batch, 0).steps
    assert torch.equal(changed[..., 2:], steps[..., 2:])
    assert not changed[..., :2][flags == 0].any()
    assert float((changed[..., :2] - steps[..., :2])[flags == 1].std()) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("asked", [{"shift": 0.1}, {"flip": "both"}, {"brightness": 0.1}, {"contrast": 0.1}])
def test_a_record_is_no_picture(asked: dict[str, Any]) -> None:
    document: dict[str, Any] = {
        "study": {"name": "x", "labels": {"0": "a", "1": "b"}},
        "sequence": {"kind": "steps", "variables": {"HR": {"centre": 80, "scale": 20}}},
    }
    parse_study({**document, "augmentation": {"noise": 0.1}})
    with pytest.raises(InvalidValue, match="noise alone"):
        parse_study({**document, "augmentation": asked})


def test_a_study_that_asks_for_nothing_gets_nothing(make_study: MakeStudy) -> None:
    assert augmentation_of(make_study()) is None
    assert augmentation_of(make_study(augmentation={"noise": 0.1})) is not None


# --- targets


@pytest.mark.parametrize("sequence", PICTURES, ids=lambda s: f"{s.kind}-{getattr(s, 'order', '')}")
def test_masks_go_where_their_pictures_go(sequence: Sequence) -> None:
    masks = steps_of((pictures() > 0).to(torch.uint8) * 2, sequence)
    changed = Augmented(Augmentation.model_validate(MOVES), sequence).changed(batch_of(sequence, masks), 3)
    assert changed.targets.dtype == torch.uint8
    assert changed.targets.shape == masks.shape
    assert set(changed.targets.unique().tolist()) <= {0, 2, 255}
    inside, around = changed.steps[changed.targets == 2], changed.steps[changed.targets == 0]
    assert float((inside > 0.75).float().mean()) > 0.95  # the border's pixels lie between both
    assert float((around < 0.75).float().mean()) > 0.95
    assert (changed.steps[changed.targets == 255] < 0.75).all()


def test_what_is_beside_a_mask_or_was_not_labelled_is_not_labelled() -> None:
    masks = torch.arange(SIZE * SIZE).reshape(1, 1, SIZE, SIZE).to(torch.uint8)
    found = moved_masks(masks, map_of(1, 0, 8 / SIZE, 0, 1, 0), 255)
    assert torch.equal(found[..., :-4], masks[..., 4:])
    assert (found[..., -4:] == 255).all()


def corner_boxes(cases: int = 6) -> torch.Tensor:
    """(N, 1, 2, 5): the bright square of each picture, and none."""
    tops = torch.tensor([3 + case % 4 for case in range(cases)]) / SIZE
    one = torch.stack([torch.ones(cases), tops, torch.full((cases,), 5 / SIZE), tops + 5 / SIZE,
                       torch.full((cases,), 11 / SIZE)], dim=1)  # fmt: skip
    return torch.stack([one, torch.full_like(one, -1)], dim=1)[:, None]


def test_boxes_go_where_their_pictures_go() -> None:
    asked = Augmentation(shift=0.1, scale=0.2, flip="both")  # upright boxes stay upright
    changed = Augmented(asked, Frames(size=SIZE)).changed(batch_of(Frames(size=SIZE), corner_boxes()), 3)
    for picture, (box, none) in zip(
        seen(changed.steps, Frames(size=SIZE)), changed.targets[:, 0], strict=True
    ):
        assert (none == -1).all()
        bright = (picture > 0.75).nonzero()
        edges = torch.cat([bright.amin(0), bright.amax(0) + 1]) / SIZE
        torch.testing.assert_close(box[1:], edges, atol=0.75 / SIZE, rtol=0)
        assert box[0] == 1


def test_a_box_around_what_was_turned_holds_it() -> None:
    angle = torch.tensor(0.3)
    turn = map_of(float(angle.cos()), -float(angle.sin()), 0, float(angle.sin()), float(angle.cos()), 0)
    box = torch.tensor([[[[3.0, 0.4, 0.3, 0.6, 0.7]]]])
    found = moved_boxes(box, turn)[0, 0, 0]
    height, width = 0.2, 0.4
    extent = torch.tensor(
        [height * angle.cos() + width * angle.sin(), width * angle.cos() + height * angle.sin()]
    )
    torch.testing.assert_close(found[3:] - found[1:3], extent)
    torch.testing.assert_close((found[3:] + found[1:3]) / 2, torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize(("shift", "stays"), [(0.3, True), (0.5, True), (0.6, False), (0.9, False)])
def test_a_box_that_has_left_the_picture_is_none(shift: float, stays: bool) -> None:
    """It is 0.4 high and its lower end lies at the lower border."""
    box = torch.tensor([[[[0.0, 0.3, 0.2, 0.7, 0.6]]]])
    found = moved_boxes(box, map_of(1, 0, 0, 0, 1, -2 * shift))[0, 0, 0]
    if stays:
        torch.testing.assert_close(found, torch.tensor([0.0, 0.3 + shift, 0.2, 1.0, 0.6]))
    else:
        assert (found == -1).all()


@pytest.mark.parametrize("order", ["raster", "hilbert"])
def test_boxes_stand_at_the_patch_that_holds_their_centre(order: str) -> None:
    sequence = Patches.model_validate({"size": SIZE, "patch": 4, "order": order})
    boxes = torch.full((1, 16, 2, 5), -1.0)
    boxes[0, 0, 0] = torch.tensor([1, 0.5, 0.8, 0.6, 0.9])  # its centre lies in row 2, column 3
    boxes[0, 7, 1] = torch.tensor([2, 0.5, 0.76, 0.7, 0.8])
    boxes[0, 9, 0] = torch.tensor([3, 0.51, 0.76, 0.7, 0.8])
    boxes[0, 9, 1] = torch.tensor([4, 0.0, 0.0, 0.1, 0.1])
    placed = at_their_patches(boxes, sequence)
    shown = torch.zeros(SIZE, SIZE)
    shown[8:12, 12:] = 1
    at = int(to_steps(shown, sequence).sum(-1).argmax())
    assert placed[0, at, :, 0].tolist() == [1, 2]  # the third found no room
    shown = torch.zeros(SIZE, SIZE)
    shown[:4, :4] = 1
    assert placed[0, int(to_steps(shown, sequence).sum(-1).argmax()), 0, 0] == 4
    assert int((placed[..., 0] >= 0).sum()) == 3


def test_boxes_of_patches_follow_through_a_whole_batch() -> None:
    sequence = Patches(size=SIZE, patch=4)
    boxes = torch.full((6, 16, 2, 5), -1.0)
    boxes[:, 5, 0] = corner_boxes()[:, 0, 0]
    changed = Augmented(Augmentation(shift=0.2), sequence).changed(batch_of(sequence, boxes), 3)
    frames = Augmented(Augmentation(shift=0.2), Frames(size=SIZE)).changed(
        batch_of(Frames(size=SIZE), corner_boxes()), 3
    )
    own = changed.targets[changed.targets[..., 0] >= 0]
    torch.testing.assert_close(own, frames.targets[:, 0, 0])


# --- training


def update(study: Study, batch: SequenceBatch, seed: int) -> dict[str, Any]:
    model = build_model(study)
    load_state(model, initial_weights(study, 0))
    train(model, batch, LocalPlan.of(study, 0.0, seed))
    return subtract(state_of(model), initial_weights(study, 0))


def test_training_sees_other_cases_each_time(make_study: MakeStudy) -> None:
    """One step over all cases: without an augmentation the seed cannot matter."""

    def study(**asked: Any) -> Study:
        return make_study(
            sequence={"size": SIZE}, augmentation=asked, training={"optimizer": "sgd", "batch_size": 6}
        )  # fmt: skip

    batch = batch_of(Rows(size=SIZE))
    assert norm(subtract(update(study(), batch, 1), update(study(), batch, 2))) < 1e-6
    first, again, other = (update(study(**MOVES, **SHADES), batch, seed) for seed in (1, 1, 2))
    assert norm(subtract(first, again)) == 0.0
    assert norm(subtract(first, other)) > 1e-5


def test_private_training_augments_from_its_secret(make_study: MakeStudy) -> None:
    privacy = {"noise_multiplier": 0.01, "sample_rate": 1.0}
    study = make_study(
        sequence={"size": SIZE}, augmentation=MOVES, training={"optimizer": "sgd"}, privacy=privacy
    )
    plain = make_study(sequence={"size": SIZE}, training={"optimizer": "sgd"}, privacy=privacy)

    def made(study: Study) -> dict[str, Any]:
        model = build_model(study)
        load_state(model, initial_weights(study, 0))
        plan, local = plan_of(study, 6), LocalPlan.of(study, 0.0, 0)
        train_privately(model, batch_of(Rows(size=SIZE)), torch.arange(6), plan, local, Secret(b"k" * 32))
        return state_of(model)

    assert norm(subtract(made(study), made(study))) == 0.0
    assert norm(subtract(made(study), made(plain))) > 1e-5
