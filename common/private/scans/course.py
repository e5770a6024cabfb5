"""The way of a scan through time: forward or in reverse, all rows to the end or each to its own length.

Invariants: a buffer is (T, B, N), time first; where a batch is packed, its rows stand longest first, so that
those which run at a step are the first ones. A buffer of states is (T + 1, B, N): step t lies between
states t and t + 1, whichever way it is gone through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

Edge: TypeAlias = int | tuple[torch.Tensor, torch.Tensor]

SPAN_VALUES = 2**17
"""Values of one state that a span of steps has; a processor's second-level cache holds tens of times more."""

EVERY = slice(None)


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """What a ``PackedSequence`` says besides its values.

    Attributes:
        batch_sizes: (T,) int64 on the CPU, how many rows run at each step.
        by_length: (B,) record of each row, longest first; None where records come in that order.
        by_record: (B,) row of each record, the inverse of ``by_length``.
        lengths: (B,) int64 of the rows.
        padding: (T, B, 1) bool, true behind a row's length.
    """

    batch_sizes: torch.Tensor
    by_length: torch.Tensor | None
    by_record: torch.Tensor | None
    lengths: torch.Tensor
    padding: torch.Tensor

    @classmethod
    def of(cls, packed: PackedSequence) -> tuple[torch.Tensor, Packing]:
        """The values as a buffer, in the graph, zeros behind each length; and the packing."""
        rows, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        lengths = lengths.to(rows.device)
        padding = torch.arange(len(rows), device=rows.device)[:, None, None] >= lengths[:, None]
        order = (packed.sorted_indices, packed.unsorted_indices)
        return rows, cls(packed.batch_sizes, *order, lengths, padding)

    def pack(self, buffer: torch.Tensor) -> PackedSequence:
        """A buffer as a ``PackedSequence``, in the order of the one that came in."""
        return PackedSequence(self.pack_rows(buffer).data, self.batch_sizes, self.by_length, self.by_record)

    def pack_rows(self, buffer: torch.Tensor) -> PackedSequence:
        """A buffer as a ``PackedSequence``, in the order of its rows."""
        return pack_padded_sequence(buffer, self.lengths.cpu())

    def rows_of(self, records: torch.Tensor) -> torch.Tensor:
        """(-, B, -) with a row for each record as one with the rows of buffers."""
        return records if self.by_length is None else records.index_select(1, self.by_length)

    def records_of(self, rows: torch.Tensor) -> torch.Tensor:
        """(-, B, -) with the rows of buffers as one with a row for each record."""
        return rows if self.by_record is None else rows.index_select(1, self.by_record)


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One direction through one batch.

    Attributes:
        packing: Of the batch, or None where every row runs to the end.
        reverse: Whether the last step comes first.
    """

    packing: Packing | None
    reverse: bool

    def buffer(self, like: torch.Tensor, steps: int, width: int) -> torch.Tensor:
        """A new (steps, B, width), zeros where no step will come."""
        shape = (steps, like.shape[1], width)
        return like.new_empty(shape) if self.packing is None else like.new_zeros(shape)

    def spans(self, buffer: torch.Tensor) -> list[slice]:
        """Consecutive steps of a buffer (T, B, N), in the order of the scan, some at a time.

        What is made for a few steps at once is still in the processor's cache when the scan comes to them,
        and products of a few hundred rows are as fast as larger ones.
        """
        steps, batch, width = buffer.shape
        size = max(1, SPAN_VALUES // max(1, batch * width))
        spans = [slice(low, min(steps, low + size)) for low in range(0, steps, size)]
        return spans[::-1] if self.reverse else spans

    def steps(self, buffer: torch.Tensor, span: slice = EVERY) -> tuple[torch.Tensor, ...]:
        """Views (b, N) of a buffer (T, B, N), or of a span of it, in the order of the scan."""
        views = buffer[span].unbind(0)
        if self.packing is not None:
            counts = self.packing.batch_sizes[span].tolist()
            views = tuple(view[:count] for view, count in zip(views, counts, strict=True))
        return views[::-1] if self.reverse else views

    def before(self, states: torch.Tensor) -> torch.Tensor:
        """(T, B, N) the state that each step starts from."""
        return states[1:] if self.reverse else states[:-1]

    def after(self, states: torch.Tensor) -> torch.Tensor:
        """(T, B, N) the state that each step ends with."""
        return states[:-1] if self.reverse else states[1:]

    @property
    def start(self) -> Edge:
        """Index, in a buffer of states, of the rows' first ones."""
        return self._far if self.reverse else 0

    @property
    def end(self) -> Edge:
        """Index, in a buffer of states, of the rows' last ones."""
        return 0 if self.reverse else self._far

    def blank(self, buffer: torch.Tensor) -> torch.Tensor:
        """The same buffer (T, B, N), its padding set to zero."""
        return buffer if self.packing is None else buffer.masked_fill_(self.packing.padding, 0)

    def blanked(self, buffer: torch.Tensor) -> torch.Tensor:
        """A buffer (T, B, N) with zeros as padding; a copy only where there is padding."""
        return buffer if self.packing is None else buffer.masked_fill(self.packing.padding, 0)

    def records(self, buffer: torch.Tensor) -> torch.Tensor:
        """(B, T, N), row r being record r; a copy only where records come in another order."""
        rows = buffer if self.packing is None else self.packing.records_of(buffer)
        return rows.transpose(0, 1)

    def turned(self, buffer: torch.Tensor) -> torch.Tensor:
        """A buffer (T, B, N) in the order of the scan, padding still behind; its own inverse."""
        if not self.reverse:
            return buffer
        if self.packing is None:
            return buffer.flip(0)
        clock = torch.arange(len(buffer), device=buffer.device)[:, None]
        lengths = self.packing.lengths
        index = torch.where(clock < lengths, lengths - 1 - clock, clock)
        return buffer.take_along_dim(index[:, :, None], dim=0)

    @property
    def _far(self) -> Edge:
        if self.packing is None:
            return -1
        lengths = self.packing.lengths
        return lengths, torch.arange(len(lengths), device=lengths.device)
