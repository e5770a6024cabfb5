"""Every random choice that is not private noise, as a function of (study seed, purpose, round, site).

Being a function of these and not of history, a choice can be made again after a restart and is the
same in simulation and in life.
"""

from __future__ import annotations

import hashlib
import random


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: the head of SHA-256 over seed and purpose."""
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> random.Random:
    """A generator of its own for one purpose."""
    return random.Random(derive_seed(seed, *purpose))
