"""Clipped sums of units' gradients, exact and with one backward pass (Bu et al. 2022, arXiv 2210.00038).

    sum_u min(1, C / ||g_u||) g_u,    g_u the gradient of the losses of all of unit u's records

The backward pass goes to the outputs of the layers. What a unit's gradient has to do with a weight follows
from the gradients by these outputs and from what was multiplied: first its norm, then, once the factors of
all units are known, its place in the sum.

Invariants: what is added for a unit has an L2 norm of at most ``clip_norm``, whatever the unit holds; a
gradient that is not finite is left out of the sum whole. A norm may be found too large (by half a per cent,
see :mod:`common.private.clipping.grams`), never too small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.utils.rnn import PackedSequence

from common.allocation import keep_freed_memory
from common.errors import LayerNotPrivate
from common.private.clipping.admission import admit
from common.private.clipping.coverage import times_used
from common.private.clipping.precision import full_precision
from common.private.clipping.sums import Units, add_clipped
from common.private.rules import Rule, records_itself, rule_of
from common.private.tape import Tape, Use, current_tape, recording


@dataclass(slots=True, eq=False)
class Pass:
    """What hooks note of one forward pass besides the tape.

    Attributes:
        tape: The pass's own; no other is recorded on.
        edges: By id of a use, where its output stands in the graph: it stays there when a later layer
            overwrites the output in place, and needs none of the output's memory.
        seen: Path of a layer, what went in or came out, and its version then.
    """

    tape: Tape
    edges: dict[int, GradientEdge] = field(default_factory=dict)
    seen: list[tuple[str, torch.Tensor, int]] = field(default_factory=list)

    def note(self, path: str, use: Use, output: torch.Tensor) -> None:
        """Put a use on the tape, of a layer that does not do it itself."""
        self.tape.add(use)
        self.edges[id(use)] = get_gradient_edge(output)
        use.output = None
        if output._base is not None:  # what is done to a view in place changes its place in the graph
            self.watch(path, output)

    def watch(self, path: str, tensor: torch.Tensor) -> None:
        """Remember how a tensor was when a layer saw it."""
        self.seen.append((path, tensor, tensor._version))

    def edge(self, use: Use) -> GradientEdge:
        """Where the output of a use stands in the graph; the use lets go of the output."""
        if id(use) not in self.edges:
            assert use.output is not None  # noqa: S101  or its gradient could never be asked for
            self.edges[id(use)] = get_gradient_edge(use.output)
            use.output = None
        return self.edges[id(use)]

    def check_unchanged(self) -> None:
        """Pass if what layers have seen is what it was.

        Raises:
            LayerNotPrivate: It is not, so a gradient made from it would be another one.
        """
        for path, tensor, version in self.seen:
            if tensor._version != version:
                raise LayerNotPrivate(f"what went into or came out of {path} was later changed in place")
        self.seen.clear()


class Bookkeeper:
    """Adds clipped sums of units' gradients to the ``grad`` of a model's parameters.

    Its hooks act only while :meth:`clipped_sum` runs; else the model is as it ever was.

    Args:
        model: Every trainable parameter of which belongs to a layer that can be trained privately.

    Raises:
        LayerNotPrivate: One does not.
    """

    def __init__(self, model: nn.Module) -> None:
        admit(model)
        keep_freed_memory()
        self._model = model
        self._paths = {
            p: path for path, layer in model.named_modules() for p in layer.parameters(recurse=False)
        }
        self._pass: Pass | None = None
        self._hooks = [
            # First of a layer's hooks, so that what it sees is what the layer itself has made.
            layer.register_forward_hook(self._hook(path, rule_of(layer)), prepend=True, with_kwargs=True)
            for path, layer in model.named_modules()
            if records_itself(layer) or rule_of(layer) is not None
        ]

    def close(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def __enter__(self) -> Bookkeeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def clipped_sum(
        self, losses: Callable[[], torch.Tensor], units: torch.Tensor, count: int, clip_norm: float
    ) -> torch.Tensor:
        """(U,) norm of each unit's gradient before clipping; infinite where it is not finite.

        Adds the clipped sum to each trainable parameter's ``grad``, zeros to those that were not used, and
        sets it where it was None. Called several times, with the records of some units each, it adds up to
        the sum over all of them.

        Args:
            losses: The forward pass: (B,) the loss of each record, scaled as it shall count in its unit's.
                Not called where there are no records. In it, the first dimension of what goes into a layer
                is the records', but within :func:`~common.private.tape.folded`.
            units: (B,) int64 in [0, U), unit of each record.
            count: U; a unit may have no record, and then has a norm of next to nothing.
            clip_norm: C, the largest norm that a unit's gradient keeps.

        Raises:
            LayerNotPrivate: A parameter was used in a way that leaves its units' gradients unknown. Nothing
                has then been added.
        """
        if not clip_norm > 0:
            raise ValueError(f"a clip norm of {clip_norm}")
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        norms = torch.zeros(count) if not parameters else parameters[0].new_zeros(count)
        if len(units) and parameters:
            units = units.cpu()
            if not 0 <= int(units.min()) <= int(units.max()) < count:
                raise ValueError(f"units are numbers from 0 to {count - 1}")
            uses = self._backward(losses, len(units))
            device = parameters[0].device
            with torch.no_grad(), full_precision(device):
                norms = add_clipped(uses, Units(units, count, device), clip_norm)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return norms

    def _backward(self, losses: Callable[[], torch.Tensor], records: int) -> list[Use]:
        """The uses that the losses depend on, with their gradients."""
        values, uses, edges = self._forward(losses)
        if values.shape != (records,):
            raise ValueError(f"losses of shape {tuple(values.shape)} for {records} records")
        if not values.requires_grad:
            return []
        used = times_used(values, (edge.node for edge in edges))
        ones = torch.ones_like(values)
        gradients = torch.autograd.grad(values, edges, ones, allow_unused=True) if edges else ()
        known = Counter[nn.Parameter]()
        for use, edge, gradient in zip(uses, edges, gradients, strict=True):
            use.gradient = gradient
            # A layer with an autograd function of its own may ask for gradients by leaves that stand in for
            # its products, and keep its weights out of the graph.
            if gradient is not None and not hasattr(edge.node, "variable"):
                known.update(use.parameters)
        self._check_covered(used, known)
        uses = [use for use in uses if use.gradient is not None]
        self._check_rows(uses, records)
        return uses

    def _forward(
        self, losses: Callable[[], torch.Tensor]
    ) -> tuple[torch.Tensor, list[Use], list[GradientEdge]]:
        """The losses, the uses of trained parameters, and where their outputs stand in the graph."""
        with recording() as tape:
            current = self._pass = Pass(tape)
            try:
                values = losses()
            finally:
                self._pass = None
        current.check_unchanged()
        uses = [use for use in tape.uses if any(p in self._paths and p.requires_grad for p in use.parameters)]
        return values, uses, [current.edge(use) for use in uses]

    def _check_covered(self, used: dict[nn.Parameter, int], known: Counter[nn.Parameter]) -> None:
        for parameter, times in used.items():
            if parameter in self._paths and times > known[parameter]:
                raise LayerNotPrivate(
                    f"a parameter of {self._paths[parameter] or 'the model itself'} was used {times} times, "
                    f"only {known[parameter]} of them by its own layer"
                )

    def _check_rows(self, uses: list[Use], records: int) -> None:
        for use in uses:
            assert use.gradient is not None  # noqa: S101  others have been left out
            expected = records if use.owner is None else len(use.owner)
            if len(use.gradient) != expected:
                raise LayerNotPrivate(
                    f"{self._paths[use.parameters[0]]} worked on {len(use.gradient)} rows where there are "
                    f"{expected}: the first dimension must be that of the records"
                )

    def _hook(self, path: str, rule: Rule | None) -> Callable[..., None]:
        """What comes after a layer's forward pass; one without a rule has put its uses on the tape itself."""

        def hook(layer: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
            if self._pass is None or self._pass.tape is not current_tape():
                return
            inputs = args[0] if args else options["input"]
            self._pass.watch(path, inputs.data if isinstance(inputs, PackedSequence) else inputs)
            if rule is not None and output.requires_grad:
                self._pass.note(path, rule(layer, inputs, output), output)

        return hook
