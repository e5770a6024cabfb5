"""Counts of subgroups of test cases: as one set of named arrays, and what makes such arrays believable.

Invariant: of each kind (sex, age, scanner) a case is in one group, so the counts of all groups of a kind add
up to those of all cases. What a site does not tell is at least as many patients as the smallest group that it
may tell; whoever reads an answer sees that of the cases.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from common.metrics.sums import Array, EvaluationSums

Subgroups = Mapping[str, Mapping[str, EvaluationSums]]
"""Counts by kind of subgroup and name of the group."""

NOT_KNOWN = "not known"
"""Name of the group of cases of which it is not known."""
MOST_GROUPS = 16
"""Of a kind that a site tells."""
MOST_CHARACTERS = 64
"""In the name of a group."""
SEPARATOR = "/"
_LOSS = "loss"
_ROUNDING = 1e-6
"""How far, relatively, sums of fractions may be off by the order in which they were added."""


def arrays_of(subgroups: Subgroups) -> dict[str, Array]:
    """All arrays by name, as ``sex=F/confusion``; a group's summed loss is one of them."""
    found: dict[str, Array] = {}
    for kind, groups in subgroups.items():
        for name, sums in groups.items():
            own = {**sums.arrays(), _LOSS: np.asarray(sums.loss, np.float64)}
            found |= {f"{kind}={name}{SEPARATOR}{array}": own[array] for array in own}
    return found


def subgroups_of(
    arrays: Mapping[str, Array], kind: type[EvaluationSums]
) -> dict[str, dict[str, EvaluationSums]]:
    """The counts that :func:`arrays_of` made arrays of; they are not checked yet.

    Raises:
        ValueError: They are not those of counts of this kind.
    """
    parts: dict[tuple[str, str], dict[str, Array]] = {}
    for name in sorted(arrays):
        place, _, array = name.rpartition(SEPARATOR)
        of, _, group = place.partition("=")
        parts.setdefault((of, group), {})[array] = arrays[name]
    found: dict[str, dict[str, EvaluationSums]] = {}
    for (of, group), own in parts.items():
        loss = own.pop(_LOSS, np.zeros(0))
        if loss.shape != () or loss.dtype != np.float64 or set(own) - {"patients"} != {*kind.array_names()}:
            raise ValueError("a subgroup without its counts")
        found.setdefault(of, {})[group] = kind(loss=float(loss), **own)
    return found


def check_sums(sums: EvaluationSums, classes: int) -> None:
    """See that these can be counts of a study with so many classes, loss and patients included.

    Raises:
        ValueError: They cannot.
    """
    sums.check(classes)
    sums.check_patients()
    if not (math.isfinite(sums.loss) and 0 <= sums.loss <= sums.MOST_LOSS * sums.n):
        raise ValueError("a loss that the cases cannot have")


def check_subgroups(
    subgroups: Subgroups, whole: EvaluationSums, classes: int, asked: Collection[str], min_cell: int
) -> None:
    """See that these can be counts of subgroups, and tell no more than was agreed, whoever made them.

    Args:
        subgroups: What a site tells.
        whole: Its counts of all cases, checked.
        classes: How many the study has.
        asked: Kinds of subgroups that the study asks for.
        min_cell: Fewest patients of a subgroup; a patient has at least one case.

    Raises:
        ValueError: They cannot, or do.
    """
    if strangers := len(subgroups.keys() - {*asked}):
        raise ValueError(f"{strangers} kinds of subgroups that were not asked for")
    for groups in subgroups.values():
        if len(groups) > MOST_GROUPS or not all(map(is_name, groups)):
            raise ValueError("too many subgroups of a kind, or a name that is none")
        for sums in groups.values():
            check_sums(sums, classes)
        _check_parts(groups, whole, min_cell)


def is_name(text: str) -> bool:
    """Whether a group may be called so: printable, short, and without blanks around it."""
    return 0 < len(text) <= MOST_CHARACTERS and text.isprintable() and text == text.strip()


def _check_parts(groups: Mapping[str, EvaluationSums], whole: EvaluationSums, min_cell: int) -> None:
    """See that the groups of one kind are parts of the whole, and neither they nor the rest are too small."""
    sizes = [sums.n for sums in groups.values()]
    rest = whole.n - sum(sizes)
    if rest < 0 or any(0 < size < min_cell for size in (*sizes, rest)) or 0 in sizes:
        raise ValueError("subgroups of more cases than there are, or of too few to be told")
    for name in whole.array_names():
        if name in whole.ROWS:
            continue
        most = getattr(whole, name)
        total = np.sum([np.zeros_like(most), *(getattr(sums, name) for sums in groups.values())], axis=0)
        if (total > (most if most.dtype.kind == "i" else most * (1 + _ROUNDING) + _ROUNDING)).any():
            raise ValueError(f"subgroups with more {name} than the whole")
