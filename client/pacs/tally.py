"""What became of objects that were sent, and how many there were of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum


class Arrival(StrEnum):
    """What became of an object that was sent."""

    new = "new"
    already = "already"
    too_large = "too_large"
    no_space = "no_space"
    unwritable = "unwritable"


@dataclass(frozen=True, slots=True)
class Tally:
    """How many objects arrived, by what became of them."""

    new: int = 0
    already: int = 0
    too_large: int = 0
    no_space: int = 0
    unwritable: int = 0
    size_bytes: int = 0

    @property
    def refused(self) -> int:
        """How many were not kept."""
        return self.too_large + self.no_space + self.unwritable

    def plus(self, arrival: Arrival, size_bytes: int) -> Tally:
        """The tally after one arrival more; its size counts if it was kept."""
        kept = size_bytes if arrival is Arrival.new else 0
        count = {arrival.value: getattr(self, arrival.value) + 1}
        return replace(self, size_bytes=self.size_bytes + kept, **count)


Progress = Callable[[Tally], None]
