"""Sequences: how pictures become steps, and cases of different length a batch."""

from common.sequences.batch import NO_TARGET, Cases, SequenceBatch, joined_targets, pad
from common.sequences.cutting import from_steps, hilbert, standardise, to_steps

__all__ = [
    "NO_TARGET",
    "Cases",
    "SequenceBatch",
    "from_steps",
    "hilbert",
    "joined_targets",
    "pad",
    "standardise",
    "to_steps",
]
