"""Weights: their digest names them, their files are the same bytes everywhere."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import DiskFull, OutputUnwritable, WeightsDamaged
from common.weights import Moved, StoredWeights, digest, load_weights, norm, save_weights, spec_of, subtract

WEIGHTS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.array([0.5, -0.5], dtype=np.float64),
    "count": np.array(3, dtype=np.int64),
}
SAVE = """
import sys, numpy as np
from pathlib import Path
from common.weights import save_weights
weights = {name: np.full((2, 3), i, dtype=np.float32) for i, name in enumerate(sys.argv[2])}
save_weights(Path(sys.argv[1]), weights, {key: "1" for key in reversed(sys.argv[2])})
"""


def test_digest_known_answer() -> None:
    assert digest(WEIGHTS) == "2555baf907621678bbb204513a41f58af1bba61d89ed2c13d5a25b88a5ee29e5"
    assert digest({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def changed(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    return {**WEIGHTS, **arrays}


@pytest.mark.parametrize(
    "other",
    [
        {("renamed" if name == "count" else name): array for name, array in WEIGHTS.items()},
        {name: array for name, array in WEIGHTS.items() if name != "count"},
        changed(count=np.array(3, dtype=np.int32)),
        changed(count=np.array(4, dtype=np.int64)),
        changed(count=np.array([3], dtype=np.int64)),
        changed(count=np.array([[3]], dtype=np.int64)),
        {**WEIGHTS, "b.weight": WEIGHTS["b.weight"].reshape(3, 2)},
        {**WEIGHTS, "b.weight": np.nextafter(WEIGHTS["b.weight"], np.float32(9))},
        changed(empty=np.zeros((0, 2), dtype=np.float32)),
    ],
    ids=["name", "missing", "dtype", "value", "shape-1", "shape-1-1", "shape", "last-bit", "empty-array"],
)
def test_digest_sees(other: dict[str, np.ndarray]) -> None:
    assert digest(other) != digest(WEIGHTS)


@pytest.mark.parametrize(
    "other",
    [
        dict(reversed(WEIGHTS.items())),
        {**WEIGHTS, "b.weight": np.asfortranarray(WEIGHTS["b.weight"])},
        {**WEIGHTS, "b.weight": np.repeat(WEIGHTS["b.weight"], 2, axis=1)[:, ::2]},
        {**WEIGHTS, "b.weight": WEIGHTS["b.weight"].astype(">f4")},
    ],
    ids=["order-of-names", "fortran-layout", "strided-view", "byte-order"],
)
def test_digest_does_not_see(other: dict[str, np.ndarray]) -> None:
    assert digest(other) == digest(WEIGHTS)


def test_delta_keeps_dtype_and_shape_and_restores_the_new_weights() -> None:
    base = {"w": np.ones((2, 2), np.float32), "n": np.array(1, np.int64)}
    new = {"w": np.array([[1, 2], [0.5, -3]], np.float32), "n": np.array(4, np.int64)}
    delta = subtract(new, base)
    assert all(delta[name].dtype == base[name].dtype for name in base)
    assert digest(dict(Moved(base, delta))) == digest(new)


def test_add_keeps_the_base_s_dtype_however_precise_the_delta() -> None:
    base = {"w": np.ones(2, np.float32), "n": np.array(1, np.int64)}
    total = dict(Moved(base, {"w": np.full(2, 1e-3), "n": np.array(2.0)}))
    assert {name: (a.dtype, a.shape) for name, a in total.items()} == {
        name: (a.dtype, a.shape) for name, a in base.items()
    }
    assert total["w"] == pytest.approx(1.001) and total["n"] == 3


def test_norm_is_the_length_of_all_values_together() -> None:
    assert norm({"a": np.array([3.0]), "b": np.array([[4.0]], np.float32)}) == 5.0
    assert norm({}) == 0.0


def test_norm_of_many_small_floats_does_not_lose_them() -> None:
    assert norm({"a": np.full(10**6, 1e-4, np.float32)}) == pytest.approx(0.1, rel=1e-6)
    assert norm({"a": np.full(4, 1e30, np.float32)}) == pytest.approx(2e30)


def test_saved_weights_are_read_back_as_they_were(tmp_path: Path) -> None:
    weights = {**WEIGHTS, "empty": np.zeros((0, 3), np.float32), "turned": np.arange(6.0).reshape(2, 3).T}
    save_weights(tmp_path / "w.safetensors", weights, {})
    read = load_weights(tmp_path / "w.safetensors")
    assert {name: (a.dtype, a.shape) for name, a in read.items()} == {
        name: (a.dtype, a.shape) for name, a in weights.items()
    }
    assert digest(read) == digest(weights)


def test_equal_weights_give_equal_bytes(tmp_path: Path) -> None:
    about = {"study": "x", "round": "1"}
    save_weights(tmp_path / "a", WEIGHTS, about)
    save_weights(tmp_path / "b", dict(reversed(WEIGHTS.items())), dict(reversed(about.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert b"round=1 study=x" in (tmp_path / "a").read_bytes()


def test_equal_weights_give_equal_bytes_in_different_processes(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", SAVE, tmp_path / seed, "abcdefgh"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        )
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_full_disk_leaves_the_old_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "w.safetensors"
    save_weights(path, WEIGHTS, {})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        save_weights(path, {"other": np.ones(3)}, {})
    assert list(tmp_path.iterdir()) == [path]
    assert digest(load_weights(path)) == digest(WEIGHTS)


def test_weights_cannot_be_saved_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnwritable):
        save_weights(tmp_path / "file" / "w.safetensors", WEIGHTS, {})


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of these tests are several pieces, the last one shorter."""
    monkeypatch.setattr("common.weights.PIECE", 4)


@pytest.mark.usefixtures("small_pieces")
def test_stored_weights_are_those_that_were_saved(tmp_path: Path) -> None:
    stored = save_weights(tmp_path / "w.safetensors", WEIGHTS, {"round": "1"})
    assert list(stored) == sorted(WEIGHTS) and len(stored) == len(WEIGHTS)
    for name, array in WEIGHTS.items():
        assert stored[name].dtype == array.dtype and np.array_equal(stored[name], array)
        assert spec_of(stored, name) == spec_of(WEIGHTS, name)
    assert digest(stored) == digest(WEIGHTS) and norm(stored) == pytest.approx(norm(WEIGHTS))
    assert all(np.array_equal(load_weights(stored.path)[name], array) for name, array in WEIGHTS.items())


@pytest.mark.usefixtures("small_pieces")
def test_moved_weights_are_the_sum_in_the_bases_dtypes(tmp_path: Path) -> None:
    delta = {name: np.full(array.shape, 0.25) for name, array in WEIGHTS.items()}
    stored = save_weights(tmp_path / "w.safetensors", WEIGHTS, {})
    for name, array in dict(Moved(WEIGHTS, delta)).items():
        assert array.dtype == WEIGHTS[name].dtype
        assert np.array_equal(array, (WEIGHTS[name] + delta[name]).astype(array.dtype))
        assert np.array_equal(Moved(stored, delta)[name], array)


@pytest.mark.parametrize("kept", [-1, 9, 0], ids=["one byte short", "cut in the header", "empty"])
def test_a_file_that_is_cut_short_is_damaged(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, WEIGHTS, {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsDamaged):
        StoredWeights(path)
    path.unlink()
    with pytest.raises(WeightsDamaged):
        StoredWeights(path)
