"""Values of a header that may be anything: each function returns what can be used, or None, and never raises.

pydicom converts a value when it is first asked for, so that a broken one raises (or warns, quoting the
value) long after the file was read.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

from pydicom import Dataset, config
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

# Broken values are met with an answer of our own, so pydicom need not look for them a second time.
config.settings.reading_validation_mode = config.IGNORE
# pydicom logs the values that it stumbles over; a patient's do not belong in this program's log. The level
# is set as well, so that the messages are not even put together.
_LOGGER = logging.getLogger("pydicom")
_LOGGER.propagate = False
_LOGGER.setLevel(logging.CRITICAL + 1)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps in what the libraries warn of: their warnings quote values.

    Costs some microseconds. The filters belong to the whole process, so threads have to take turns.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def text(dataset: Dataset, keyword: str) -> str | None:
    """The first value as text without padding, or None where it is missing, empty or unusable."""
    return next(iter(texts(dataset, keyword)), "") or None


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values as text without padding; empty ones keep their place. () where there is nothing usable."""
    value = _value(dataset, keyword)
    if value is None or isinstance(value, bytes | Items):
        return ()
    try:
        values = value if isinstance(value, MultiValue | list | tuple) else (value,)
        return tuple(str(one).strip(" \0\t\r\n") for one in values)
    # A person's name decodes its bytes only now, in whatever character set the file claims.
    except Exception:  # noqa: BLE001  nothing that a value holds may end the reading of a file
        return ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value as a finite number, or None where it is missing, empty or unusable."""
    value = numbers(dataset, keyword)
    return value[0] if value else None


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    """All values as finite numbers, or None where one of them is not or there is none."""
    try:
        values = tuple(float(one) for one in texts(dataset, keyword))
    except ValueError:
        return None
    return values if values and all(map(isfinite, values)) else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """The first value as an integer, or None where it is missing, empty, unusable or no integer."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value.is_integer() else None


def binary(dataset: Dataset, keyword: str) -> bytes | None:
    """The bytes of a value that is stored as bytes (OB, OW, OV, ...), or None."""
    value = _value(dataset, keyword)
    return value if isinstance(value, bytes) else None


def items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence (SQ); () where there is none or it cannot be read."""
    value = _value(dataset, keyword)
    return tuple(value) if isinstance(value, Items) else ()


def holds(dataset: Dataset, keyword: str) -> bool:
    """Whether there is such an element, whatever it may hold."""
    tag = tag_for_keyword(keyword)
    return tag is not None and tag in dataset


def _value(dataset: Dataset, keyword: str) -> Any:
    """The value as pydicom converts it, or None."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return None
    try:
        with quiet():
            return dataset[tag].value
    # On broken values pydicom's converters raise some twenty types, RecursionError among them.
    except Exception:  # noqa: BLE001  a value that cannot be converted counts as absent
        return None
