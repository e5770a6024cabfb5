"""Codecs: bounded error, nothing lost over many rounds, and no crash whatever arrives."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from common.codecs import Codec, carried, decode, encode
from common.codecs.bf16 import BF16
from common.codecs.int8 import BLOCK, INT8
from common.codecs.topk import TopK
from common.errors import UpdateRefused

fractions = st.floats(1e-6, 1.0)
lossy: st.SearchStrategy[Codec] = st.one_of(st.just(BF16), st.just(INT8), fractions.map(TopK))
with_feedback: st.SearchStrategy[Codec] = st.just(INT8) | fractions.map(TopK)
any_value = st.floats(width=32)
finite = st.floats(-(2.0**100), 2.0**100, width=32)


def vectors(elements: st.SearchStrategy[float], most: int = 5000) -> st.SearchStrategy[NDArray[np.float32]]:
    return hnp.arrays(np.float32, st.integers(1, most), elements=elements, fill=elements)


def back(codec: Codec, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return codec.decode(codec.encode(values), values.size)


@given(vectors(finite))
def test_bf16_is_off_by_a_256th_at_most(values: NDArray[np.float32]) -> None:
    off = np.abs(back(BF16, values).astype(np.float64) - values)
    assert (off <= np.abs(values, dtype=np.float64) / 256 + 1e-40).all()


@given(vectors(finite))
def test_int8_is_off_by_half_a_scale_at_most(values: NDArray[np.float32]) -> None:
    largest = np.maximum.reduceat(np.abs(values), np.arange(0, values.size, BLOCK))
    scales = np.repeat(largest.astype(np.float64) / 127, BLOCK)[: values.size]
    off = np.abs(back(INT8, values).astype(np.float64) - values)
    assert (off <= 0.5001 * scales + 1e-43).all()


@given(vectors(finite, 300), fractions)
def test_topk_leaves_out_nothing_larger_than_what_it_sends(
    values: NDArray[np.float32], fraction: float
) -> None:
    codec = TopK(fraction)
    parts = codec.encode(values)
    places = np.cumsum(parts["gaps"], dtype=np.int64) - 1
    np.testing.assert_array_equal(values[places], parts["values"])
    others = np.delete(np.abs(values), places)
    assert not others.size or others.max() <= np.abs(parts["values"]).min()
    assert len(places) == codec.kept(values.size)


@given(lossy, vectors(any_value))
def test_whatever_a_site_s_training_gave_is_decoded_or_refused(
    codec: Codec, values: NDArray[np.float32]
) -> None:
    parts = codec.encode(values)
    try:
        decoded = codec.decode(parts, values.size)
    except UpdateRefused:
        assert not np.isfinite(values).all()
        return
    if not np.isfinite(values).all():
        assert not np.isfinite(decoded).all()


@given(with_feedback, st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_over_many_rounds_nothing_is_lost(codec: Codec, seed: int, rounds: int) -> None:
    """What arrived in all rounds is what was given, less what the last round left out."""
    rng = np.random.default_rng(seed)
    like = {"w": np.zeros((40, 30), np.float32), "b": np.zeros(40, np.float32)}
    given_ = {name: np.zeros(array.shape) for name, array in like.items()}
    arrived = {name: np.zeros(array.shape) for name, array in like.items()}
    left_out: dict[str, NDArray[np.float32]] = {}
    for _ in range(rounds):
        delta = {name: rng.standard_normal(array.shape).astype(np.float32) for name, array in like.items()}
        encoded = encode(codec, carried(delta, left_out))
        assert encoded.left_out is not None
        left_out = encoded.left_out
        for name, array in decode(codec, encoded.arrays, like).items():
            given_[name] += delta[name]
            arrived[name] += array
    np.testing.assert_array_equal(arrived["b"], given_["b"])
    np.testing.assert_allclose(arrived["w"] + left_out["w"], given_["w"], atol=1e-4 * rounds)


@given(fractions.filter(lambda fraction: fraction > 0.05), st.integers(0, 2**32 - 1))
def test_what_is_carried_over_stays_bounded(fraction: float, seed: int) -> None:
    """The residual of updates of length 1 is at most 2 / share long (Karimireddy et al. 2019, lemma 3)."""
    rng, codec, left_out = np.random.default_rng(seed), TopK(fraction), {}
    for _ in range(30):
        delta = rng.standard_normal((40, 30)).astype(np.float32)
        encoded = encode(codec, carried({"w": delta / np.float32(np.linalg.norm(delta))}, left_out))
        left_out = encoded.left_out or {}
    assert np.linalg.norm(left_out["w"]) <= 2 / fraction


# --- from a stranger

LIKE = {"w": np.zeros((40, 30), np.float32), "b": np.zeros(5, np.float32)}
arrays = hnp.arrays(
    st.sampled_from(["u1", "i1", "u2", "i4", "u4", "i8", "f2", "f4", "f8", "?"]),
    hnp.array_shapes(min_dims=0, max_dims=3, max_side=6, min_side=0),
)


@st.composite
def strange(draw: st.DrawFn, codec: Codec) -> dict[str, NDArray[Any]]:
    """A sound update with arrays exchanged, added, dropped, or of other values."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    found: dict[str, Any] = encode(
        codec, {"w": rng.standard_normal((40, 30)).astype(np.float32), "b": LIKE["b"]}
    ).arrays
    for name in draw(st.lists(st.sampled_from([*found, "more", "w"]), max_size=3)):
        how = draw(st.sampled_from(["drop", "any", "values", "type"]))
        if how == "drop" or name not in found:
            found.pop(name, None)
        if how == "any":
            found[name] = draw(arrays)
        elif name in found and how == "values":
            old = found[name]
            found[name] = draw(hnp.arrays(old.dtype, old.shape))
        elif name in found and how == "type":
            with np.errstate(all="ignore"):
                found[name] = np.nan_to_num(found[name]).astype(
                    draw(st.sampled_from(["u4", "i8", "f8", "u2"]))
                )
    return found


@given(st.data(), lossy)
def test_malformed_updates_are_refused_and_nothing_else(data: st.DataObject, codec: Codec) -> None:
    found = data.draw(strange(codec))
    try:
        decoded = decode(codec, found, LIKE)
    except UpdateRefused:
        return
    assert decoded.keys() == LIKE.keys()
    assert decoded["w"].shape == (40, 30) and decoded["w"].dtype == np.float32
