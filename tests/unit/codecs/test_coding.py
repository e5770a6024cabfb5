"""Whole updates: which arrays are encoded, under which names they travel, and what is carried over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.codecs import FLOAT32, Codec, carried, decode, encode, encodes
from common.codecs.bf16 import BF16
from common.codecs.int8 import INT8
from common.codecs.topk import TopK
from common.errors import UpdateRefused

CODECS: list[Codec] = [FLOAT32, BF16, INT8, TopK(0.1)]
LOSSY = CODECS[1:]
rng = np.random.default_rng(0)
UPDATE: dict[str, NDArray[Any]] = {
    "gru.weight": rng.standard_normal((60, 50)).astype(np.float32),
    "kernel": rng.standard_normal((16, 8, 3, 3)).astype(np.float32),
    "small": rng.standard_normal((31, 33)).astype(np.float32),
    "bias": rng.standard_normal(3000).astype(np.float32),
    "running_var": rng.standard_normal(2000).astype(np.float32),
    "num_batches_tracked": np.array(7),
    "table": rng.integers(-9, 9, (60, 50)),
    "precise": rng.standard_normal((60, 50)),
    "scale": np.array(0.5, np.float32),
    "nothing": np.zeros((0, 5), np.float32),
}
ENCODED = {"gru.weight", "kernel"}


def name_of(codec: Codec) -> str:
    return codec.parts[0] if codec.parts else "float32"


codecs = pytest.mark.parametrize("codec", CODECS, ids=name_of)
lossy = pytest.mark.parametrize("codec", LOSSY, ids=name_of)


@lossy
def test_matrices_are_encoded_and_all_else_travels_as_it_is(codec: Codec) -> None:
    arrays = encode(codec, UPDATE).arrays
    assert {name for name in UPDATE if encodes(codec, UPDATE[name])} == ENCODED
    assert set(arrays) == (UPDATE.keys() - ENCODED) | {
        f"{name}:{part}" for name in ENCODED for part in codec.parts
    }
    assert all(arrays[name] is UPDATE[name] for name in UPDATE.keys() - ENCODED)


def test_float32_is_the_update() -> None:
    encoded = encode(FLOAT32, UPDATE)
    assert encoded.arrays == UPDATE and encoded.left_out == {}


@codecs
def test_what_arrives_has_the_model_s_names_shapes_and_types(codec: Codec) -> None:
    decoded = decode(codec, encode(codec, UPDATE).arrays, UPDATE)
    assert {n: (a.shape, a.dtype) for n, a in decoded.items()} == {
        n: (a.shape, a.dtype) for n, a in UPDATE.items()
    }
    assert list(decoded) == list(UPDATE)
    for name in UPDATE.keys() - ENCODED:
        np.testing.assert_array_equal(decoded[name], UPDATE[name])


@codecs
def test_arrays_may_lie_in_memory_as_they_like(codec: Codec) -> None:
    turned = {name: np.asarray(array, order="F") for name, array in UPDATE.items()}
    first, second = (decode(codec, encode(codec, update).arrays, UPDATE) for update in (UPDATE, turned))
    assert all(np.array_equal(first[name], second[name]) for name in UPDATE)


@lossy
def test_what_is_left_out_is_what_does_not_arrive(codec: Codec) -> None:
    encoded = encode(codec, UPDATE)
    decoded = decode(codec, encoded.arrays, UPDATE)
    assert encoded.left_out is not None
    assert set(encoded.left_out) == (ENCODED if codec.feedback else set())
    for name, rest in encoded.left_out.items():
        np.testing.assert_array_equal(rest, UPDATE[name] - decoded[name])


def test_only_what_was_left_out_is_added() -> None:
    left_out = {"kernel": np.ones_like(UPDATE["kernel"])}
    whole = carried(UPDATE, left_out)
    np.testing.assert_array_equal(whole["kernel"], UPDATE["kernel"] + 1)
    assert all(whole[name] is UPDATE[name] for name in UPDATE.keys() - {"kernel"})


@pytest.mark.parametrize("codec", [INT8, TopK(0.1)], ids=name_of)
@pytest.mark.parametrize("name", ["gru.weight", "bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_is_carried_on_of_an_update_that_is_not_finite(codec: Codec, name: str, value: float) -> None:
    array = UPDATE[name].copy()
    array.reshape(-1)[5] = value
    encoded = encode(codec, {**UPDATE, name: array})
    assert encoded.left_out is None
    try:
        decoded = decode(codec, encoded.arrays, UPDATE)
    except UpdateRefused:
        return
    assert not np.isfinite(decoded[name]).all()


def test_nothing_is_carried_on_of_an_update_that_overflows() -> None:
    values = np.nextafter(np.float32(np.inf), np.float32(0)) - np.float32(2e31) * np.arange(
        40, dtype=np.float32
    )
    found = set()
    for value in values:  # at some of the largest values 127 scales are more than there is
        huge = {"w": np.full((40, 40), value)}
        encoded = encode(INT8, huge)
        finite = bool(np.isfinite(decode(INT8, encoded.arrays, huge)["w"]).all())
        assert (encoded.left_out is not None) == finite
        found.add(finite)
    assert found == {True, False}


# --- updates of another codec, or of no model


@pytest.mark.parametrize("sent", CODECS, ids=name_of)
@pytest.mark.parametrize("expected", CODECS, ids=name_of)
def test_another_codec_than_the_study_s_is_refused(sent: Codec, expected: Codec) -> None:
    arrays = encode(sent, UPDATE).arrays
    if sent is expected:
        assert decode(expected, arrays, UPDATE)
        return
    with pytest.raises(UpdateRefused, match="arrays missing or unknown"):
        decode(expected, arrays, UPDATE)


def test_another_share_than_the_study_s_is_refused() -> None:
    with pytest.raises(UpdateRefused, match=r"^(kernel|gru\.weight): "):
        decode(TopK(0.2), encode(TopK(0.1), UPDATE).arrays, UPDATE)


@lossy
def test_arrays_missing_or_unknown_are_refused(codec: Codec) -> None:
    arrays = encode(codec, UPDATE).arrays
    for name in arrays:
        with pytest.raises(UpdateRefused, match="missing or unknown"):
            decode(codec, {other: arrays[other] for other in arrays if other != name}, UPDATE)
    with pytest.raises(UpdateRefused, match="missing or unknown"):
        decode(codec, {**arrays, "more": np.ones(1)}, UPDATE)
    with pytest.raises(UpdateRefused, match="missing or unknown"):
        decode(codec, {**arrays, "kernel": UPDATE["kernel"]}, UPDATE)


def test_a_refusal_names_the_array() -> None:
    arrays = encode(INT8, UPDATE).arrays
    arrays["kernel:scales"] = -arrays["kernel:scales"]
    with pytest.raises(UpdateRefused, match=r"^kernel: a scale is negative"):
        decode(INT8, arrays, UPDATE)


# --- bytes


@pytest.mark.parametrize(
    ("codec", "most"), [(BF16, 0.51), (INT8, 0.26), (TopK(0.05), 0.085), (TopK(0.01), 0.025)], ids=str
)
def test_an_update_is_as_small_as_the_documentation_says(codec: Codec, most: float) -> None:
    update = {"w": rng.standard_normal((300, 400)).astype(np.float32), "b": np.ones(300, np.float32)}
    whole = sum(array.nbytes for array in update.values())
    assert sum(array.nbytes for array in encode(codec, update).arrays.values()) <= most * whole
