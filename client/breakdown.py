"""What fails in the machine beneath training, by the codes it has here: memory, and the GPU."""

from __future__ import annotations

import torch

from common.errors import ConsiliumError, DeviceFailed, DiskFull, MachineError, OutOfMemory, OutputUnwritable

_CPU_ALLOCATOR = "DefaultCPUAllocator"
_DEVICE_WORDS = ("CUDA error", "CUDA driver", "cuDNN", "CUDNN_STATUS", "CUBLAS_STATUS", "NVML")
_DEVICE_ERRORS: tuple[type[Exception], ...] = (
    (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()  # since torch 2.8
)


def breakdown_of(error: BaseException) -> MachineError | None:
    """The coded error for one that memory or GPU raised; None for any other. Its text is left out."""
    if isinstance(error, ConsiliumError):
        return error if isinstance(error, MachineError) else None
    kind, text = type(error).__name__, str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return OutOfMemory(kind)
    if not isinstance(error, RuntimeError):
        return None
    failed = isinstance(error, _DEVICE_ERRORS) or any(words in text for words in _DEVICE_WORDS)
    if _CPU_ALLOCATOR in text or (failed and "out of memory" in text):
        return OutOfMemory(kind)
    return DeviceFailed(kind) if failed else None


def tells_nothing(error: BaseException) -> bool:
    """Whether an error has nothing to do with the cases: a disk that is full, a GPU that is gone.

    That memory does not suffice can depend on which cases were drawn.
    """
    return isinstance(breakdown_of(error), DiskFull | OutputUnwritable | DeviceFailed)
