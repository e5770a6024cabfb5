"""Which device a site trains on."""

from __future__ import annotations

import torch

from common.errors import DeviceUnavailable


def choose_device(wanted: str) -> torch.device:
    """The device for ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceUnavailable: The name means nothing, or no such device is here.
    """
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    kind, _, index = wanted.partition(":")
    if wanted == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or not (index or "0").isdecimal():
        raise DeviceUnavailable(f"{wanted!r} is not a device; use auto, cpu or cuda:N")
    if int(index or 0) >= torch.cuda.device_count():
        raise DeviceUnavailable(f"{wanted}: this machine has {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", int(index or 0))


def describe_device(device: torch.device) -> str:
    """The device as a person would name it: ``cpu`` or ``cuda:0 (NVIDIA H200)``."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
