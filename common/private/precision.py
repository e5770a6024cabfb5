"""Norms are computed in the precision of the weights, whatever the forward pass was allowed.

A norm that comes out too small clips too little, so neither autocast's half precision nor the 10-bit
mantissa of TensorFloat-32 has a place in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """In the block, products on ``device`` are neither autocast nor rounded to TensorFloat-32."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        with _without_tf32(torch.backends.cuda.matmul), _without_tf32(torch.backends.cudnn):
            yield


@contextmanager
def _without_tf32(backend: Any) -> Iterator[None]:
    name, off = "allow_tf32", False
    try:
        before = backend.allow_tf32
    except RuntimeError:  # someone has set the newer switch, and torch wants no mixture
        name, off = "fp32_precision", "ieee"  # type: ignore[assignment]
        before = backend.fp32_precision
    setattr(backend, name, off)
    try:
        yield
    finally:
        setattr(backend, name, before)
