"""Values that say where a picture lies, absent where they are missing or do not parse; nothing raises.

What :mod:`client.dicom.dataset.header` gives, for a dataset that may itself be missing (a functional group
that an object does not have), and with makers' own elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from client.dicom.dataset import header


def numbers(dataset: Dataset | None, keyword: str, count: int | None = None) -> tuple[float, ...]:
    """The numbers of ``keyword``; empty where there are none, or not ``count`` of them."""
    found = () if dataset is None else header.numbers(dataset, keyword) or ()
    return found if count is None or len(found) == count else ()


def number(dataset: Dataset | None, keyword: str) -> float | None:
    """The first number of ``keyword``, or None."""
    return next(iter(numbers(dataset, keyword)), None)


def texts(dataset: Dataset | None, keyword: str) -> tuple[str, ...]:
    """The values of ``keyword`` as words without blanks around them."""
    return () if dataset is None else header.texts(dataset, keyword)


def text(dataset: Dataset | None, keyword: str) -> str:
    """The first value of ``keyword`` as a word; empty where there is none."""
    return next(iter(texts(dataset, keyword)), "")


def items(dataset: Dataset | None, keyword: str) -> Sequence[Dataset]:
    """The items of the sequence ``keyword``; none where it is missing or no sequence."""
    return () if dataset is None else header.items(dataset, keyword)


def item(dataset: Dataset | None, keyword: str) -> Dataset | None:
    """The first item of the sequence ``keyword``, or None."""
    return next(iter(items(dataset, keyword)), None)


def tags(dataset: Dataset, keyword: str) -> tuple[int, ...]:
    """The tags that ``keyword`` (VR AT) names, as numbers; empty where it is missing or none."""
    try:
        with header.quiet():
            value = dataset.get(keyword)
            found = value if isinstance(value, MultiValue | list | tuple) else (value,)
            return tuple(int(one) for one in found if isinstance(one, int))
    except Exception:  # noqa: BLE001  a value that cannot be converted counts as absent
        return ()


def private(dataset: Dataset, group: int, creator: str, element: int) -> Any:
    """The value of a maker's own element, or None where it cannot be had.

    Args:
        dataset: Where to look.
        group: The odd group.
        creator: Private creator that reserves the block.
        element: The element's last two hexadecimal digits.
    """
    try:
        with header.quiet():
            return dataset.private_block(group, creator)[element].value
    except Exception:  # noqa: BLE001  KeyError where it is missing; a value that cannot be converted is absent
        return None


def as_numbers(value: Any) -> tuple[float, ...]:
    """A value of :func:`private` as finite numbers; empty where any of them is none."""
    try:
        if isinstance(value, bytes):  # of unknown VR: perhaps digits, as DS and IS are
            value = value.decode("ascii").strip("\0 ").split("\\")
        many = isinstance(value, MultiValue | list | tuple)
        found = tuple(float(one) for one in (value if many else (value,)))
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if all(math.isfinite(one) for one in found) else ()


def as_items(value: Any) -> Sequence[Dataset]:
    """A value of :func:`private` as the items of a sequence; none where it is no sequence."""
    return tuple(value) if isinstance(value, Items) else ()
