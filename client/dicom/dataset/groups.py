"""What holds for one frame of an object, wherever the object says it.

An enhanced object keeps it in the frame's own functional groups, or in those shared by all frames
(PS3.3 C.7.6.16); a classic object, and many an enhanced one, in the dataset itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from client.dicom.dataset.elements import item, items, numbers, texts


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The places where a frame's values may stand, the most particular first.

    Attributes:
        own: The frame's item of Per-Frame Functional Groups Sequence (5200,9230); None for a classic object.
        shared: The item of Shared Functional Groups Sequence (5200,9229); None for a classic object.
        dataset: The whole object.
    """

    own: Dataset | None
    shared: Dataset | None
    dataset: Dataset

    @property
    def enhanced(self) -> bool:
        """Whether the object keeps functional groups at all."""
        return self.own is not None or self.shared is not None

    def macro(self, sequence: str) -> Dataset | None:
        """The item of a functional group macro that holds for this frame, or None."""
        own = item(self.own, sequence)
        return item(self.shared, sequence) if own is None else own

    def numbers(self, sequence: str, keyword: str, count: int | None = None) -> tuple[float, ...]:
        """The numbers of ``keyword`` in the macro ``sequence``, else in the dataset; empty if in neither."""
        return numbers(self.macro(sequence), keyword, count) or numbers(self.dataset, keyword, count)

    def number(self, sequence: str, keyword: str) -> float | None:
        """The first of :meth:`numbers`, or None."""
        return next(iter(self.numbers(sequence, keyword)), None)

    def texts(self, sequence: str, keyword: str) -> tuple[str, ...]:
        """The words of ``keyword`` in the macro ``sequence``, else in the dataset."""
        return texts(self.macro(sequence), keyword) or texts(self.dataset, keyword)


def groups_of(dataset: Dataset, count: int) -> list[Groups]:
    """One ``Groups`` for each of ``count`` frames; frames beyond the listed ones have only what is shared."""
    shared = item(dataset, "SharedFunctionalGroupsSequence")
    listed = items(dataset, "PerFrameFunctionalGroupsSequence")
    own = [listed[place] if place < len(listed) else None for place in range(count)]
    return [Groups(one, shared, dataset) for one in own]
