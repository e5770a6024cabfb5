"""Norms are computed in the precision of the weights, whatever the forward pass was allowed.

A norm that comes out too small clips too little, so neither autocast's half precision nor the short mantissas
of TensorFloat-32 and bfloat16, by which torch may multiply float32 numbers, have a place in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """In the block, products on ``device`` are neither autocast nor rounded to fewer bits than they have."""
    convolutions = _exact_convolutions() if device.type == "cuda" else nullcontext()
    with torch.autocast(device.type, enabled=False), _exact_products(), convolutions:
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    products: tuple[Any, ...] = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    switches = [kind for kind in products if hasattr(kind, "fp32_precision")]  # torch 2.9 and newer
    before = [switch.fp32_precision for switch in switches]
    try:
        overall = torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer switches have been set, and torch wants no mixture
        overall = ""
    if overall == "highest":
        yield
        return
    if overall:
        torch.set_float32_matmul_precision("highest")
    else:
        _set(switches, ["ieee"] * len(switches))
    try:
        yield
    finally:
        if overall:
            torch.set_float32_matmul_precision(overall)
        _set(switches, before)


@contextmanager
def _exact_convolutions() -> Iterator[None]:
    cudnn: Any = torch.backends.cudnn
    try:
        before = cudnn.allow_tf32
    except RuntimeError:  # as above
        newer = cudnn.conv.fp32_precision
        _set([cudnn.conv], ["ieee"])
        try:
            yield
        finally:
            _set([cudnn.conv], [newer])
        return
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


def _set(switches: Sequence[Any], values: Sequence[str]) -> None:
    for switch, value in zip(switches, values, strict=True):
        switch.fp32_precision = value
