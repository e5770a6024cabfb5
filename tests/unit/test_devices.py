"""A device is chosen by name, or refused with what this machine has."""

from __future__ import annotations

import pytest
import torch

from client.devices import choose_device, describe_device
from common.errors import DeviceUnavailable


def test_the_cpu_can_always_be_chosen() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert describe_device(torch.device("cpu")) == "cpu"


def test_auto_takes_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda:0")


@pytest.mark.parametrize(("wanted", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_gpu_is_chosen_by_number(monkeypatch: pytest.MonkeyPatch, wanted: str, index: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(wanted) == torch.device("cuda", index)


@pytest.mark.parametrize(
    "wanted", ["", "gpu", "CPU", "cuda:x", "cuda:-1", "cuda:0:1", "cuda:²", "cpu:0", "mps"]
)
def test_what_is_no_device_is_refused(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceUnavailable, match="use auto, cpu or cuda:N"):
        choose_device(wanted)


@pytest.mark.parametrize(("wanted", "there"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch, wanted: str, there: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(DeviceUnavailable, match=f"this machine has {there} CUDA devices"):
        choose_device(wanted)
