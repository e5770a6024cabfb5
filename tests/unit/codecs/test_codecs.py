"""Each codec: what travels of an array, how far off it is, and what no codec makes is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from common.codecs import FLOAT32, Codec, codec_of
from common.codecs.bf16 import BF16
from common.codecs.int8 import BLOCK, INT8
from common.codecs.part import PIECE
from common.codecs.topk import TopK
from common.errors import UpdateRefused
from common.study.federation import Federation

CODECS: list[Codec] = [BF16, INT8, TopK(0.1)]
SIZES = [1, BLOCK, BLOCK + 1, PIECE - 1, PIECE + 5]
NOT_FINITE = [np.inf, -np.inf, np.nan]


def normal(size: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def back(codec: Codec, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return codec.decode(codec.encode(values), values.size)


@pytest.mark.parametrize(
    ("federation", "codec"),
    [
        ({}, FLOAT32),
        ({"codec": "bf16"}, BF16),
        ({"codec": "int8"}, INT8),
        ({"codec": "topk", "codec_fraction": 0.25}, TopK(0.25)),
    ],
)
def test_a_study_names_its_codec(federation: dict[str, Any], codec: Codec) -> None:
    assert codec_of(Federation(**federation)) == codec


def test_float32_has_nothing_to_encode() -> None:
    assert FLOAT32.parts == () and FLOAT32.encode(normal(3)) == {}
    with pytest.raises(UpdateRefused):
        FLOAT32.decode({}, 3)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.parts[0])
@pytest.mark.parametrize("size", SIZES)
def test_parts_are_vectors_named_as_the_codec_says(codec: Codec, size: int) -> None:
    values = normal(size)
    before = values.copy()
    parts = codec.encode(values)
    assert set(parts) == set(codec.parts)
    assert all(part.ndim == 1 for part in parts.values())
    decoded = codec.decode(parts, size)
    assert decoded.shape == (size,) and decoded.dtype == np.float32
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.parts[0])
def test_equal_values_give_equal_bytes(codec: Codec) -> None:
    first, second = codec.encode(normal(5000)), codec.encode(normal(5000))
    assert all(first[part].tobytes() == second[part].tobytes() for part in codec.parts)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.parts[0])
@pytest.mark.parametrize("size", SIZES)
def test_zeros_stay_zeros(codec: Codec, size: int) -> None:
    assert not back(codec, np.zeros(size, np.float32)).any()


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.parts[0])
@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_value_that_is_not_finite_is_noticed(codec: Codec, value: float) -> None:
    values = normal(BLOCK + 7)
    values[BLOCK + 2] = value
    try:
        decoded = back(codec, values)
    except UpdateRefused:
        return
    assert not np.isfinite(decoded).all()


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.parts[0])
@pytest.mark.parametrize("value", [1e-45, 1e-40, 3e-38, 3.4028235e38, -3.4028235e38])
def test_the_ends_of_float32_are_no_crash(codec: Codec, value: float) -> None:
    values = np.full(2000, value, np.float32)
    values[1::2] = 0
    decoded = back(codec, values).astype(np.float64)
    assert not np.isnan(decoded).any()
    assert (np.abs(decoded[np.isfinite(decoded)]) <= 1.01 * abs(float(values[0]))).all()


# --- bf16


def test_bf16_is_what_torch_makes_of_it() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 3 * PIECE, dtype=np.uint32)
    ties = np.arange(0, 2**16, dtype=np.uint32) << 16 | 0x8000
    values = np.concatenate([bits, ties]).view(np.float32)
    halves = torch.from_numpy(values).to(torch.bfloat16)
    expected, found = halves.view(torch.int16).numpy().view(np.uint16), BF16.encode(values)["bf16"]
    real = ~np.isnan(values)
    np.testing.assert_array_equal(found[real], expected[real])
    decoded = back(BF16, values)
    np.testing.assert_array_equal(decoded[real], halves.to(torch.float32).numpy()[real])
    assert np.isnan(decoded[~real]).all()


# --- int8


def test_int8_is_off_by_half_a_scale_of_its_block_at_most() -> None:
    values = normal(3 * BLOCK + 100)
    values[BLOCK : 2 * BLOCK] *= 1000
    parts = INT8.encode(values)
    scales = np.repeat(parts["scales"], BLOCK)[: values.size]
    assert len(parts["scales"]) == 4
    assert (np.abs(back(INT8, values) - values) <= 0.5001 * scales).all()
    assert np.abs(back(INT8, values)[:BLOCK] - values[:BLOCK]).max() < 0.02  # nothing of the loud neighbour


def test_int8_reaches_both_ends_of_a_block() -> None:
    values = np.linspace(-2, 1, BLOCK, dtype=np.float32)
    parts = INT8.encode(values)
    assert parts["int8"].min() == -127 and parts["int8"].max() == 64
    assert parts["scales"][0] == np.float32(2) / np.float32(127)


# --- topk


def test_topk_sends_the_largest_with_their_places() -> None:
    values = np.array([0.5, -3, 0, 2, -2, 0.1, 9, 0, 0, 0], np.float32)
    parts = TopK(0.3).encode(values)
    assert parts["gaps"].tolist() == [2, 2, 3] and parts["gaps"].dtype == np.uint16
    assert parts["values"].tolist() == [-3, 2, 9]
    assert back(TopK(0.3), values).tolist() == [0, -3, 0, 2, 0, 0, 9, 0, 0, 0]


def test_of_equal_magnitudes_the_first_are_sent() -> None:
    values = np.array([1, -2, 2, -2, 2, 2], np.float32)
    assert back(TopK(0.5), values).tolist() == [0, -2, 2, -2, 0, 0]


@pytest.mark.parametrize(("fraction", "size", "kept"), [(0.01, 7, 1), (0.5, 7, 4), (1.0, 7, 7), (1e-6, 1, 1)])
def test_topk_sends_at_least_its_share(fraction: float, size: int, kept: int) -> None:
    values = normal(size)
    decoded = back(TopK(fraction), values)
    assert np.count_nonzero(decoded) == kept
    assert set(decoded[decoded != 0]) <= set(values)


def test_a_gap_that_is_too_wide_for_16_bits_takes_32() -> None:
    values = np.zeros(70_002, np.float32)
    values[[0, 70_001]] = 1
    parts = TopK(2 / values.size).encode(values)
    assert parts["gaps"].tolist() == [1, 70_001] and parts["gaps"].dtype == np.uint32
    np.testing.assert_array_equal(back(TopK(2 / values.size), values), values)


# --- what no codec makes

GOOD = {
    "bf16": (BF16, {"bf16": np.zeros(10, np.uint16)}),
    "int8": (INT8, {"int8": np.zeros(10, np.int8), "scales": np.ones(1, np.float32)}),
    "topk": (TopK(0.3), {"gaps": np.array([1, 2, 7], np.uint16), "values": np.ones(3, np.float32)}),
}
MALFORMED: dict[str, tuple[str, str, NDArray[Any]]] = {
    "another type": ("bf16", "bf16", np.zeros(10, np.int16)),
    "float values": ("bf16", "bf16", np.zeros(10, np.float32)),
    "one too few": ("bf16", "bf16", np.zeros(9, np.uint16)),
    "a table": ("bf16", "bf16", np.zeros((2, 5), np.uint16)),
    "one value": ("bf16", "bf16", np.zeros((), np.uint16)),
    "unsigned codes": ("int8", "int8", np.zeros(10, np.uint8)),
    "code that is not made": ("int8", "int8", np.full(10, -128, np.int8)),
    "no scale": ("int8", "scales", np.ones(0, np.float32)),
    "two scales": ("int8", "scales", np.ones(2, np.float32)),
    "scale of 64 bits": ("int8", "scales", np.ones(1)),
    "negative scale": ("int8", "scales", np.full(1, -1, np.float32)),
    "scale NaN": ("int8", "scales", np.full(1, np.nan, np.float32)),
    "scale infinite": ("int8", "scales", np.full(1, np.inf, np.float32)),
    "beyond the array": ("topk", "gaps", np.array([1, 2, 8], np.uint16)),
    "far beyond the array": ("topk", "gaps", np.full(3, 2**32 - 1, np.uint32)),
    "the same place twice": ("topk", "gaps", np.array([1, 0, 7], np.uint16)),
    "place before the first": ("topk", "gaps", np.array([0, 2, 7], np.uint16)),
    "signed gaps": ("topk", "gaps", np.array([1, -1, 7], np.int64)),
    "fewer gaps": ("topk", "gaps", np.array([1, 2], np.uint16)),
    "more values": ("topk", "values", np.ones(4, np.float32)),
    "values of 64 bits": ("topk", "values", np.ones(3)),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_a_codec_could_have_made_is_taken(name: str) -> None:
    codec, parts = GOOD[name]
    assert codec.decode(parts, 10).shape == (10,)


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED)
def test_what_no_codec_makes_is_refused(case: tuple[str, str, NDArray[Any]]) -> None:
    name, part, array = case
    codec, parts = GOOD[name]
    with pytest.raises(UpdateRefused):
        codec.decode({**parts, part: array}, 10)


def test_scales_beyond_any_update_are_left_to_the_gate() -> None:
    parts = {"int8": np.full(10, 127, np.int8), "scales": np.full(1, 3e38, np.float32)}
    assert np.isinf(INT8.decode(parts, 10)).all()
