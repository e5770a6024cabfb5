"""What training needs of the machine: a device, and room for weights."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from client.consent import Consents
from common.checks import Advice, Finding
from common.checks.machine import disk, model_bytes, size
from common.contract import Contract
from common.errors import DeviceUnavailable

COPIES = 3
"""Of a model that are on the disk at once: what came, the reply as it was made, the reply that waits."""

_DEVICES = Path("/dev")
_DRIVER = (
    "Install a CUDA build of PyTorch that fits the driver; in a container start it with --gpus all, "
    "under systemd leave PrivateDevices off."
)
_BUSY = "Another program holds most of the GPU's memory: end it, or train on another device with --device."


def room(home: Path, contracts: Iterable[Contract]) -> Finding:
    """Whether the disk has room for the largest model of these studies."""
    return disk(home, COPIES, max((model_bytes(each.resolved_study()) for each in contracts), default=0))


def open_contracts(consents: Consents, now: datetime) -> tuple[Contract, ...]:
    """The contracts that were proposed or approved, and still hold.

    Raises:
        AuditBroken, ContractInvalid, HomeInvalid: Nobody can say which.
    """
    found = [digest for digest in consents.known() if _is_open(consents, digest, now)]
    return tuple(consents.contract(digest) for digest in found)


def device(wanted: str) -> Finding:
    """What the site trains on.

    Raises:
        DeviceUnavailable: Not on what was asked for: it is not there.
    """
    import torch  # it takes seconds

    from client.devices import choose_device, describe_device

    chosen = choose_device(wanted)
    if chosen.type != "cuda":
        return _without(wanted, [path.name for path in sorted(_DEVICES.glob("nvidia[0-9]*"))])
    try:
        free, total = torch.cuda.mem_get_info(chosen)
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise DeviceUnavailable(f"{chosen} does not answer: {said}", hint=_DRIVER) from None
    return judged_memory(describe_device(chosen), free, total)


def judged_memory(name: str, free: int, total: int) -> Finding:
    """Whether enough of a GPU's memory is free: the half of it."""
    said = f"{name}, {size(free)} of {size(total)} free"
    return Finding("gpu", said, advice=Advice("gpu-busy", _BUSY) if free < total / 2 else None)


def _without(wanted: str, devices: list[str]) -> Finding:
    if wanted == "cpu":
        return Finding("gpu", "not asked for: it trains on the CPU")
    if devices:
        said = f"it trains on the CPU, although {', '.join(devices)} is here: PyTorch cannot use it"
        return Finding("gpu", said, advice=Advice("gpu-unused", _DRIVER))
    return Finding("gpu", "none: it trains on the CPU")


def _is_open(consents: Consents, digest: str, now: datetime) -> bool:
    return consents.state(digest, now).status in ("proposed", "approved")
