"""Which subgroups of its test cases a site tells, and the counts of those.

Invariant: neither a group that is told, nor what anybody finds by taking told groups away from each other or
from all cases together, has fewer patients than the smallest group that may be told. Of one kind this is
exact. Of two kinds every union of groups of the one is held against every union of groups of the other. Kinds
are compared two and two, not three together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from client.cases import subgroups, unit_numbers
from client.sources import Entry
from client.trainer import outputs
from common.errors import ModelDiverged
from common.learning import Learning
from common.metrics import EvaluationSums
from common.metrics.subgroups import MOST_CHARACTERS, MOST_GROUPS, NOT_KNOWN
from common.models import SequenceModel
from common.sequences import Cases, SequenceBatch

Names = NDArray[np.str_]
Masks = dict[str, dict[str, NDArray[np.bool_]]]
_REST = ""
"""Stands for all groups of a kind that are not told: no group is called so."""


def told_subgroups(entries: Sequence[Entry], kinds: Sequence[str], least: int) -> Masks:
    """Which entries are in each group that may be told, (N,) each, by kind and name.

    Groups of fewer than ``least`` patients are not told. Where these together are fewer, the smallest others
    are not told either. A kind that would, beside one before it, give a smaller group away is left out.

    Args:
        entries: The test cases.
        kinds: What the study asks for, the most important first.
        least: Fewest patients.
    """
    known, patients = subgroups(entries), unit_numbers(entries, "patient").numpy()
    kept: dict[str, Names] = {}
    for kind in kinds:
        names = _named(known.get(kind, np.full(len(entries), "", dtype=np.str_)))
        shown = _without_small(names, patients, least)
        others = (_reveals(shown, other, patients, least) for other in kept.values())
        if (shown != _REST).any() and not any(others):
            kept[kind] = shown
    return {
        kind: {str(name): names == name for name in np.unique(names) if name != _REST}
        for kind, names in kept.items()
    }


def count_subgroups(
    model: SequenceModel,
    cases: Cases,
    learning: Learning,
    none: EvaluationSums,
    masks: Mapping[str, Mapping[str, NDArray[np.bool_]]],
    patients: NDArray[np.int64] | None,
) -> tuple[EvaluationSums, dict[str, dict[str, EvaluationSums]]]:
    """Counts of how the model does on all cases, and on those of each group.

    Args:
        model: On the device of ``cases``; it is left in eval mode.
        cases: To be counted.
        learning: The study's task.
        none: Its counts of no case.
        masks: As :func:`told_subgroups` gives them.
        patients: (N,) number of the patient of each case, to carry single cases' figures along with it; None
            for counts alone.

    Raises:
        ModelDiverged: What it gives is not finite.
    """
    everyone = {(_REST, _REST): np.ones(len(cases), dtype=np.bool_)}
    wanted = everyone | {(kind, name): mask for kind in masks for name, mask in masks[kind].items()}
    parts = {place: [none] for place in wanted}
    for begin, output, batch in _in_order(model, cases):
        for place, mask in wanted.items():
            own = np.flatnonzero(mask[begin : begin + len(batch)])
            if len(own):
                chosen = torch.from_numpy(own)
                part = learning.count(output[chosen], _of(batch, chosen), keep=patients is not None)
                parts[place].append(part)
    sums = {place: type(none).total(found) for place, found in parts.items()}
    if patients is not None:
        sums = {place: replace(told, patients=patients[wanted[place]]) for place, told in sums.items()}
    groups = {kind: {name: sums[kind, name] for name in masks[kind]} for kind in masks}
    return sums[_REST, _REST], groups


def _in_order(model: SequenceModel, cases: Cases) -> Iterator[tuple[int, torch.Tensor, SequenceBatch]]:
    """What the model makes of each batch, and the place of the batch's first case."""
    begin = 0
    for output, batch in outputs(model, cases):
        if not output.isfinite().all():
            raise ModelDiverged("outputs that are not finite")
        yield begin, output, batch
        begin += len(batch)


def _of(batch: SequenceBatch, chosen: torch.Tensor) -> SequenceBatch:
    """Some cases of a batch, as long as the batch is: what the model made of them is as long."""
    where = chosen.to(batch.device)
    return SequenceBatch(batch.steps[where], batch.lengths[chosen], batch.targets[where])


def _named(names: Names) -> Names:
    """Names as they may be told: printable, short, and one for what is not known."""
    found = {
        name: "".join(letter if letter.isprintable() else " " for letter in name).strip()[:MOST_CHARACTERS]
        for name in map(str, np.unique(names))
    }
    return np.array([found[str(name)].strip() or NOT_KNOWN for name in names], dtype=np.str_)


def _without_small(names: Names, patients: NDArray[np.int64], least: int) -> Names:
    """(N,) the same names, and ``_REST`` for groups that are not told."""
    sizes = {str(name): len(np.unique(patients[names == name])) for name in np.unique(names)}
    shown = sorted((name for name in sizes if sizes[name] >= least), key=lambda name: (-sizes[name], name))
    del shown[MOST_GROUPS:]
    while True:
        hidden = ~np.isin(names, shown)
        if not hidden.any() or not shown or len(np.unique(patients[hidden])) >= least:
            return np.where(hidden, _REST, names)
        del shown[-1]


def _reveals(one: Names, other: Names, patients: NDArray[np.int64], least: int) -> bool:
    """Whether groups of two kinds differ, in some union of each, by some but too few patients.

    The union of groups I of the one and the union of groups J of the other differ by the cases that are in
    one of them alone. For a given I, J differs by the fewest if it has each group for which the cases of I
    are the more. A patient counts at the first of its cases, which is never too many.
    """
    rows, row = np.unique(one, return_inverse=True)
    columns, column = np.unique(other, return_inverse=True)
    if len(rows) > len(columns):
        return _reveals(other, one, patients, least)
    _, first = np.unique(patients, return_index=True)
    cases, people = (np.zeros((len(rows), len(columns)), dtype=np.int64) for _ in range(2))
    np.add.at(cases, (row, column), 1)
    np.add.at(people, (row[first], column[first]), 1)
    unions = np.arange(2 ** (len(rows) - 1))[:, None] >> np.arange(len(rows)) & 1  # the others are their rest
    differing, by = (
        np.minimum(unions @ table, (1 - unions) @ table).sum(axis=1) for table in (cases, people)
    )
    return bool(((differing > 0) & (by < least)).any())
