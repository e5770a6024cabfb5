"""What the report keeps of a case's pictures."""

import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.cohorts.quality import CasePicture, picture_of
from client.cohorts.quality.hamming import MOST_BITS, distances
from client.cohorts.quality.likeness import ALIKE, detail, likeness
from client.cohorts.quality.picture import THUMBNAIL_EDGE


def noise(seed: int, height: int = 192, width: int = 192) -> np.ndarray:
    """(1, height, width) float32: smooth shapes, each seed its own."""
    coarse = np.random.default_rng(seed).random((16, 16)).astype(np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image, dtype=np.float32), 0, 1)[None]


def apart(a: np.ndarray, b: np.ndarray) -> tuple[int, float]:
    """Bits and likeness of two cases' pictures."""
    one, other = picture_of(a), picture_of(b)
    details = np.stack([detail(one.thumbnail), detail(other.thumbnail)])
    bits = distances(one.fingerprint[None], other.fingerprint[None])[0]
    return int(bits), float(likeness(details, np.array([[0, 1]]))[0])


def test_numbers_are_of_all_frames() -> None:
    frames = np.stack([np.zeros((4, 4)), np.full((4, 4), 0.5), np.ones((4, 4))]).astype(np.float32)
    picture = picture_of(frames)
    assert picture.mean == pytest.approx(0.5)
    assert picture.sd == pytest.approx(frames.std())
    assert picture.histogram.tolist() == pytest.approx([1 / 3, *[0] * 31, 1 / 3, *[0] * 30, 1 / 3])
    assert picture.histogram.dtype == np.float32
    assert picture.thumbnail.tolist() == [[128] * 4] * 4  # the middle frame


def test_what_is_not_in_range_is_cut_off_and_not_a_number_is_black() -> None:
    picture = picture_of(np.array([[[np.nan, -3.0], [7.0, np.inf]]], dtype=np.float32))
    assert (picture.histogram[0], picture.histogram[-1], picture.mean) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 700), (1, 3, 2), (3, 96, 97)])
def test_every_shape_becomes_a_small_picture(shape: tuple[int, int, int]) -> None:
    picture = picture_of(np.full(shape, 0.25, dtype=np.float32))
    height, width = picture.thumbnail.shape
    assert 1 <= height <= THUMBNAIL_EDGE and 1 <= width <= THUMBNAIL_EDGE
    assert picture.fingerprint.shape == (18,) and not picture.fingerprint.any()


@pytest.mark.parametrize("shape", [(4, 4), (0, 4, 4), (1, 0, 4)])
def test_nothing_to_see_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        picture_of(np.zeros(shape, dtype=np.float32))


def test_a_picture_is_kept_as_json_and_read_again() -> None:
    picture = picture_of(noise(1, 200, 100))
    again = CasePicture.of_json(picture.to_json())
    assert (again.mean, again.sd) == pytest.approx((picture.mean, picture.sd))
    for name in ("histogram", "fingerprint", "thumbnail"):
        assert np.array_equal(getattr(again, name), getattr(picture, name)), name
    assert again.thumbnail.shape == (96, 48)


@pytest.mark.parametrize("damage", ["", "AAAA", None, 7, "no base64!", b64encode(bytes(900)).decode()])
def test_a_damaged_picture_is_refused(damage: object) -> None:
    with pytest.raises(ValueError):
        CasePicture.of_json(damage)


def test_a_picture_cut_short_is_refused() -> None:
    text = picture_of(noise(1)).to_json()
    with pytest.raises(ValueError):
        CasePicture.of_json(text[: len(text) // 8 * 4])


def test_copies_stay_alike_and_others_do_not() -> None:
    frames = noise(3)
    grain = np.random.default_rng(0).normal(0, 0.02, frames.shape).astype(np.float32)
    for copy in (frames * 0.8, frames + grain, frames[:, ::2, ::2], np.repeat(frames, 2, axis=2)):
        bits, value = apart(frames, copy)
        assert bits <= MOST_BITS and value >= ALIKE
    bits, value = apart(frames, noise(4))
    assert bits > MOST_BITS and value < ALIKE


def test_what_has_no_structure_is_like_nothing() -> None:
    flat = np.full((96, 96), 128, dtype=np.uint8)
    details = np.stack([detail(flat), detail(flat)])
    assert not details.any()
    assert likeness(details, np.array([[0, 1]])).tolist() == [0.0]


def test_the_package_starts_without_torch() -> None:
    code = "import sys, client.cohorts.quality; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
