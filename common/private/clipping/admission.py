"""Which models can be trained privately: every layer that learns has a rule, and none mixes records.

A refusal names the layer, before the first step.
"""

from __future__ import annotations

from torch import nn

from common.errors import LayerNotPrivate
from common.private.rules import records_itself, rule_of

OWN = {"weight", "bias"}
"""The parameters that rules know of."""


def admit(model: nn.Module) -> None:
    """Pass a model of which every part can be trained privately.

    Raises:
        LayerNotPrivate: One cannot; the message says where it is, what it is, and why.
    """
    owners: dict[nn.Parameter, str] = {}
    for path, layer in model.named_modules():
        reason = _mixing(layer) or _unruled(layer) or _peculiar(layer)
        if reason:
            raise LayerNotPrivate(f"{path or 'the model itself'} ({type(layer).__name__}) {reason}")
        for parameter in _trained(layer).values():
            if parameter in owners:
                raise LayerNotPrivate(f"{path} shares a parameter with {owners[parameter]}")
            owners[parameter] = path


def _trained(layer: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in layer.named_parameters(recurse=False) if p.requires_grad}


def _mixing(layer: nn.Module) -> str:
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # torch exports no common base
        return "normalises over the batch, so what one record gives depends on the others"
    if isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats:
        return "keeps statistics of its inputs, which would leave the site without noise"
    return ""


def _unruled(layer: nn.Module) -> str:
    trained = _trained(layer)
    if not trained or records_itself(layer):
        return ""
    if rule_of(layer) is None or not OWN.issuperset(trained):
        return f"has parameters of its own ({', '.join(trained)}) and no rule for private training"
    return ""


def _peculiar(layer: nn.Module) -> str:
    if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
        return "changes its table as it looks things up (max_norm)"
    if isinstance(layer, nn.Embedding) and layer.scale_grad_by_freq:
        return "scales gradients by how often others looked the same thing up (scale_grad_by_freq)"
    return ""
