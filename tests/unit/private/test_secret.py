"""A secret's streams are whole, independent and handed out once; the secret itself goes nowhere."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from common.errors import ConsiliumError
from common.private.secret import KEY_BYTES, Keystream, Secret


def test_fresh_secrets_differ() -> None:
    seeds = {Secret.fresh().seed("noise") for _ in range(20)}
    assert len(seeds) == 20


def test_a_seeded_secret_is_the_same_again_and_another_for_other_parts() -> None:
    def seed(*parts: int | str) -> int:
        return Secret.seeded(1, *parts).seed("noise")

    assert seed("alder", 3) == seed("alder", 3)
    assert len({seed(), seed("alder", 3), seed("alder", 4), seed("birch", 3)}) == 4


def test_streams_of_different_purposes_differ() -> None:
    secret = Secret.seeded(1)
    draws = [torch.rand(4, generator=secret.generator(purpose)) for purpose in ("noise", "sampling")]
    assert not torch.equal(*draws)


def test_a_stream_is_handed_out_once() -> None:
    secret = Secret.seeded(1)
    secret.generator("noise")
    for draw in (secret.generator, secret.keystream, secret.seed):
        with pytest.raises(ValueError, match="handed out before"):
            draw("noise")
    secret.generator("sampling")


def test_a_secret_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Secret(b"short")


@pytest.mark.parametrize("make", [Secret, Keystream])
def test_a_secret_is_not_shown_copied_or_pickled(make: type[Secret] | type[Keystream]) -> None:
    key = bytes(range(KEY_BYTES))
    held = make(key)
    assert not any(text in repr(held) + str(held) for text in (str(key), key.hex()))
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither copied nor written"):
            leak(held)
    assert not hasattr(held, "__dict__")


def test_the_whole_state_of_a_generator_is_derived() -> None:
    # torch takes 32 bits of a seed: whoever tries them all finds the noise.
    assert torch.equal(
        torch.rand(3, generator=torch.Generator().manual_seed(5)),
        torch.rand(3, generator=torch.Generator().manual_seed(5 + 2**32)),
    )
    key = bytes(range(KEY_BYTES))
    stream = Keystream(hmac.new(key, b"noise", hashlib.sha256).digest())
    words = np.frombuffer(stream.take(4 * 624), dtype=np.uint32)
    twister = np.random.MT19937()
    twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    expected = (twister.random_raw(1300) & 0xFFFFFF) / 2**24  # beyond all words of the first state
    found = torch.rand(1300, generator=Secret(key).generator("noise"))
    np.testing.assert_array_equal(found.numpy(), expected.astype(np.float32))


def test_a_torch_that_keeps_its_state_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.private.secret._STATE", slice(32, 32 + 8 * 624))
    with pytest.raises(ConsiliumError, match="another state"):
        Secret.seeded(1).generator("noise")


def test_a_keystream_is_aes_in_counter_mode() -> None:
    key = bytes(range(KEY_BYTES))
    stream = Keystream(key)
    taken = stream.take(5) + stream.take(30)
    aes = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    blocks = b"".join(aes.update(counter.to_bytes(16, "big")) for counter in range(3))
    assert taken == blocks[:35]


def test_uniforms_are_uniform_and_never_zero() -> None:
    values = Keystream(bytes(KEY_BYTES)).uniforms(200_000)
    assert values.min() > 0
    assert values.max() <= 1
    assert values.mean() == pytest.approx(0.5, abs=4 / (12 * len(values)) ** 0.5)
    assert np.histogram(values, bins=10)[0] == pytest.approx(len(values) / 10, rel=0.03)
    assert (values * 2**53 % 2).mean() == pytest.approx(0.5, abs=0.01)  # its last bit
