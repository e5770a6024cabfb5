"""How far the edges of two regions are apart, in pixels."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from common.metrics.sums import Array

SHARE = 95


def farthest_of_most(predicted: Array, true: Array) -> float:
    """The 95th percentile of the distances between two regions' edges (HD95), the larger of both directions.

    Edges are compared within each picture, as the space between slices and the time between frames are no
    pixels. Where a picture has one of the regions and not the other, its edge is the picture's diagonal away.

    Args:
        predicted: (pictures, H, W) bool.
        true: (pictures, H, W) bool, of which at least one pixel is set.
    """
    pairs = [_distances(*pair) for pair in zip(predicted, true, strict=True)]
    directions = [np.concatenate(found) for found in zip(*pairs, strict=True)]
    return max(float(np.percentile(found, SHARE)) for found in directions if len(found))


def _distances(one: Array, other: Array) -> tuple[Array, Array]:
    """From each edge pixel of one region in a picture to the other's edge, and the reverse."""
    if not one.any() or not other.any():
        missing = float(np.hypot(*one.shape))
        return np.full(int(_edge(one).sum()), missing), np.full(int(_edge(other).sum()), missing)
    rows, columns = (np.flatnonzero((one | other).any(axis=axis)) for axis in (1, 0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    edges = _edge(one[window]), _edge(other[window])
    to_one, to_other = (distance_transform_edt(~edge) for edge in edges)
    return to_other[edges[0]], to_one[edges[1]]


def _edge(region: Array) -> Array:
    """Pixels of a region with one beside them that is not; beyond the picture nothing is."""
    edge: Array = region & ~binary_erosion(region)
    return edge
