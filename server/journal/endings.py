"""Which ends of a run are ends."""

from __future__ import annotations

from common.errors import ConsiliumError, CoordinatorStopped, MachineError


def is_final(error: ConsiliumError) -> bool:
    """Whether a run that ended so is over: what is wrong with a machine can be mended, and the run go on."""
    return not isinstance(error, (CoordinatorStopped, MachineError))
