"""What fails beneath training has a code, and none of its text goes on."""

from __future__ import annotations

import pytest
import torch

from client.breakdown import breakdown_of, tells_nothing
from common.errors import BudgetSpent, DiskFull, ExecutorDied, OutputUnwritable

SECRET = "Mueller^Anna"


def allocation() -> Exception:
    """What torch says of memory that the machine does not have."""
    try:
        torch.empty(2**50)
    except RuntimeError as error:
        return error
    raise AssertionError("it has")


@pytest.mark.parametrize(
    ("error", "code", "nothing"),
    [
        pytest.param(
            torch.OutOfMemoryError(f"CUDA out of memory {SECRET}"), "out-of-memory", False, id="GPU"
        ),
        pytest.param(MemoryError(SECRET), "out-of-memory", False, id="Python"),
        pytest.param(allocation(), "out-of-memory", False, id="CPU"),
        pytest.param(RuntimeError("CUDA error: out of memory"), "out-of-memory", False, id="CUDA memory"),
        pytest.param(RuntimeError("CUDA error: device lost"), "device-failed", True, id="GPU gone"),
        pytest.param(
            RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device-failed", True, id="cuDNN"
        ),
        pytest.param(DiskFull(), "disk-full", True, id="disk"),
        pytest.param(OutputUnwritable(), "output-unwritable", True, id="read-only"),
        pytest.param(ExecutorDied(), "executor-died", False, id="another"),
    ],
)
def test_each_has_its_code(error: Exception, code: str, nothing: bool) -> None:
    found = breakdown_of(error)
    assert found is not None and found.code == code and tells_nothing(error) is nothing
    assert SECRET not in found.private + found.public + found.hint


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("CUDA error"), BudgetSpent()])
def test_other_errors_are_none_of_them(error: Exception) -> None:
    assert breakdown_of(error) is None and not tells_nothing(error)


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="torch before 2.8 has no such class")
def test_an_accelerator_s_error_is_the_device_s() -> None:
    found = breakdown_of(torch.AcceleratorError("unspecified launch failure"))
    assert found is not None and found.code == "device-failed"
