"""A site's cases: checked against what the study asks for, decoded once, held as tensors.

Nothing here leaves the site but counts: of cases, of patients, and of the cases of each class.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from client.augmentation import augmentation_of
from client.sources import Entry, Source, subgroups
from client.sources.targets import BY_STEP, case_targets, check_target
from common.errors import DataError, EmptySite, NoTestCases, TooFewCases
from common.models import Encoder, fixed_encoder
from common.sequences import Cases, SequenceBatch, joined_targets
from common.study import Study

__all__ = [
    "CaseCache",
    "PooledCases",
    "SiteCases",
    "StreamedCases",
    "decode",
    "labels",
    "patients",
    "site_cases",
    "subgroups",
    "unit_numbers",
]

CACHE_BYTES = 4 * 2**30
MOST_HELD = 1024
"""Splits that are held at most: thousands of virtual sites with a few cases each would fill it with names."""
READ_AT_ONCE = 64
"""Cases that are read together where only their targets are wanted."""
Split = Literal["train", "test", "val"]


@dataclass(frozen=True, slots=True)
class SiteCases:
    """The entries of one site that the study uses.

    ``test`` follows ``[data] test_split``; ``val`` are those that a calibration is fitted to, or patience
    goes by; none where the study asks for none.
    """

    train: tuple[Entry, ...]
    test: tuple[Entry, ...]
    val: tuple[Entry, ...] = ()

    def of(self, split: Split) -> tuple[Entry, ...]:
        """The entries of one split."""
        return {"train": self.train, "test": self.test, "val": self.val}[split]


def patients(entries: Sequence[Entry]) -> int:
    """How many patients the entries are of."""
    return len({entry.patient for entry in entries})


def labels(entries: Sequence[Entry], study: Study, source: Source) -> tuple[int, ...]:
    """Cases of each class, in the order of the study's classes.

    Where a case has one class they add up to the cases. Where it may have several, or none, they are the
    cases that have the class: as a label, or in a segmentation in any pixel, or in a detection in any box.

    Raises:
        DataError: A mask or a box cannot be read, or has a class that the study does not name.
    """
    counts = [0] * len(study.study.classes)
    for found in source.classes(entries, study):
        for index in found:
            counts[index] += 1
    return tuple(counts)


def unit_numbers(entries: Sequence[Entry], unit: Literal["patient", "image"]) -> torch.Tensor:
    """(N,) int64: number of the patient each entry is of, or its own where images are the unit."""
    if unit == "image":
        return torch.arange(len(entries))
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(entry.patient, len(numbers)) for entry in entries])


def site_cases(entries: Sequence[Entry], site: str, study: Study) -> SiteCases:
    """The cases of a site, after every check that needs no picture.

    Raises:
        DataError: The site is empty or too small, lacks test cases, or has a case with an unnamed label or
            with nothing that the study's task could compare it with.
    """
    train = tuple(entry for entry in entries if entry.split == "train")
    test = tuple(entry for entry in entries if entry.split == study.data.test_split)
    val = [entry for entry in entries if entry.split == "val"] if study.validates else []
    for entry in (*train, *test):
        check_target(entry, study)
    needs = study.data
    if not train:
        raise EmptySite(f"site {site!r} has no cases with split=train")
    if len(train) < needs.min_cases or patients(train) < needs.min_patients:
        raise TooFewCases(
            f"site {site!r} has {len(train)} training cases of {patients(train)} patients; "
            f"the study asks for {needs.min_cases} of {needs.min_patients}"
        )
    if len(test) < needs.min_test_cases:
        raise NoTestCases(
            f"site {site!r} has {len(test)} cases with split={needs.test_split}; "
            f"the study asks for {needs.min_test_cases}"
        )
    return SiteCases(train, test, tuple(entry for entry in val if _is_named(entry, study)))


def decode(source: Source, entries: Sequence[Entry], study: Study, device: torch.device) -> SequenceBatch:
    """The entries' cases as sequences with what is to be learnt of them, in the entries' order.

    Raises:
        DataError: A case is missing, undecodable or not what the study asks for.
    """
    return source.tensors(entries, study, device)


def encoded(batch: SequenceBatch, encoder: Encoder) -> SequenceBatch:
    """The same cases as an encoder that learns nothing gives them: the bits that it gives in training."""
    steps, lengths = encoder(batch.steps, batch.lengths)
    return SequenceBatch(steps, lengths, batch.targets, encoded=True)


def _fixed_encoder(study: Study, split: Split) -> Encoder | None:
    """What a split's cases can be put through once and for all; None where there is no such thing."""
    is_changed = split == "train" and augmentation_of(study) is not None
    return None if is_changed else fixed_encoder(study)


class StreamedCases:
    """Cases that are read from the site's store batch by batch, because together they would fill the memory.

    Args:
        source: Where they are.
        entries: Which they are.
        study: What they are made for.
        device: Where batches are wanted.
        size_bytes: What all of them would take.
        encoder: What they are put through; None for nothing.
    """

    def __init__(
        self,
        source: Source,
        entries: Sequence[Entry],
        study: Study,
        device: torch.device,
        size_bytes: int,
        encoder: Encoder | None = None,
    ) -> None:
        self._source, self._entries, self._study, self._encoder = source, entries, study, encoder
        self.device, self.size_bytes = device, size_bytes

    @property
    def targets(self) -> torch.Tensor:
        """(N, ...) what is to be learnt of all of them; where that is by step, every case is read for it."""
        if self._study.study.task not in BY_STEP:
            return case_targets(self._entries, self._study).to(self.device)
        chunks = torch.split(torch.arange(len(self)), READ_AT_ONCE)
        return joined_targets([self.take(chunk).targets for chunk in chunks])

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, index: torch.Tensor) -> SequenceBatch:
        """The cases at ``index`` ((B,) int64 on the CPU), in its order.

        Raises:
            DataError: As :func:`decode`.
        """
        wanted = [self._entries[at] for at in index.tolist()]
        batch = decode(self._source, wanted, self._study, self.device)
        return batch if self._encoder is None else encoded(batch, self._encoder)


class PooledCases:
    """The cases of several sites as one; a site's come in the order of its own."""

    def __init__(self, parts: Sequence[Cases]) -> None:
        self._parts = parts
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self.device = parts[0].device
        self.size_bytes = sum(part.size_bytes for part in parts)

    @property
    def targets(self) -> torch.Tensor:
        """(N, ...) what is to be learnt of all of them."""
        return joined_targets([part.targets for part in self._parts])

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def take(self, index: torch.Tensor) -> SequenceBatch:
        """The cases at ``index`` ((B,) int64 on the CPU), in its order."""
        owner = torch.searchsorted(self._ends, index, right=True)
        taken, places = [], []
        for number, part in enumerate(self._parts):
            where = (owner == number).nonzero().flatten()
            if len(where):
                first = int(self._ends[number]) - len(part)
                taken.append(part.take(index[where] - first))
                places.append(where)
        return SequenceBatch.concatenate(taken).take(torch.cat(places).argsort())


class CaseCache:
    """Cases of the sites a process serves, decoded; the least recently used go first when memory is short.

    Cases that together take more than the limit are not held, but read again for every batch. Cases that an
    encoder which learns nothing would make the same of in every step are held as it gives them.
    """

    def __init__(self, limit_bytes: int = CACHE_BYTES, most: int = MOST_HELD) -> None:
        self._limit_bytes, self._most = limit_bytes, most
        self._held: OrderedDict[tuple[str, ...], Cases] = OrderedDict()
        self._held_bytes = 0

    def get(self, source: Source, split: Split, study: Study, device: torch.device) -> Cases:
        """One split of a site's cases on ``device``, decoded if need be.

        Raises:
            DataError: As :func:`site_cases` and :func:`decode`.
        """
        head = {"task", "labels", "several_labels"}
        shape = study.model_dump_json(include={"study": head, "data": True, "sequence": True})
        encoder = _fixed_encoder(study, split)
        key = (*source.stamp(), split, shape, str(device), "" if encoder is None else study.model.encoder)
        if key not in self._held:
            entries = site_cases(source.entries(study), source.name, study).of(split)
            size_bytes = source.size_bytes(entries, study)
            if size_bytes > self._limit_bytes:
                self._hold(key, StreamedCases(source, entries, study, device, size_bytes, encoder))
            else:
                cases = decode(source, entries, study, device)
                self._hold(key, cases if encoder is None or not len(cases) else encoded(cases, encoder))
        self._held.move_to_end(key)
        return self._held[key]

    def _hold(self, key: tuple[str, ...], cases: Cases) -> None:
        """Hold these too, and let go of the oldest until what is held fits."""
        self._held[key] = cases
        self._held_bytes += _tensor_bytes(cases)
        while len(self._held) > 1 and (self._held_bytes > self._limit_bytes or len(self._held) > self._most):
            self._held_bytes -= _tensor_bytes(self._held.popitem(last=False)[1])


def _tensor_bytes(cases: Cases) -> int:
    """What they take while they are held."""
    return cases.size_bytes if isinstance(cases, SequenceBatch) else 0


def _is_named(entry: Entry, study: Study) -> bool:
    """Whether the study knows the entry's target, which nobody has promised of validation cases."""
    try:
        check_target(entry, study)
    except DataError:
        return False
    return True
