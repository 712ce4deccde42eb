"""What the measures share.

Inputs brought to unit length, and a rank correlation that may be undefined.
"""

import math

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Shaped
from scipy.stats import spearmanr


def unit_embeddings(
    embeddings: Float[np.ndarray, "points dim"], direction: Float[np.ndarray, "points 3"]
) -> tuple[Float32[np.ndarray, "kept dim"], Int[np.ndarray, " kept"]]:
    """Embeddings of norm 1 without the zero ones, and the indices of the points that are left.

    Norms are taken in float64, where the squares of float32 values neither overflow nor vanish.

    Raises:
        ValueError: the two inputs differ in length, or an embedding is not finite.
    """
    if len(embeddings) != len(direction):
        raise ValueError(
            f"`direction` must have one row per embedding ({len(embeddings)}); got"
            f" {len(direction)}."
        )
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
        unit[block] = rows / np.where(norm > 0, norm, 1.0) + 0.0
    return (unit if kept.all() else unit[kept]), np.flatnonzero(kept)


def unit_directions(direction: Float[np.ndarray, "points 3"]) -> Float64[np.ndarray, "points 3"]:
    """Directions of norm 1 to float64 precision.

    Raises:
        ValueError: a norm differs from 1 by more than 1e-3, or is not finite.
    """
    direction = np.asarray(direction, dtype=np.float64)
    norm = np.linalg.norm(direction, axis=1, keepdims=True)
    if not (np.abs(norm - 1) < 1e-3).all():
        raise ValueError("`direction` must hold unit vectors; divide it by its norms.")
    return direction / norm


def rank_correlation(
    one: Shaped[np.ndarray, " samples"], other: Shaped[np.ndarray, " samples"]
) -> float:
    """Spearman's rho; nan below 3 samples or where either side is constant."""
    if one.size < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(spearmanr(one, other).statistic)
