"""Flower records as values, read as if from a stranger.

A record that lacks a field, or has one of another type or range, is a TaskInvalid and never anything else.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from io import BytesIO
from tokenize import TokenError
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, RecordDict
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

from common.codecs import FLOAT32, Codec, Form, decode
from common.errors import Refusal, TaskInvalid
from common.metrics import ClassificationSums, EvaluationSums
from common.metrics.subgroups import SEPARATOR, check_subgroups, check_sums, subgroups_of
from common.tasks.values import Describe, EvaluateTask, Evaluation, SiteDescription, TrainTask
from common.tasks.writing import ABOUT, ARRAYS, NUMPY, REFUSAL
from common.update import Contribution

Task = TypeVar("Task", Describe, TrainTask, EvaluateTask, SiteDescription)
MOST_CHARACTERS = 100
_MOST_HEADER_BYTES = 2**16 + 10  # of version 1.0 of NumPy's format, which gives its length in two bytes
# What numpy's reader raises on bytes that are no array: its header is parsed as Python source.
_UNREADABLE = (
    ValueError,
    TypeError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TokenError,
    Warning,
)
_SCALARS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}


def weights_of(content: RecordDict, *, shared: bool = False) -> dict[str, NDArray[Any]]:
    """The weights in a message.

    Args:
        content: The message's.
        shared: Leave the values where they are in the message, not to be written to.

    Raises:
        TaskInvalid: There are none, or they cannot be read.
    """
    record = content.array_records.get(ARRAYS)
    if record is None:
        raise TaskInvalid(f"no array record {ARRAYS!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy warns of headers that it has to guess at
        return {name: _decoded(name, array, shared=shared) for name, array in record.items()}


def _decoded(name: str, array: Array, *, shared: bool) -> NDArray[Any]:
    if (
        array.stype != NUMPY or bytes(array.data[: len(MAGIC_PREFIX)]) != MAGIC_PREFIX
    ):  # numpy would also open a zip archive
        raise TaskInvalid(f"array {name!r} is not in NumPy's format")
    try:
        lying = _shared(array.data)
        decoded = array.numpy() if lying is None else lying if shared else lying.copy()
    except _UNREADABLE as error:
        raise TaskInvalid(f"unreadable array {name!r}: {error}") from None
    if decoded.dtype.kind not in "fiub" or not decoded.dtype.isnative:
        raise TaskInvalid(f"array {name!r} of {decoded.dtype} holds no numbers")
    return decoded


def _shared(data: bytes | memoryview) -> NDArray[Any] | None:
    """The array in NumPy's format that these bytes are, in their memory; None for one of an unusual form."""
    file = BytesIO(data[:_MOST_HEADER_BYTES])
    if np.lib.format.read_magic(file) != (1, 0):
        return None
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    size = math.prod(shape)
    if (
        fortran_order
        or min(shape, default=0) < 0
        or dtype.kind not in "fiub"
        or not size
        or file.tell() + size * dtype.itemsize > len(data)
    ):
        return None
    values: NDArray[Any] = np.frombuffer(data, dtype, size, file.tell())
    return values.reshape(shape)


def read_about(content: RecordDict, kind: type[Task]) -> Task:
    """The task or description that ``content`` carries.

    Raises:
        TaskInvalid: A field is missing or has another type.
    """
    return kind(**_typed(_about(content), kind))


def read_description(content: RecordDict, classes: int, *, exclusive: bool = True) -> SiteDescription:
    """The description in a reply, its numbers checked to be counts of ``classes`` classes.

    Args:
        content: The reply.
        classes: How many the study has.
        exclusive: Each case has one class, so that they add up to the cases; otherwise each is counted by
            itself, and none is above the cases.

    Raises:
        TaskInvalid: It is none.
    """
    site = read_about(content, SiteDescription)
    for text in (site.site, site.version, site.device):
        if not 0 < len(text) <= MOST_CHARACTERS or not text.isprintable():
            raise TaskInvalid("a name, version or device that is none")
    for cases, patients, labels in (
        (site.train_cases, site.train_patients, site.train_labels),
        (site.test_cases, site.test_patients, site.test_labels),
    ):
        fits = sum(labels) == cases if exclusive else max(labels, default=0) <= cases
        if len(labels) != classes or min(labels) < 0 or not fits or not 0 <= patients <= cases:
            raise TaskInvalid(f"{cases} cases of {patients} patients with labels {labels} are no counts")
    if site.val_cases is not None and site.val_cases < 0:
        raise TaskInvalid(f"{site.val_cases} validation cases are no count")
    return site


def read_contribution(
    content: RecordDict, codec: Codec = FLOAT32, like: Mapping[str, Form] | None = None
) -> Contribution:
    """The contribution in a reply, its update decoded.

    Args:
        content: The reply.
        codec: The study's.
        like: The model's arrays, for a codec that needs them; only shapes and types are looked at.

    Raises:
        TaskInvalid: It is none.
        UpdateRefused: Its update is not what the study's codec makes of such arrays.
    """
    about = _typed(_about(content), Contribution, skip=("delta",))
    arrays = weights_of(content, shared=like is not None)
    return Contribution(delta=arrays if like is None else decode(codec, arrays, like), **about)


def read_evaluation(
    content: RecordDict,
    classes: int,
    kind: type[EvaluationSums] = ClassificationSums,
    subgroups: Sequence[str] = (),
    min_cell: int = 1,
) -> Evaluation:
    """The evaluation in a reply, its arrays checked to be counts.

    Args:
        content: The reply.
        classes: How many the study has.
        kind: Of the study's counts.
        subgroups: Kinds of subgroups that were asked for.
        min_cell: The study's.

    Raises:
        TaskInvalid: It is none.
    """
    about, told = _about(content), weights_of(content)
    arrays = {name: array for name, array in told.items() if SEPARATOR not in name}
    head = _typed(about, Evaluation, skip=("sums", "subgroups"))
    loss = about.get("loss")
    if (
        set(arrays) - {"patients"} != set(kind.array_names())
        or not isinstance(loss, float)
        or not 0 <= loss < math.inf
    ):
        raise TaskInvalid("evaluation without its counts")
    sums = kind(loss=loss, **arrays)
    try:
        check_sums(sums, classes)
        groups = subgroups_of({name: told[name] for name in told.keys() - arrays.keys()}, kind)
        check_subgroups(groups, sums, classes, subgroups, min_cell)
    except ValueError as error:
        raise TaskInvalid(f"evaluation: {error}") from None
    return Evaluation(sums=sums, subgroups=groups, **head)


def read_refusal(content: RecordDict) -> Refusal | None:
    """The refusal in a reply, or None if it is an answer."""
    record = content.config_records.get(REFUSAL)
    if record is None:
        return None
    return Refusal(*(str(record.get(field.name, ""))[:500] for field in fields(Refusal)))


def refusing_site(content: RecordDict) -> str:
    """Name of the site that a refusal comes from, by its own word; empty if it does not say."""
    record = content.config_records.get(REFUSAL)
    return "" if record is None else str(record.get("site", ""))[:100]


def _about(content: RecordDict) -> Mapping[str, Any]:
    record = content.config_records.get(ABOUT)
    if record is None:
        raise TaskInvalid(f"no config record {ABOUT!r}")
    return record


def _fits(value: Any, kind: str) -> bool:
    """Whether a record's value is what a field of this type holds; a truth value is no number."""
    if kind.startswith("tuple["):
        item = kind.removeprefix("tuple[").removesuffix(", ...]")
        return isinstance(value, list) and all(_fits(element, item) for element in value)
    scalar = kind.removesuffix(" | None")
    return isinstance(value, _SCALARS[scalar]) and isinstance(value, bool) == (scalar == "bool")


def _typed(record: Mapping[str, Any], kind: type, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """The record's values as the fields of dataclass ``kind`` want them."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in skip:
            continue
        value = record.get(field.name)
        if value is None and "None" in str(field.type):
            continue
        if not _fits(value, str(field.type)):
            raise TaskInvalid(f"field {field.name!r} is missing or not a {field.type}")
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return values
