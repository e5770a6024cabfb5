"""How often a forward pass really used each parameter, as autograd's graph tells it.

The tape knows only of uses by layers. A weight that a model multiplies with by itself (``x @ layer.weight``)
would be missing in its unit's gradient, so what the graph holds is compared with the tape.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn
from torch.autograd.graph import Node


def times_used(losses: torch.Tensor, outputs: Iterable[Node]) -> dict[nn.Parameter, int]:
    """How many times each parameter that the losses depend on was used.

    A use is where something that depends on one parameter alone (the parameter, its transpose, a copy of it
    in half precision) meets something else, or becomes an output of a use on the tape.

    Args:
        losses: In the graph.
        outputs: Nodes of the uses on the tape.
    """
    parents, leaves = _graph(losses)
    ends = set(outputs)

    def uses(node: Node) -> int:
        if node in ends or not parents[node]:
            return 1
        return sum(uses(parent) if _alone(parent) else 1 for parent in parents[node])

    return {leaf.variable: uses(leaf) for leaf in leaves}  # type: ignore[attr-defined]


def _graph(losses: torch.Tensor) -> tuple[dict[Node, list[Node]], list[Node]]:
    """The nodes that each node's gradient comes from, and those of the leaves."""
    parents: dict[Node, list[Node]] = defaultdict(list)
    leaves = []
    waiting = [] if losses.grad_fn is None else [losses.grad_fn]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            leaves.append(node)
        for child, _ in node.next_functions:
            if child is None:
                continue
            parents[child].append(node)
            if child not in seen:
                seen.add(child)
                waiting.append(child)
    return parents, leaves


def _alone(node: Node) -> bool:
    """Whether what the node made depends on one thing only."""
    return sum(child is not None for child, _ in node.next_functions) == 1
