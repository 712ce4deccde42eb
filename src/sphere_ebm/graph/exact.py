"""Exact nearest neighbours in NumPy alone: for few queries, and to judge other searches by."""

import numpy as np
from jaxtyping import Float32, Int, Int64

_BLOCK = 2**24
"""Cosines in one block: 64 MiB of them in float32."""


def exact_neighbours(
    points: Float32[np.ndarray, "points width"],
    queries: Float32[np.ndarray, "queries width"],
    k: int,
    *,
    own: Int[np.ndarray, " queries"] | None = None,
    hidden: Int[np.ndarray, " hidden"] | None = None,
) -> Int64[np.ndarray, "queries k"]:
    """The k points of largest cosine to each query, in any order.

    It shares nothing with `NeighbourIndex`, which searches faster and lists copies of one
    direction evenly. O(M N D), in blocks of 64 MiB.

    Args:
        points: (N, D) unit rows.
        queries: (M, D) unit rows.
        k: at most the number of points that are not left out.
        own: (M,) the point that each query is itself, left out of its neighbours; -1: none.
        hidden: points that are nobody's neighbours.

    Returns:
        (M, k) indices of points.
    """
    found = np.empty((len(queries), k), np.int64)
    rows = max(1, _BLOCK // max(len(points), 1))
    for start in range(0, len(queries) if k > 0 else 0, rows):
        block = slice(start, start + rows)
        cosine = queries[block] @ points.T
        if hidden is not None:
            cosine[:, hidden] = -np.inf
        if own is not None:
            known = np.flatnonzero(own[block] >= 0)
            cosine[known, own[block][known]] = -np.inf
        found[block] = np.argpartition(cosine, -k, axis=1)[:, -k:]
    return found
