"""The centres of inverted lists: a spherical k-means whose sums of products are exact."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Integer

from sphere_ebm.graph.held import Held, lengthened

_SCALE = 4000.0
# rounds of k-means, and points for each of its centres
_ROUNDS = 6
_SAMPLE = 64


def rounded(
    unit: Float32[np.ndarray, "rows width"], width: int
) -> Float32[np.ndarray, "rows padded"]:
    """Directions times 4000 as integers, with zeros up to `width`.

    Their inner products are exact in float32.
    """
    whole = np.zeros((len(unit), width), np.float32)
    np.rint(unit * np.float32(_SCALE), out=whole[:, : unit.shape[1]])
    return whole


def sample_of(n: int, size: int, rng: np.random.Generator) -> Integer[np.ndarray, " rows"]:
    """At most `size` of n rows, rising."""
    return np.sort(rng.choice(n, min(n, size), replace=False))


def list_centres(
    faiss: Any, unit: Held, lists: int, rng: np.random.Generator
) -> Float32[np.ndarray, "lists width"]:
    """Spherical k-means on a sample: assignments by exact products, sums in float64.

    An empty list keeps its centre.
    """
    width = unit.shape[1]
    points = rounded(lengthened(unit[sample_of(len(unit), _SAMPLE * lists, rng)]), width)
    centres = points[sample_of(len(points), lists, rng)] / np.float32(_SCALE)
    for _ in range(_ROUNDS):
        _, nearest = faiss.knn(
            points, rounded(centres, width), 1, metric=faiss.METRIC_INNER_PRODUCT
        )
        # points of one list brought together, so that each list's sum is one of neighbouring rows
        order = np.argsort(nearest[:, 0], kind="stable")
        found, first = np.unique(nearest[order, 0], return_index=True)
        total = np.add.reduceat(points[order], first, axis=0, dtype=np.float64)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        centres[found] = np.where(length > 0, total / np.maximum(length, 1), centres[found])
    return centres
