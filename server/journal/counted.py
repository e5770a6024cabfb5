"""The counts of many sites in memory, each packed until it is asked for.

Nearly all bins of a site's histograms are empty, and a study may have thousands of sites with a few test
cases each: unpacked, each one's take as much as those of the whole study.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from common.metrics import sums_of
from common.tasks import Evaluation

FASTEST = 1
Layout = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, type and shape of each array of counts."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """An evaluation: the bytes of its arrays, deflated, and how they lie in there."""

    about: tuple[int, str]
    loss: float
    layout: Layout
    arrays: bytes

    def evaluation(self, site: str) -> Evaluation:
        """The evaluation again."""
        content = zlib.decompress(self.arrays)
        sizes = [np.dtype(kind).itemsize * int(np.prod(shape)) for _, kind, shape in self.layout]
        places = zip(self.layout, accumulate(sizes, initial=0), strict=False)
        # Copied, since an array that is kept would else keep the bytes of all the others.
        arrays = {
            name: np.frombuffer(content, kind, int(np.prod(shape)), at).reshape(shape).copy()
            for (name, kind, shape), at in places
        }
        return Evaluation(site, *self.about, sums_of(self.loss, arrays))


class Counted(Mapping[str, Evaluation]):
    """Evaluations by site, in the order of the sites' names."""

    def __init__(self) -> None:
        self._packed: dict[str, _Packed] = {}
        self._layouts: dict[Layout, Layout] = {}
        self._about: dict[tuple[int, str], tuple[int, str]] = {}

    def add(self, evaluation: Evaluation) -> None:
        """Take in a site's counts, in the place of what it gave before."""
        arrays = evaluation.sums.arrays()
        layout = tuple((name, array.dtype.str, array.shape) for name, array in arrays.items())
        about = evaluation.round, evaluation.base_digest
        self._packed[evaluation.site] = _Packed(
            self._about.setdefault(about, about),  # the same for all sites, and so is the layout for most
            evaluation.sums.loss,
            self._layouts.setdefault(layout, layout),
            zlib.compress(b"".join(array.tobytes() for array in arrays.values()), FASTEST),
        )

    def __getitem__(self, site: str) -> Evaluation:
        return self._packed[site].evaluation(site)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._packed))

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, site: object) -> bool:
        return site in self._packed
