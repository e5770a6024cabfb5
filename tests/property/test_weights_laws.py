"""Laws of weights: what is subtracted can be added, and a digest names exactly one set of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from common.weights import Moved, digest, load_weights, norm, save_weights, subtract

Weights = dict[str, NDArray[Any]]
names = st.text("ab._0", min_size=1, max_size=6)
dtypes = st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_])
shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
values = dtypes.flatmap(lambda dtype: arrays.arrays(dtype, shapes))
weights = st.dictionaries(names, values, max_size=4)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Weights, Weights]:
    """Two sets of float32 weights with the same names and shapes."""
    shape_of = draw(st.dictionaries(names, shapes, max_size=4))
    numbers = {"elements": st.floats(-1e6, 1e6, width=32)}
    return tuple(  # type: ignore[return-value]
        {name: draw(arrays.arrays(np.float32, shape, **numbers)) for name, shape in shape_of.items()}
        for _ in range(2)
    )


def described(value: Weights) -> dict[str, tuple[Any, ...]]:
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in value.items()}


@given(pairs())
def test_base_and_delta_give_the_new_weights_up_to_rounding(pair: tuple[Weights, Weights]) -> None:
    new, base = pair
    restored = dict(Moved(base, subtract(new, base)))
    for name, array in restored.items():
        assert (array.dtype, array.shape) == (new[name].dtype, new[name].shape)
        scale = np.maximum(abs(new[name]), abs(base[name]))
        assert (abs(array - new[name]) <= 4 * np.finfo(np.float32).eps * scale).all()


@given(pairs())
def test_no_change_is_a_delta_of_zeros_and_adds_nothing(pair: tuple[Weights, Weights]) -> None:
    base, _ = pair
    delta = subtract(base, base)
    assert norm(delta) == 0.0
    assert all(np.array_equal(array, base[name]) for name, array in dict(Moved(base, delta)).items())


@given(pairs())
def test_neither_argument_is_changed(pair: tuple[Weights, Weights]) -> None:
    before = [described(part) for part in pair]
    dict(Moved(pair[0], subtract(*pair)))
    assert [described(part) for part in pair] == before


@given(weights, weights)
def test_digests_are_equal_exactly_if_the_weights_are(one: Weights, other: Weights) -> None:
    assert (digest(one) == digest(other)) == (described(one) == described(other))


@given(weights, st.randoms(use_true_random=False))
def test_digest_knows_neither_order_nor_memory_layout(value: Weights, random: Any) -> None:
    shuffled = random.sample(sorted(value), len(value))
    assert digest({name: np.array(value[name], order="F") for name in shuffled}) == digest(value)


@given(value=weights, about=st.dictionaries(names, names, max_size=3))
def test_file_gives_back_the_arrays_bit_by_bit(
    tmp_path_factory: Any, value: Weights, about: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "roundtrip.safetensors"
    save_weights(path, value, about)
    assert described(load_weights(path)) == described(value)


@given(pairs())
def test_norm_is_that_of_one_long_vector(pair: tuple[Weights, Weights]) -> None:
    flat = np.concatenate([np.zeros(0), *(a.astype(np.float64).ravel() for a in pair[0].values())])
    assert np.isclose(norm(pair[0]), np.linalg.norm(flat))
