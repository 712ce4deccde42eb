"""What the measures share.

Inputs brought to unit length, and a rank correlation that may be undefined.
"""

import math

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Shaped
from scipy.spatial import cKDTree

from sphere_ebm.geometry.concentration import centred, common_direction
from sphere_ebm.geometry.sphere import unit_rows


def unit_embeddings(
    embeddings: Float[np.ndarray, "points dim"], direction: Float[np.ndarray, "points 3"]
) -> tuple[Float32[np.ndarray, "kept dim"], Int[np.ndarray, " kept"], bool]:
    """Embeddings of norm 1 without the zero ones, and the indices of the points that are left.

    Where they all but coincide, what they share is taken away in float64, which the third value
    tells: the chords between them stay, see `geometry.concentration`.

    Norms are taken in float64, where the squares of float32 values neither overflow nor vanish.

    Raises:
        ValueError: the two inputs differ in length, or an embedding is not finite.
    """
    if len(embeddings) != len(direction):
        raise ValueError(
            f"`direction` must have one row per embedding ({len(embeddings)}); got"
            f" {len(direction)}."
        )
    common = common_direction(embeddings)
    unit = np.empty(embeddings.shape, dtype=np.float32)
    kept = np.zeros(len(embeddings), dtype=bool)
    for start in range(0, len(embeddings), 8192):
        block = slice(start, start + 8192)
        rows = np.asarray(embeddings[block], dtype=np.float64)
        if not np.isfinite(rows).all():
            raise ValueError("`embeddings` must be finite; drop the rows with NaN or infinity.")
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        kept[block] = norm[:, 0] > 0
        # Adding zero turns -0.0 into 0.0: equal rows then have equal bytes.
        unit[block] = (unit_rows(rows, norm) if common is None else centred(rows, common)) + 0.0
    return (unit if kept.all() else unit[kept]), np.flatnonzero(kept), common is not None


def unit_directions(direction: Float[np.ndarray, "points 3"]) -> Float64[np.ndarray, "points 3"]:
    """Directions of norm 1 to float64 precision.

    Raises:
        ValueError: a norm differs from 1 by more than 1e-3, or is not finite.
    """
    direction = np.asarray(direction, dtype=np.float64)
    norm = np.linalg.norm(direction, axis=1, keepdims=True)
    if not (np.abs(norm - 1) < 1e-3).all():
        raise ValueError("`direction` must hold unit vectors; divide it by its norms.")
    return unit_rows(direction, norm)


def nearest_on_map(
    unit: Float64[np.ndarray, "points 3"], k: int, seed: int
) -> Int[np.ndarray, "points neighbours"]:
    """The min(k, N - 1) nearest of every point, itself left out by index.

    A shuffle makes the order of ties random.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1; got {k}.")
    n = len(unit)
    k = min(k, n - 1)
    if k < 1:
        return np.empty((n, 0), dtype=np.int64)
    shuffle = np.random.default_rng(seed).permutation(n)
    found = cKDTree(unit[shuffle]).query(unit[shuffle], k=k + 1)[1]
    # Among many copies of one direction a point need not be found itself: then the farthest goes.
    itself_last = np.argsort(found == np.arange(n)[:, None], axis=1, kind="stable")
    nearest = np.empty((n, k), dtype=np.int64)
    nearest[shuffle] = shuffle[np.take_along_axis(found, itself_last[:, :k], axis=1)]
    return nearest


def rank_correlation(
    one: Shaped[np.ndarray, " samples"], other: Shaped[np.ndarray, " samples"]
) -> float:
    """Spearman's rho; nan below 3 samples or where either side is constant."""
    if one.size < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    # Bit for bit as `scipy.stats.spearmanr`, whose import takes a third of the command's start.
    return float(np.corrcoef(ranks(one), ranks(other))[1, 0])


def ranks(values: Shaped[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """Ranks from 1 on; equal values have the mean of the ranks that they take together."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[inverse]
