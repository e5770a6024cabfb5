"""The secret behind a task's noise and sampling: drawn where the patients are, gone when the task is done.

Invariants: whoever knew it could take the noise off again, so it is never shown and never sent. No object
here writes itself. Where a task must outlive its process, the bytes lie on the disk that has the patients'
pictures, under the same protection, until the task's answer is finished (``client.checkpoints``). Each
purpose has a stream of its own, and each stream is handed out once: the same noise on two updates would
cancel in their difference.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NoReturn

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from common.errors import ConsiliumError

KEY_BYTES = 32
_SKIPPED_BYTES = 2**20
_WORDS = 624
_STATE = slice(24, 24 + 8 * _WORDS)
"""Where the words of the Mersenne twister stand in a CPU generator's state, each in eight bytes."""


class Secret:
    """32 bytes, from which independent streams are derived by HMAC-SHA256.

    Args:
        key: Them. Use :meth:`fresh`, or :meth:`seeded` in a simulation.
    """

    __slots__ = ("_key", "_used")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a secret has {KEY_BYTES} bytes")
        self._key = key
        self._used: set[str] = set()

    @classmethod
    def fresh(cls) -> Secret:
        """A new one from the operating system; another reservation takes another."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def seeded(cls, seed: int, *parts: str | int) -> Secret:
        """The same one every time, for simulations: who knows the seed can take the noise off."""
        text = "\x1f".join(str(part) for part in ("consilium simulated secret", seed, *parts))
        return cls(hashlib.sha256(text.encode()).digest())

    def seed(self, purpose: str) -> int:
        """A 63-bit seed, for choices that need not be hidden, as dropout's."""
        return int.from_bytes(self._derived(purpose)[:8], "big") >> 1

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator on ``device``.

        On a CPU its whole state is derived, since ``manual_seed`` uses 32 bits of a seed: few enough to try
        all. On a GPU it uses 64.
        """
        generator = torch.Generator(device)
        if generator.device.type != "cpu":
            return generator.manual_seed(int.from_bytes(self._derived(purpose)[:8], "big"))
        stream = Keystream(self._derived(purpose))
        return _with_words(generator, np.frombuffer(stream.take(4 * _WORDS), dtype=np.uint32))

    def keystream(self, purpose: str) -> Keystream:
        """A cryptographic stream."""
        return Keystream(self._derived(purpose))

    def _derived(self, purpose: str) -> bytes:
        if purpose in self._used:
            raise ValueError(f"the stream for {purpose} has been handed out before")
        self._used.add(purpose)
        return hmac.digest(self._key, purpose.encode(), "sha256")

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is neither copied nor written")


class Keystream:
    """AES-256 in counter mode (NIST SP 800-38A) over zeros: bytes that nobody without the key can foretell.

    Args:
        key: (32 bytes) used for this stream only.
    """

    __slots__ = ("_encryptor", "position")

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        self.position = 0

    def take(self, size_bytes: int) -> bytes:
        """The next bytes."""
        self.position += size_bytes
        return self._encryptor.update(bytes(size_bytes))

    def skip_to(self, position: int) -> None:
        """Go on at a later ``position``, where as many bytes were taken before."""
        while self.position < position:
            self.take(min(position - self.position, _SKIPPED_BYTES))

    def words(self, count: int) -> NDArray[np.uint32]:
        """(count,) whole numbers in [0, 2^32)."""
        return np.frombuffer(self.take(4 * count), dtype=np.uint32)

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """(count,) in (0, 1], each with 53 random bits."""
        words = np.frombuffer(self.take(8 * count), dtype=np.uint64)
        return ((words >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53

    def __repr__(self) -> str:
        return "Keystream(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a keystream is neither copied nor written")


def _with_words(generator: torch.Generator, words: NDArray[np.uint32]) -> torch.Generator:
    """The generator with these (624,) words as the state of its Mersenne twister.

    Raises:
        ConsiliumError: This torch keeps them elsewhere.
    """
    state = generator.manual_seed(1).get_state()
    place = state.numpy()[_STATE].view(np.uint64)
    if not np.array_equal(place, np.random.RandomState(1).get_state(legacy=False)["state"]["key"]):
        raise ConsiliumError(
            "torch's random generator has another state than it had",
            hint="Install a tested version of torch, or set secure_noise = true in [privacy].",
        )
    place[:] = words
    return generator.set_state(state)
