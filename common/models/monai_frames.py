"""Encoders of MONAI (Cardoso et al. 2022) by name, for pictures of one channel; needs the extra ``monai``.

Invariant: none has statistics of batches. As they come, MONAI's networks normalise over a batch (BatchNorm):
every site then has running means and variances of its own patients; averaged with the weights they fit
nobody, and private training refuses them. So all of it is GroupNorm (Wu and He 2018) here.

Weights begin at random, as MONAI begins them: nothing is downloaded. They keep MONAI's names.
"""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from common.errors import ExtraMissing
from common.models.encoders import FrameByFrame

GROUPS = 8
"""Of channels that are normalised together; every number of channels below is a multiple of it."""

_RESNET = ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4")


class MonaiFrames(FrameByFrame):
    """The convolutions of a network of MONAI over each step's own picture.

    Args:
        frame: Height and width of a picture, at least 32.
        name: One of ``NETWORKS``.
        maps: Give maps of a thirty-second of the picture's sides, and not their means.

    Raises:
        ExtraMissing: MONAI is not installed.
    """

    def __init__(self, frame: tuple[int, int], name: str, *, maps: bool = False) -> None:
        make, features = NETWORKS[name]
        super().__init__(frame, features)
        self.layers = without_batches(make(_monai(name), name))
        self.maps = maps

    def look(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, 1, height, width) to (N, features, h, w), or to (N, features), the mean over the map."""
        seen: torch.Tensor = self.layers(frames)
        return seen if self.maps else seen.mean(dim=(2, 3))


def _monai(name: str) -> Any:
    try:
        return importlib.import_module("monai.networks.nets")
    except ModuleNotFoundError:
        raise ExtraMissing(
            f"the encoder monai:{name} needs MONAI", hint="pip install 'consilium[monai]'"
        ) from None


def _resnet(monai: Any, name: str) -> nn.Sequential:
    options = {"n_input_channels": 1, "shortcut_type": "B", "feed_forward": False}
    network = getattr(monai, name)(spatial_dims=2, **options)
    return nn.Sequential(OrderedDict((part, getattr(network, part)) for part in _RESNET))


def _densenet(monai: Any, name: str) -> nn.Sequential:
    network = getattr(monai, name)(spatial_dims=2, in_channels=1, out_channels=1)
    return nn.Sequential(OrderedDict(features=network.features, act=nn.ReLU()))


def without_batches(network: nn.Module) -> nn.Module:
    """The network with GroupNorm in the place of every BatchNorm, and the names as they were.

    MONAI takes the norm as an option, but its ResNets hand it on to their first layer only (1.6.1).
    """
    for name, layer in network.named_children():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # torch exports no common base
            setattr(network, name, nn.GroupNorm(GROUPS, layer.num_features))
        else:
            without_batches(layer)
    return network


NETWORKS: dict[str, tuple[Callable[[Any, str], nn.Sequential], int]] = {
    "resnet10": (_resnet, 512),
    "resnet18": (_resnet, 512),
    "resnet34": (_resnet, 512),
    "densenet121": (_densenet, 1024),
}
"""How each is made, and the channels of its last map: those that are tested."""
