"""What this machine has: releases, room on the disk, shared memory, a clock that somebody sets."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from common import __version__
from common.checks.finding import Advice, Finding
from common.contract.code import installed_digest
from common.errors import DiskFull, ExtraMissing
from common.study import Study

LIBRARIES: Mapping[str, str] = {"torch": "PyTorch", "flwr": "Flower", "grpcio": "gRPC"}
RESERVE_BYTES = 2**30
"""Room for logs, ledgers and databases, however small the models are."""

MEAGRE = 4
"""So many times the room that is needed is plenty."""

_RESTART = "Restart the daemon; where studies are approved for the other code, have them proposed again."
_NTP_REMEDY = "Let a time service set the clock, for example `timedatectl set-ntp true`."
_FREE = "Free space on this file system, or move the home to a larger one."
_SHM = Path("/dev/shm")  # noqa: S108  the mount itself is looked at, no file is made in it
_SHM_LITTLE_BYTES = 64 * 2**20  # what containers have unless told otherwise
_SHM_REMEDY = (
    "Consilium's own processes do without; libraries for GPUs and the engine ray may not. In a container "
    "start it with --shm-size=1g (compose: shm_size: 1g)."
)


def releases() -> Finding:
    """Which releases are installed.

    Raises:
        ExtraMissing: A library is not.
    """
    try:
        others = [f"{name} {version(library)}" for library, name in LIBRARIES.items()]
    except PackageNotFoundError as missing:
        raise ExtraMissing(f"{missing.name} is not installed", hint="Install Consilium again.") from None
    said = [f"Consilium {__version__}", f"Python {platform.python_version()}", *others]
    return Finding("release", ", ".join(said))


def code(running: str, whose: str) -> Finding:
    """Which code is installed, and whether a daemon runs it.

    Args:
        running: Digest of the code that a daemon began with; "" if none runs.
        whose: What to call the daemon.
    """
    here = installed_digest()
    if running and running != here:
        said = f"{here[:12]} is installed, and {whose} began with {running[:12]}"
        return Finding("code", said, advice=Advice("code-differs", _RESTART))
    return Finding("code", f"{here[:12]}{f', and {whose} runs it' if running else ''}")


def model_bytes(study: Study) -> int:
    """Size of a study's weights."""
    from common.models import initial_weights  # torch takes seconds to import

    return sum(array.nbytes for array in initial_weights(study, 0).values())


def disk(folder: Path, copies: int, model: int) -> Finding:
    """Whether a file system has room for so many copies of the largest model at once, and for the rest."""
    return judged_disk(shutil.disk_usage(folder).free, copies, model)


def judged_disk(free: int, copies: int, model: int) -> Finding:
    """Whether so many free bytes are enough: one reserve, and ``copies`` of a model of ``model`` bytes."""
    needed = RESERVE_BYTES + copies * model
    what = f"{size(RESERVE_BYTES)} and {copies} copies of the largest model, {size(model)}"
    said = f"{size(free)} free; {size(needed)} are needed ({what if model else 'no study is known yet'})"
    if free < needed:
        return Finding.failed("disk", DiskFull(said, hint=_FREE))
    if free < MEAGRE * needed:
        return Finding("disk", said, advice=Advice("disk-low", _FREE))
    return Finding("disk", said)


def shared_memory(path: Path = _SHM) -> Finding:
    """How much shared memory there is; what is taken in and trained here was measured to go on without."""
    try:
        found = os.statvfs(path)
    except OSError:
        return judged_shared_memory(0)
    return judged_shared_memory(found.f_frsize * found.f_blocks if os.access(path, os.W_OK) else 0)


def judged_shared_memory(total: int) -> Finding:
    """Whether shared memory of so many bytes is enough; 0 for none that can be used."""
    said = size(total) if total else "there is none that can be used"
    small = total <= _SHM_LITTLE_BYTES
    return Finding(str(_SHM), said, advice=Advice("shm-small", _SHM_REMEDY) if small else None)


def clock() -> Finding:
    """Whether a time service sets the clock, where the system can say so."""
    tool = shutil.which("timedatectl")
    if tool is None:
        return Finding("clock", "not known whether a time service sets it: there is no timedatectl here")
    asked = [tool, "show", "-p", "NTPSynchronized", "--value"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=5.0, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        answer = ""
    return judged_clock(answer.strip())


def judged_clock(answer: str) -> Finding:
    """What timedatectl's word on ``NTPSynchronized`` means."""
    if answer == "no":
        return Finding("clock", "no time service has set it", advice=Advice("clock-unset", _NTP_REMEDY))
    known = answer == "yes"
    unknown = "not known whether a time service sets it: timedatectl does not say"
    return Finding("clock", "a time service sets it" if known else unknown)


def size(count: int) -> str:
    """A size as people read it: 512 B, 16.0 MiB, 1.5 GiB."""
    if count < 1024:
        return f"{count} B"
    value, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"
